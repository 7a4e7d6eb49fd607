package nats_test

// refused_test.go: what cannot work is refused with one sentence that names the option and
// what to do, in time, and without a secret.

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	prismnats "github.com/marketprism/prism/plugins/nats"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// refused asks that Open fails in time, with one sentinel and with words in its sentence; with
// a nil sentinel, that it does not.
func refused(t *testing.T, o prismnats.Options, sentinel error, words ...string) {
	t.Helper()
	backendtest.Refused(t, prismnats.Open, o, sentinel, append(words, "NATS")...)
}

func TestOptionsThatAreWrong(t *testing.T) {
	t.Parallel()
	seed := filepath.Join(t.TempDir(), "seed")
	require.NoError(t, os.WriteFile(seed, []byte("secret, and no seed"), 0o600))
	for name, tt := range map[string]struct {
		options prismnats.Options
		words   []string
	}{
		"a namespace with a slash": {prismnats.Options{Namespace: "a/b"}, []string{"backend_config.namespace", `"a/b"`}},
		"a namespace of dots":      {prismnats.Options{Namespace: "a" + strings.Repeat(".", 120)}, []string{"backend_config.namespace", "too long"}},
		"no URL":                   {prismnats.Options{URL: "nats://[::1"}, []string{"backend_config.url", "not a URL"}},
		"another scheme":           {prismnats.Options{URL: "redis://127.0.0.1"}, []string{"backend_config.url", "nats:// or tls://"}},
		"a path":                   {prismnats.Options{URL: "nats://127.0.0.1:4222/x"}, []string{"backend_config.url", "path"}},
		"a token in the URL":       {prismnats.Options{URL: "nats://secret@127.0.0.1:4222"}, []string{"backend_config.url", `"nats://127.0.0.1:4222"`, "backend_config.token"}},
		"a query in the URL":       {prismnats.Options{URL: "nats://127.0.0.1:4222?token=secret"}, []string{"backend_config.url", "a path or a query"}},
		"a user in the URL":        {prismnats.Options{URL: "nats://me:secret@127.0.0.1:4222"}, []string{"backend_config.url", "backend_config.user"}},
		"both schemes":             {prismnats.Options{URL: "nats://127.0.0.1:1,tls://127.0.0.1:2"}, []string{"backend_config.url", "all servers are nats:// or all are tls://"}},
		"a user without password":  {prismnats.Options{User: "me"}, []string{"backend_config.user", "password"}},
		"a password without user":  {prismnats.Options{Password: "secret"}, []string{"backend_config.user", "password"}},
		"two ways to log in":       {prismnats.Options{User: "me", Password: "secret", Token: "secret"}, []string{"backend_config.token", "user"}},
		"TLS for nats":             {prismnats.Options{TLS: backendkit.TLS{CAFile: "ca.pem"}}, []string{"backend_config.url", "tls://"}},
		"no such authority":        {prismnats.Options{URL: "tls://127.0.0.1", TLS: backendkit.TLS{CAFile: "/no/ca.pem"}}, []string{"backend_config.ca_file", "/no/ca.pem"}},
		"no such credentials":      {prismnats.Options{CredsFile: "/no/user.creds"}, []string{"backend_config.creds_file", "/no/user.creds", "no such file"}},
		"no such seed":             {prismnats.Options{NKeySeedFile: "/no/seed"}, []string{"backend_config.nkey_seed_file", "/no/seed", "no such file"}},
		"a seed that is none":      {prismnats.Options{NKeySeedFile: seed}, []string{"backend_config.nkey_seed_file", "no seed"}},
		"too many replicas":        {prismnats.Options{Replicas: 6}, []string{"backend_config.replicas", "6", "1 to 5"}},
		"negative replicas":        {prismnats.Options{Replicas: -1}, []string{"backend_config.replicas", "-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, tt.options, ports.ErrInvalid, tt.words...)
		})
	}
}

