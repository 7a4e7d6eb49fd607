package etcd_test

// refused_test.go: what cannot work is refused with one sentence that names the option and
// what to do, in time, and without a secret.

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/etcd"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// refused asks that Open fails in time, with one sentinel and with words in its sentence.
func refused(t *testing.T, o etcd.Options, sentinel error, words ...string) {
	t.Helper()
	backendtest.Refused(t, etcd.Open, o, sentinel, append(words, "etcd")...)
}

func TestOptionsThatAreWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options etcd.Options
		words   []string
	}{
		"a namespace with a slash":  {etcd.Options{Namespace: "a/b"}, []string{"backend_config.namespace", `"a/b"`}},
		"no URL":                    {etcd.Options{URL: "http://[::1"}, []string{"backend_config.url", "not a URL"}},
		"another scheme":            {etcd.Options{URL: "redis://127.0.0.1"}, []string{"backend_config.url", "http:// or https://"}},
		"a path":                    {etcd.Options{URL: "http://127.0.0.1:2379/v3"}, []string{"backend_config.url", "path"}},
		"a user in the URL":         {etcd.Options{URL: "http://me:secret@127.0.0.1:2379"}, []string{"backend_config.url", "backend_config.username"}},
		"both schemes":              {etcd.Options{URLs: []string{"http://127.0.0.1:1", "https://127.0.0.1:2"}}, []string{"backend_config.urls", "all endpoints are http or all are https"}},
		"a user without password":   {etcd.Options{Username: "me"}, []string{"backend_config.username", "password"}},
		"a password without user":   {etcd.Options{Password: "secret"}, []string{"backend_config.username", "password"}},
		"TLS for http":              {etcd.Options{TLS: backendkit.TLS{CAFile: "ca.pem"}}, []string{"backend_config.url", "https"}},
		"a file that is not there":  {etcd.Options{URL: "https://127.0.0.1", TLS: backendkit.TLS{CAFile: "missing.pem"}}, []string{"backend_config.ca_file", "missing.pem"}},
		"a certificate without key": {etcd.Options{URL: "https://127.0.0.1", TLS: backendkit.TLS{CertFile: "a.pem"}}, []string{"backend_config.key_file"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, tt.options, ports.ErrInvalid, tt.words...)
		})
	}
}

func TestServersThatAreNotThere(t *testing.T) {
	t.Parallel()
	refused(t, etcd.Options{URL: "http://" + backendtest.Nowhere(t)}, ports.ErrUnavailable, "backend_config.url", "cannot connect", "is etcd running there?")
	// One that is there is enough.
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true, Proxied: true})
	b, err := etcd.Open(backendtest.Within(t), etcd.Options{URL: "http://" + backendtest.Nowhere(t), URLs: store.URLs()})
	require.NoError(t, err)
	backendtest.Works(t, b)
	require.NoError(t, b.Close())
	// A store that hangs takes connections and nothing more.
	require.NoError(t, store.Pause())
	refused(t, etcd.Options{URLs: store.URLs()}, ports.ErrUnavailable, "backend_config.url")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = etcd.Open(ctx, etcd.Options{URLs: store.URLs()})
	require.ErrorIs(t, err, ports.ErrUnavailable)
}

func TestCertificatesThatAreWrong(t *testing.T) {
	t.Parallel()
	plain := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	mutual := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true, TLS: stores.MutualTLS})
	expired := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true, TLS: stores.ExpiredTLS})
	files := mutual.Certificates
	for name, tt := range map[string]struct {
		options  etcd.Options
		sentinel error
		words    []string
	}{
		"the server's has expired": {
			etcd.Options{URLs: expired.URLs(), TLS: backendkit.TLS{CAFile: expired.Certificates.CA}}, ports.ErrUnavailable, []string{"backend_config.url", "expired"},
		},
		"the client's has expired": {
			etcd.Options{URLs: mutual.URLs(), TLS: backendkit.TLS{CAFile: files.CA, CertFile: files.ExpiredCert, KeyFile: files.ExpiredKey}},
			ports.ErrInvalid,
			[]string{"backend_config.cert_file", "expired"},
		},
		"the client has none": {
			etcd.Options{URLs: mutual.URLs(), TLS: backendkit.TLS{CAFile: files.CA}}, ports.ErrUnavailable, []string{"backend_config.url", "backend_config.cert_file"},
		},
		"another authority": {
			etcd.Options{URLs: mutual.URLs(), TLS: backendkit.TLS{CAFile: files.OtherCA}}, ports.ErrUnavailable, []string{"backend_config.ca_file"},
		},
		"another name": {
			etcd.Options{URLs: mutual.URLs(), TLS: backendkit.TLS{CAFile: files.CA, ServerName: "elsewhere"}}, ports.ErrUnavailable, []string{"backend_config.server_name"},
		},
		"TLS to a server without": {
			etcd.Options{URL: strings.Replace(plain.URL(), "http:", "https:", 1)}, ports.ErrUnavailable, []string{"backend_config.url", "does not speak TLS"},
		},
		"no TLS to a server with": {
			etcd.Options{URL: strings.Replace(mutual.URL(), "https:", "http:", 1)}, ports.ErrUnavailable, []string{"backend_config.url", "speaks TLS", "https"},
		},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tt.options, tt.sentinel, tt.words...) })
	}
}

