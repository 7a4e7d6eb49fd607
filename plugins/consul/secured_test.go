package consul_test

// secured_test.go: every credential and TLS option against servers that ask for them, and what
// people are told whose options are wrong.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/consul"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// documented is the policy of README.md, for the namespace "prism".
const documented = `
key_prefix "prism/" { policy = "write" }
node_prefix "prism-prism-" { policy = "write" }
service_prefix "" { policy = "write" }
`

// use puts a record, which needs every permission that there is, and removes it.
func use(ctx context.Context, b *consul.Backend) error {
	if _, err := b.OpenSession(ctx, ports.SessionSpec{ID: "s-1", TTL: time.Minute}); err != nil {
		return err
	}
	results, err := b.Apply(ctx, []ports.Mutation{{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}}})
	if err != nil {
		return err
	}
	if results[0].Err != nil {
		return results[0].Err
	}
	if err := b.Health(ctx); err != nil {
		return err
	}
	return b.CloseSession(ctx, "s-1")
}

func newRecord(service, id string, session ports.SessionID) ports.Record {
	return ports.Record{
		Key: core.Key{Service: service, ID: id}, Generation: core.Generation{}.Next(), Session: session, Owner: "test",
		State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedHealthy},
		Body:  []byte(`{"v":1,"host":"10.1.2.3","port":8080,"weight":100,"tags":["v1","blue"],"metadata":{"team":"payments","size":3}}`),
	}
}

// opened opens a backend that is closed with the test.
func opened(t *testing.T, o consul.Options) *consul.Backend {
	t.Helper()
	b, err := consul.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

func TestEveryTLSOptionAndTheToken(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{TLS: stores.MutualTLS, Auth: stores.Token, Fast: true})
	token, err := store.ConsulToken(t.Context(), documented)
	require.NoError(t, err)
	files := store.Certificates
	good := consul.Options{
		URL: store.URL(), Token: token, TLS: backendkit.TLS{CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key, ServerName: "localhost"},
	}
	require.NoError(t, use(t.Context(), opened(t, good)))

	for name, c := range map[string]struct {
		change func(o *consul.Options)
		is     error
		says   string
	}{
		"no authority":         {func(o *consul.Options) { o.CAFile = "" }, ports.ErrUnavailable, "backend_config.ca_file"},
		"another authority":    {func(o *consul.Options) { o.CAFile = files.OtherCA }, ports.ErrUnavailable, "backend_config.ca_file"},
		"another server name":  {func(o *consul.Options) { o.ServerName = "else.example" }, ports.ErrUnavailable, "backend_config.server_name"},
		"no certificate":       {func(o *consul.Options) { o.CertFile, o.KeyFile = "", "" }, ports.ErrUnavailable, "backend_config.cert_file"},
		"expired certificate":  {func(o *consul.Options) { o.CertFile, o.KeyFile = files.ExpiredCert, files.ExpiredKey }, ports.ErrInvalid, "expired"},
		"half of a pair":       {func(o *consul.Options) { o.KeyFile = "" }, ports.ErrInvalid, "backend_config.key_file"},
		"a file that is not":   {func(o *consul.Options) { o.CAFile = "/nowhere/ca.pem" }, ports.ErrInvalid, "/nowhere/ca.pem"},
		"http to https":        {func(o *consul.Options) { o.URL, o.TLS = strings.Replace(o.URL, "https", "http", 1), backendkit.TLS{} }, ports.ErrInvalid, "use https://HOST:PORT"},
		"TLS options, no TLS":  {func(o *consul.Options) { o.URL = strings.Replace(o.URL, "https", "http", 1) }, ports.ErrInvalid, "backend_config.url"},
		"a token that is none": {func(o *consul.Options) { o.Token = "11111111-2222-3333-4444-555555555555" }, ports.ErrPermission, "backend_config.token"},
		"no token":             {func(o *consul.Options) { o.Token = "" }, ports.ErrPermission, "backend_config.token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			c.change(&o)
			refused(t, o, c.is, c.says)
		})
	}
}