func TestServersThatCannotBeReached(t *testing.T) {
	t.Parallel()
	dead := "nats://" + backendtest.Nowhere(t)
	refused(t, prismnats.Options{URL: dead}, ports.ErrUnavailable, "backend_config.url", dead, "is NATS running there?")
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	refused(t, prismnats.Options{URL: dead + "," + url(store)}, nil)
	refused(t, prismnats.Options{URL: strings.Replace(url(store), "nats://", "tls://", 1)}, ports.ErrUnavailable, "has no TLS", "nats://")
	require.NoError(t, store.Pause())
	refused(t, prismnats.Options{URL: url(store)}, ports.ErrUnavailable, "backend_config.url")
	require.NoError(t, store.Resume())
}

func TestCertificatesThatAreWrong(t *testing.T) {
	t.Parallel()
	mutual := stores.ForTest(t, stores.NATS, stores.Options{TLS: stores.MutualTLS})
	expired := stores.ForTest(t, stores.NATS, stores.Options{TLS: stores.ExpiredTLS})
	at := func(s *stores.Cluster, o backendkit.TLS) prismnats.Options {
		return prismnats.Options{URL: url(s), TLS: o}
	}
	wrong := bothCertificates(mutual)
	refused(t, prismnats.Options{URL: strings.Replace(url(mutual), "tls://", "nats://", 1)}, ports.ErrUnavailable, "asks for TLS", "tls://")
	refused(t, at(mutual, backendkit.TLS{CAFile: mutual.Certificates.OtherCA}), ports.ErrUnavailable, "backend_config.ca_file")
	refused(t, at(mutual, serverCA(mutual)), ports.ErrUnavailable, "backend_config.cert_file")
	wrong.ServerName = "elsewhere.example"
	refused(t, at(mutual, wrong), ports.ErrUnavailable, "backend_config.server_name")
	wrong = bothCertificates(mutual)
	wrong.CertFile, wrong.KeyFile = mutual.Certificates.ExpiredCert, mutual.Certificates.ExpiredKey
	refused(t, at(mutual, wrong), ports.ErrInvalid, "backend_config.cert_file", "expired")
	refused(t, at(expired, serverCA(expired)), ports.ErrUnavailable, "expired")
}

func TestLoginsThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, auth := range []stores.Auth{stores.Password, stores.Token, stores.NKey, stores.JWT} {
		t.Run(string(auth), func(t *testing.T) {
			t.Parallel()
			store := stores.ForTest(t, stores.NATS, stores.Options{Auth: auth})
			other := stores.ForTest(t, stores.NATS, stores.Options{Auth: auth})
			refused(t, prismnats.Options{URL: url(store)}, ports.ErrPermission, "asks for a login", "backend_config.user")
			wrong := prismnats.Options{URL: url(store)}
			option := "backend_config."
			switch auth {
			case stores.Password:
				wrong.User, wrong.Password, option = store.Credentials.User, "wrong-secret", option+"user"
			case stores.Token:
				wrong.Token, option = "wrong-secret", option+"token"
			case stores.NKey:
				wrong.NKeySeedFile, option = other.Credentials.SeedFile, option+"nkey_seed_file"
			default:
				wrong.CredsFile, option = other.Credentials.CredsFile, option+"creds_file"
			}
			refused(t, wrong, ports.ErrPermission, "refuses the login", option)
		})
	}
}

// oldServer says that it is of a version, and takes every login.
func oldServer(t *testing.T, version string) string {
	t.Helper()
	return "nats://" + backendtest.InPlaceOf(t, func(conn net.Conn) {
		_, _ = fmt.Fprintf(conn, "INFO {\"server_id\":\"x\",\"version\":%q,\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n", version)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if lines.Text() == "PING" {
				_, _ = fmt.Fprint(conn, "PONG\r\n")
			}
		}
	})
}

func TestServersThatAreTooOld(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.9.10", "2.10.29", "1.4.1", "2.11.0", "2.11.2"} {
		refused(t, prismnats.Options{URL: oldServer(t, version)}, ports.ErrUnsupported, "backend_config.url", version, "upgrade it to 2.11.3 or later")
	}
	for _, version := range []string{"soon", "2.11"} {
		refused(t, prismnats.Options{URL: oldServer(t, version)}, ports.ErrUnsupported, version, "which is none")
	}
	refused(t, prismnats.Options{URL: oldServer(t, "2.11.3")}, ports.ErrUnavailable) // what comes next: it says nothing more
}