func TestForeignData(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	for key, value := range map[string]string{"foreign/config": "x", "taken/epoch": "mine", "odd/epoch": `{"v":2,"epoch":"x","cluster":"1"}`} {
		_, err := client.Put(backendtest.Within(t), key, value)
		require.NoError(t, err)
		space, _, _ := strings.Cut(key, "/")
		refused(t, etcd.Options{URLs: store.URLs(), Namespace: space}, ports.ErrInvalid, "backend_config.namespace", key, "choose a namespace")
	}
	// What others keep beside a namespace is none of its business, nor is a lost epoch.
	b := open(t, store, etcd.Options{Namespace: "fore"})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	_, err := client.Delete(backendtest.Within(t), "fore/epoch")
	require.NoError(t, err)
	again := backendtest.Get(t, open(t, store, etcd.Options{Namespace: "fore"}), "a").Record
	require.NotNil(t, again)
	assert.NotEqual(t, rec.Revision.Epoch, again.Revision.Epoch)
}

func TestAFullStore(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true, DataLimit: 4 << 20})
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	words := []string{"etcd", "space quota", "compact and defragment", "--quota-backend-bytes"}
	var full error
	large := *rec
	large.Body = []byte(`"` + strings.Repeat("x", ports.MaxBodyBytes-2) + `"`)
	for i := 0; full == nil && i < 1000; i++ {
		res, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Put: &ports.Put{Record: large, Replaces: large.Generation}}})
		require.NoError(t, err)
		full = res[0].Err
	}
	backendtest.Said(t, full, ports.ErrUnavailable, words...)
	backendtest.Said(t, b.Health(backendtest.Within(t)), ports.ErrUnavailable, words...)
	refused(t, etcd.Options{URLs: store.URLs()}, ports.ErrUnavailable, words...)
	// What is there can be read, and sessions live on.
	assert.NotNil(t, backendtest.Get(t, b, "a").Record)
	renewed, err := b.RenewSessions(backendtest.Within(t), []ports.SessionID{"s"})
	require.NoError(t, err)
	assert.False(t, renewed[0].Gone)
}

// fake is a server that says what it is told to.
type fake struct {
	etcdserverpb.UnimplementedMaintenanceServer
	etcdserverpb.UnimplementedKVServer
	version string
	err     error // of every transaction
}

func (f *fake) Status(context.Context, *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	return &etcdserverpb.StatusResponse{Version: f.version}, nil
}

func (f *fake) Txn(context.Context, *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	return nil, f.err
}

func (f *fake) serve(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	etcdserverpb.RegisterMaintenanceServer(server, f)
	etcdserverpb.RegisterKVServer(server, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // it ends with Stop
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return "http://" + l.Addr().String()
}

func TestServersThatAreTooOld(t *testing.T) {
	t.Parallel()
	for version, advice := range map[string]string{
		"3.3.27": "upgrade it to 3.4.25, 3.5.8 or later", "2.3.8": "upgrade it to 3.4.25", "3.4.23": "upgrade it to 3.4.25 or later", "3.5.7": "upgrade it to 3.5.8 or later",
		"soon": "which is none",
	} {
		f := fake{version: version}
		refused(t, etcd.Options{URL: f.serve(t)}, ports.ErrUnsupported, "http://127.0.0.1:", version, advice)
	}
	for _, version := range []string{"3.4.25", "3.4.40", "3.5.8", "3.6.0", "3.7.3", "4.0.0"} {
		f := fake{version: version, err: rpctypes.ErrGRPCPermissionDenied} // what comes next
		refused(t, etcd.Options{URL: f.serve(t)}, ports.ErrPermission)
	}
}

func TestWhatServersSay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err      error
		sentinel error
		words    string
	}{
		{rpctypes.ErrGRPCNotSupportedForLearner, ports.ErrUnavailable, "learner"},
		{rpctypes.ErrGRPCNoSpace, ports.ErrUnavailable, "space quota"},
		{rpctypes.ErrGRPCCorrupt, ports.ErrUnavailable, "corrupt"},
		{rpctypes.ErrGRPCUserEmpty, ports.ErrPermission, "it asks for a user"},
		{rpctypes.ErrGRPCPermissionDenied, ports.ErrPermission, "lacks a permission"},
		{rpctypes.ErrGRPCRequestTooLarge, ports.ErrTooLarge, "--max-request-bytes"},
		{rpctypes.ErrGRPCTooManyOps, ports.ErrUnavailable, "too many operations"},
	} {
		f := fake{version: "3.7.3", err: tt.err}
		refused(t, etcd.Options{URL: f.serve(t)}, tt.sentinel, tt.words)
	}
	refused(t, etcd.Options{URL: (&fake{version: "3.7.3", err: status.Error(codes.Unimplemented, "unknown service")}).serve(t)}, ports.ErrUnavailable, "no etcd")
}