// refused asks for one clear sentence, of one kind, soon, and without a secret.
func refused(t *testing.T, o consul.Options, is error, says string) {
	t.Helper()
	began := time.Now()
	_, err := consul.Open(t.Context(), o)
	require.Error(t, err)
	assert.Less(t, time.Since(began), 15*time.Second, "Open gives up after 5 s")
	tellsOf(t, err, is, says, o)
}

func tellsOf(t *testing.T, err, is error, says string, o consul.Options) {
	t.Helper()
	require.ErrorIs(t, err, is)
	require.ErrorContains(t, err, says)
	require.ErrorContains(t, err, "consul")
	assert.NotContains(t, err.Error(), "\n")
	for _, secret := range []string{o.Token, o.Password} {
		if secret != "" {
			assert.NotContains(t, err.Error(), secret)
		}
	}
}

func TestExpiredServerCertificate(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{TLS: stores.ExpiredTLS, Fast: true})
	refused(t, consul.Options{URL: store.URL(), TLS: backendkit.TLS{CAFile: store.Certificates.CA}}, ports.ErrUnavailable, "backend_config.url "+store.URL()+": the server's certificate has expired")
}

func TestMissingPermissions(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Auth: stores.Token, Fast: true})
	for name, c := range map[string]struct {
		rules string
		says  []string
		later bool // only a write shows it
	}{
		"nothing":       {``, []string{`key_prefix "prism/" { policy = "write" }`}, false},
		"keys to read":  {`key_prefix "prism/" { policy = "read" }`, []string{`key:write on "prism/`, `key_prefix "prism/" { policy = "write" }`}, false},
		"another's":     {`key_prefix "other/" { policy = "write" }`, []string{`key_prefix "prism/" { policy = "write" }`}, false},
		"no nodes":      {`key_prefix "prism/" { policy = "write" }`, []string{`node_prefix "prism-prism-" { policy = "write" }`, "backend_config.mirror to false"}, false},
		"no services":   {`key_prefix "prism/" { policy = "write" } node_prefix "prism-prism-" { policy = "write" }`, []string{`service_prefix "" { policy = "write" }`, "backend_config.mirror to false"}, true},
		"other service": {`key_prefix "prism/" { policy = "write" } node_prefix "prism-prism-" { policy = "write" } service_prefix "web" { policy = "write" }`, []string{`service:write on "api"`}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, err := store.ConsulToken(t.Context(), c.rules)
			require.NoError(t, err)
			o := consul.Options{URL: store.URL(), Token: token}
			var failed error
			if !c.later {
				_, failed = consul.Open(t.Context(), o)
			} else {
				failed = use(t.Context(), opened(t, o))
			}
			require.Error(t, failed)
			for _, says := range c.says {
				tellsOf(t, failed, ports.ErrPermission, says, o)
			}
		})
	}
	t.Run("without the mirror", func(t *testing.T) {
		t.Parallel()
		token, err := store.ConsulToken(t.Context(), `key_prefix "alone/" { policy = "write" }`)
		require.NoError(t, err)
		require.NoError(t, use(t.Context(), opened(t, consul.Options{URL: store.URL(), Token: token, Namespace: "alone", Mirror: new(false)})))
	})
}