func TestServersThatDoNotKeepStreams(t *testing.T) {
	t.Parallel()
	refused(t, prismnats.Options{URL: url(configured(t, "jetstream: disabled"))}, ports.ErrUnavailable, "JetStream", "backend_config.url", "nats-server -js")
	other := configured(t, `accounts: {with: {users: [{user: w, password: w}], jetstream: enabled}, without: {users: [{user: me, password: secret}]}}`)
	refused(t, prismnats.Options{URL: url(other), User: "me", Password: "secret"}, ports.ErrUnavailable, "JetStream is not enabled for the account")
	single := stores.ForTest(t, stores.NATS, stores.Options{})
	refused(t, prismnats.Options{URL: url(single), Replicas: 3}, ports.ErrUnavailable, "backend_config.replicas", "replicas")
	none := configured(t, `accounts: {a: {users: [{user: me, password: secret}], jetstream: {max_streams: 1, max_file: 100MB, max_mem: 1MB}}}`)
	refused(t, prismnats.Options{URL: url(none), User: "me", Password: "secret"}, nil)
	refused(t, prismnats.Options{URL: url(none), User: "me", Password: "secret", Namespace: "another"}, ports.ErrPermission, "no further stream")
}

func TestStreamsThatAreNotOurs(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	js := raw(t, store)
	for namespace, tt := range map[string]struct {
		change func(c *jetstream.StreamConfig)
		words  []string
	}{
		"foreign":  {func(c *jetstream.StreamConfig) { c.Metadata = nil }, []string{"is not Prism's", "choose a namespace"}},
		"newer":    {func(c *jetstream.StreamConfig) { c.Metadata["prism-format"] = "9" }, []string{`"9"`}},
		"subjects": {func(c *jetstream.StreamConfig) { c.Subjects = []string{"other"} }, []string{"its subjects"}},
		"deep":     {func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, []string{"max_msgs_per_subject is 5"}},
		"unmarked": {func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = 0 }, []string{"subject_delete_marker_ttl"}},
		"aging":    {func(c *jetstream.StreamConfig) { c.MaxAge = 48 * time.Hour }, []string{"max_age"}},
		"direct":   {func(c *jetstream.StreamConfig) { c.AllowDirect = true }, []string{"allow_direct"}},
	} {
		// The backend that made the stream goes first, or it would make it anew.
		t.Run(namespace, func(t *testing.T) {
			refused(t, prismnats.Options{URL: url(store), Namespace: namespace}, nil)
			stream, err := js.Stream(backendtest.Within(t), "PRISM_"+namespace)
			require.NoError(t, err)
			config := stream.CachedInfo().Config
			require.NoError(t, js.DeleteStream(backendtest.Within(t), config.Name))
			tt.change(&config)
			_, err = js.CreateStream(backendtest.Within(t), config)
			require.NoError(t, err)
			refused(t, prismnats.Options{URL: url(store), Namespace: namespace}, ports.ErrInvalid, append(tt.words, "backend_config.namespace", "PRISM_"+namespace)...)
		})
	}
	_, err := js.CreateStream(backendtest.Within(t), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"prism.taken.>"}})
	require.NoError(t, err)
	refused(t, prismnats.Options{URL: url(store), Namespace: "taken"}, ports.ErrInvalid, "another stream", "backend_config.namespace")
}

func TestAFullStore(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{DataLimit: 1 << 20})
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	first := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	words := []string{"nats", "backend_config.url", "is used up", "takes no writes", "max_file_store"}
	var full error
	for i := 0; full == nil; i++ {
		require.Less(t, i, 1000)
		rec := backendtest.Record(fmt.Sprintf("big-%d", i), "s")
		rec.Body = []byte(`"` + strings.Repeat("x", 50_000) + `"`)
		res, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Put: &ports.Put{Record: rec}}})
		require.NoError(t, err)
		full = res[0].Err
	}
	backendtest.Said(t, full, ports.ErrUnavailable, words...)
	assert.Equal(t, first, backendtest.Get(t, b, "a").Record, "what is there can be read")
}