func TestWrongAddresses(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true, Proxied: true})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "who are you?", http.StatusTeapot) }))
	t.Cleanup(other.Close)
	nobody := httptest.NewServer(http.NotFoundHandler())
	nobody.Close() // Nobody listens there now.
	for name, c := range map[string]struct {
		o    consul.Options
		is   error
		says string
	}{
		"nobody listens":  {consul.Options{URL: nobody.URL}, ports.ErrUnavailable, "backend_config.url"},
		"another server":  {consul.Options{URL: other.URL}, ports.ErrUnavailable, "is not Consul"},
		"another scheme":  {consul.Options{URL: "redis://127.0.0.1:1"}, ports.ErrInvalid, "backend_config.url"},
		"https to http":   {consul.Options{URL: strings.Replace(store.URL(), "http", "https", 1)}, ports.ErrUnavailable, "backend_config.url"},
		"no datacenter":   {consul.Options{URL: store.URL(), Datacenter: "mars"}, ports.ErrInvalid, "backend_config.datacenter"},
		"no Enterprise":   {consul.Options{URL: store.URL(), ConsulNamespace: "team-a"}, ports.ErrInvalid, "Enterprise"},
		"a bad namespace": {consul.Options{URL: store.URL(), Namespace: "a/b"}, ports.ErrInvalid, "backend_config.namespace"},
		"two users":       {consul.Options{URL: "http://me:geheim@127.0.0.1:1", Username: "you"}, ports.ErrInvalid, "backend_config.username"},
		"half a login":    {consul.Options{URL: store.URL(), Password: "geheim"}, ports.ErrInvalid, "backend_config.username"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, c.o, c.is, c.says)
		})
	}
	t.Run("nothing answers", func(t *testing.T) {
		silent := stores.ForTest(t, stores.Consul, stores.Options{Fast: true, Proxied: true})
		require.NoError(t, silent.Cut(stores.Blackholed))
		defer func() { require.NoError(t, silent.Mend()) }()
		refused(t, consul.Options{URL: silent.URL()}, ports.ErrUnavailable, "backend_config.url")
	})
	t.Run("the first of two is gone", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, use(t.Context(), opened(t, consul.Options{URL: nobody.URL + "," + store.URL(), Namespace: "second"})))
	})
}

// Without a leader an agent keeps calls waiting for longer than Open may take.
func TestNoLeader(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Nodes: 3})
	for _, i := range []int{1, 2} {
		require.NoError(t, store.KillNode(i))
	}
	c, err := client(store)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // The one that is left may have led, and notices it alone.
		leader, err := c.Status().Leader()
		return err == nil && leader == ""
	}, limit, 50*time.Millisecond)
	refused(t, consul.Options{URL: store.URL()}, ports.ErrUnavailable, "has no leader")
}

// What Consul 1.22.7 answered when its disk was full, and from then on.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	var says atomic.Pointer[string]
	proxy := front(t, store, func(w http.ResponseWriter, r *http.Request, forward func()) {
		if text := says.Load(); text != nil && r.URL.Path == "/v1/txn" && strings.Contains(content(t, r), "cas") {
			http.Error(w, *text, http.StatusInternalServerError)
			return
		}
		forward()
	})
	b := opened(t, consul.Options{URL: proxy.URL})
	session(t, b, "s-1", time.Minute)
	for _, answer := range []string{
		`raft apply failed: unable to store logs within log store, err: "segment is sealed"`,
		`raft apply failed: unable to store logs within log store, err: "write: no space left on device"`,
		`No cluster leader`,
	} {
		says.Store(&answer)
		results, err := b.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}}})
		require.NoError(t, err)
		require.ErrorIs(t, results[0].Err, ports.ErrUnavailable, answer)
		for _, part := range []string{"consul at " + proxy.URL, "backend_config.url", "disk of", "data_dir"} {
			require.ErrorContains(t, results[0].Err, part, answer)
		}
	}
	says.Store(nil)
	apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}})
}

func TestForeignDataIsLeftAlone(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	_, err := c.KV().Put(&api.KVPair{Key: "prism/settings/colour", Value: []byte("blue")}, nil)
	require.NoError(t, err)
	refused(t, consul.Options{URL: store.URL()}, ports.ErrInvalid, "prism/settings/")
	keys, _, err := c.KV().Keys("prism/", "", nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"prism/settings/colour"}, keys, "nothing was written")
}

// front is a Consul that an HTTP handler looks after, as a proxy before it or an older server.
func front(t *testing.T, store *stores.Cluster, handle func(w http.ResponseWriter, r *http.Request, forward func())) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handle(w, r, func() {
			out, err := http.NewRequestWithContext(r.Context(), r.Method, store.URL()+r.URL.Path+"?"+r.URL.RawQuery, strings.NewReader(content(t, r)))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := (&http.Client{}).Do(out)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer resp.Body.Close()
			maps.Copy(w.Header(), resp.Header)
			w.WriteHeader(resp.StatusCode)
			_, _ = io.Copy(w, resp.Body) // The reader may have gone.
		})
	}))
	t.Cleanup(server.Close)
	return server
}

// content reads a request's body, and puts it back.
func content(t *testing.T, r *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil && r.Context().Err() == nil { // Else the client has gone.
		t.Error(err)
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return string(body)
}

func TestBasicAuthentication(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	proxy := front(t, store, func(w http.ResponseWriter, r *http.Request, forward func()) {
		if user, password, ok := r.BasicAuth(); !ok || user != "prism" || password != "geheim" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		forward()
	})
	require.NoError(t, use(t.Context(), opened(t, consul.Options{URL: proxy.URL, Username: "prism", Password: "geheim"})))
	require.NoError(t, use(t.Context(), opened(t, consul.Options{URL: strings.Replace(proxy.URL, "://", "://prism:geheim@", 1), Namespace: "in-the-url"})))
	refused(t, consul.Options{URL: proxy.URL, Username: "prism", Password: "falsch"}, ports.ErrPermission, "username and password")
}

// An old server knows no get-or-empty.
func TestTooOldAServer(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	old := front(t, store, func(w http.ResponseWriter, r *http.Request, forward func()) {
		if strings.Contains(content(t, r), `"get-or-empty"`) {
			w.WriteHeader(http.StatusConflict)
			_, _ = fmt.Fprint(w, `{"Results":null,"Errors":[{"OpIndex":0,"What":"unknown KV operation: get-or-empty"}]}`)
			return
		}
		forward()
	})
	refused(t, consul.Options{URL: old.URL}, ports.ErrUnsupported, "too old")
}

// What is given is sent with every call, and what is not given is not taken from the
// environment of Consul's own tools.
func TestFault15OptionsAloneDecideWhatIsSent(t *testing.T) {
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	for name, value := range map[string]string{
		"CONSUL_HTTP_ADDR": "127.0.0.1:1", "CONSUL_HTTP_TOKEN": "stray", "CONSUL_NAMESPACE": "stray", "CONSUL_PARTITION": "stray",
		"CONSUL_HTTP_SSL": "true", "CONSUL_HTTP_AUTH": "stray:stray",
	} {
		t.Setenv(name, value)
	}
	type sent struct{ token, auth, namespace, partition, datacenter string }
	for name, c := range map[string]struct {
		o    consul.Options
		want sent
	}{
		"nothing": {consul.Options{}, sent{}},
		"all": {
			consul.Options{Token: "t", Datacenter: "dc1", ConsulNamespace: "team-a", Partition: "part"},
			sent{token: "t", namespace: "team-a", partition: "part", datacenter: "dc1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan sent, 10_000)
			ops := make(chan string, 10_000)
			proxy := front(t, store, func(_ http.ResponseWriter, r *http.Request, forward func()) {
				q := r.URL.Query()
				seen <- sent{r.Header.Get("X-Consul-Token"), r.Header.Get("Authorization"), q.Get("ns"), q.Get("partition"), q.Get("dc")}
				q.Del("ns")
				q.Del("partition")
				r.URL.RawQuery = q.Encode() // This one is no Enterprise.
				if r.URL.Path == "/v1/txn" {
					ops <- content(t, r)
				}
				forward()
			})
			o := c.o
			o.URL, o.Namespace = proxy.URL, "env-"+name
			b, err := consul.Open(t.Context(), o)
			require.NoError(t, err)
			require.NoError(t, use(t.Context(), b))
			require.NoError(t, b.Close())
			proxy.Close()
			close(seen)
			close(ops)
			for s := range seen {
				require.Equal(t, c.want, s)
			}
			places := 0
			for body := range ops {
				var all []map[string]map[string]any
				require.NoError(t, json.Unmarshal([]byte(body), &all))
				for _, op := range all {
					for kind, content := range op {
						if len(content) == 0 {
							continue // An operation is of one kind.
						}
						if inner, ok := content[kind].(map[string]any); ok {
							content = inner // A service, a check or a node.
						}
						places++
						partition, _ := content["Partition"].(string)
						require.Equal(t, c.want.partition, partition, op)
						if kind != "Node" { // Nodes have none.
							namespace, _ := content["Namespace"].(string)
							require.Equal(t, c.want.namespace, namespace, op)
						}
					}
				}
			}
			require.NotZero(t, places)
		})
	}
}
