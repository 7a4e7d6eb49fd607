package probe_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/marketprism/prism/adapters/probe"
	"github.com/marketprism/prism/core"
)

// say writes an answer; a client that is gone does not matter.
func say(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

// site answers as its paths say.
func site() http.Handler {
	mux := http.NewServeMux()
	for path, code := range map[string]int{"/health": 200, "/503": 503, "/404": 404, "/405": 405} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	mux.HandleFunc("/body", func(w http.ResponseWriter, _ *http.Request) { say(w, "all is well") })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { say(w, strings.Repeat("x", 64<<10)+"ready") })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		say(w, "well")
	})
	mux.HandleFunc("/agent", func(w http.ResponseWriter, r *http.Request) { say(w, r.UserAgent()) })
	mux.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) { say(w, r.URL.RawQuery) })
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) })
	mux.HandleFunc("/hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		to := "/health"
		if n := r.PathValue("n"); n != "1" {
			to = "/hop/" + string(n[0]-1)
		}
		http.Redirect(w, r, to, http.StatusFound)
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/slow-body", func(w http.ResponseWriter, r *http.Request) {
		say(w, "all is")
		w.(http.Flusher).Flush() //nolint:errcheck // it is one
		<-r.Context().Done()
	})
	return mux
}

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(site())
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	for name, tc := range map[string]struct {
		check   core.Check
		healthy bool
		code    int
		detail  string // {} stands for the address
	}{
		"passes":                     {core.Check{}, true, 200, "HTTP 200 from http://{}/health in "},
		"fails":                      {core.Check{Path: "/503"}, false, 503, "HTTP 503 from http://{}/503 in "},
		"says what it expected":      {core.Check{Path: "/503"}, false, 503, ", expected 200-299"},
		"404 of an explicit check":   {core.Check{Path: "/404"}, false, 404, ", expected 200-299"},
		"404 of the default check":   {core.Check{Path: "/404", Implicit: true}, true, 404, "counts as alive, as nobody asked for this check"},
		"405 of the default check":   {core.Check{Path: "/405", Implicit: true}, true, 405, "counts as alive, as nobody asked for this check"},
		"503 of the default check":   {core.Check{Path: "/503", Implicit: true}, false, 503, "HTTP 503"},
		"expected status":            {core.Check{Path: "/404", ExpectStatus: "200-299,404"}, true, 404, "HTTP 404"},
		"unexpected status":          {core.Check{ExpectStatus: "201"}, false, 200, ", expected 201"},
		"expected body":              {core.Check{Path: "/body", ExpectBody: "is well"}, true, 200, "HTTP 200"},
		"unexpected body":            {core.Check{Path: "/body", ExpectBody: "ready"}, false, 200, `, but "ready" is not in its first 64 KiB`},
		"body beyond 64 KiB":         {core.Check{Path: "/long", ExpectBody: "ready"}, false, 200, `not in its first 64 KiB`},
		"body that breaks off":       {core.Check{Path: "/cut", ExpectBody: "ready"}, false, 200, ", but its body broke off: unexpected EOF"},
		"body before it breaks off":  {core.Check{Path: "/cut", ExpectBody: "well"}, true, 200, "HTTP 200"},
		"user agent":                 {core.Check{Path: "/agent", ExpectBody: "prism-health/dev"}, true, 200, "HTTP 200"},
		"query of the path":          {core.Check{Path: "/query?deep=1", ExpectBody: "deep=1"}, true, 200, "HTTP 200 from http://{}/query in"},
		"a path is no host":          {core.Check{Path: "//127.0.0.2/x"}, false, 404, "HTTP 404 from http://{}/127.0.0.2/x"}, // cleaned by the server
		"redirects":                  {core.Check{Path: "/hop/3"}, true, 200, "HTTP 200 from http://{}/health"},
		"too many redirects":         {core.Check{Path: "/hop/4"}, false, 302, "and it is the redirect after 3 redirects"},
		"redirect to nowhere":        {core.Check{Path: "/nowhere"}, false, 302, ", a redirect to nowhere"},
		"redirect that is expected":  {core.Check{Path: "/hop/9", ExpectStatus: "302"}, true, 302, "HTTP 302 from http://{}/hop/9"},
		"slow":                       {core.Check{Path: "/slow", Timeout: 50 * time.Millisecond}, false, 0, "no answer from http://{}/slow within 50ms"},
		"slow body":                  {core.Check{Path: "/slow-body", ExpectBody: "well", Timeout: 50 * time.Millisecond}, false, 200, "but its body was not there within 50ms"},
		"slow body nobody looks at":  {core.Check{Path: "/slow-body"}, true, 200, "HTTP 200"},
		"a path that cannot be read": {core.Check{Path: "/%zz"}, false, 0, "check.path"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.check.Type = core.CheckHTTP
			r := check(t, instance(t, "http", address, tc.check))
			assert.Equal(t, tc.healthy, r.Healthy, r.Detail)
			assert.Equal(t, tc.code, r.StatusCode)
			assert.Contains(t, r.Detail, strings.ReplaceAll(tc.detail, "{}", address))
			assert.Positive(t, r.Latency)
		})
	}
}

func TestHTTPWithoutAServer(t *testing.T) {
	r := check(t, instance(t, "http", nobody(t), core.Check{Type: core.CheckHTTP}))
	assert.False(t, r.Healthy)
	assert.Contains(t, r.Detail, "refused")
}

func TestHTTPTargets(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "[::1]:0")
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(site())
	require.NoError(t, server.Listener.Close())
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	in := instance(t, "http", l.Addr().String(), core.Check{Type: core.CheckHTTP})
	for _, url := range []string{
		in.HealthCheckURL,
		"", // the default
		fmt.Sprintf("http://[::]:%d/health", in.Port), // a wildcard stands for the instance's host
		fmt.Sprintf("http://0.0.0.0:%d/health", in.Port),
	} {
		in.HealthCheckURL = url
		r := check(t, in)
		assert.True(t, r.Healthy, r.Detail)
		assert.Contains(t, r.Detail, "http://"+l.Addr().String()+"/health")
	}
	in.HealthCheckURL = "::"
	assert.Contains(t, check(t, in).Detail, "health_check_url: it cannot be read")
}

func TestRedirectsToAnotherHostAreNotFollowed(t *testing.T) {
	var hits atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(other.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/steal?token=s3cret", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	r := check(t, instance(t, "http", server.Listener.Addr().String(), core.Check{Type: core.CheckHTTP}))
	assert.False(t, r.Healthy)
	assert.Equal(t, 307, r.StatusCode)
	assert.Contains(t, r.Detail, "a redirect to another host or port, "+other.Listener.Addr().String()+", which is not followed")
	assert.NotContains(t, r.Detail, "s3cret")
	assert.Zero(t, hits.Load())
}

func TestRedirectCarriesNoCredentials(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://u:s3cret@"+r.Host+"/to")
		w.WriteHeader(302)
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			w.WriteHeader(500)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	r := check(t, instance(t, "http", server.Listener.Addr().String(), core.Check{Type: core.CheckHTTP}))
	assert.True(t, r.Healthy, r.Detail)
	assert.NotContains(t, r.Detail, "s3cret")
}

func TestDetailHasNoQuery(t *testing.T) {
	server := httptest.NewServer(site())
	t.Cleanup(server.Close)
	for address, want := range map[string]string{
		server.Listener.Addr().String(): "HTTP 404",
		nobody(t):                       "refused",
	} {
		in := instance(t, "http", address, core.Check{Type: core.CheckHTTP})
		in.HealthCheckURL = "http://u:s3cret@" + address + "/x?token=s3cret#s3cret"
		r := check(t, in)
		assert.Contains(t, r.Detail, want)
		assert.NotContains(t, r.Detail, "s3cret")
	}
}

// TestAnotherHostIsProbedOnlyWhereItIsAllowed: what a host that allows it has registered may be
// checked by one that does not.
func TestAnotherHostIsProbedOnlyWhereItIsAllowed(t *testing.T) {
	asked := make(chan string, 9)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Host }))
	t.Cleanup(server.Close)
	in := instance(t, "http", "127.0.0.2:1", core.Check{Type: core.CheckHTTP})
	in.HealthCheckURL = server.URL + "/health?token=s3cret"
	_, err := newProber(t, probe.Options{}).Probe(t.Context(), in)
	require.ErrorIs(t, err, core.ErrUnsupported)
	require.ErrorContains(t, err, "health_check_url: ")
	require.ErrorContains(t, err, "own host 127.0.0.2 only; it allows others with checks.allow_other_hosts")
	require.NotContains(t, err.Error(), "s3cret")
	assert.Empty(t, asked)
	r, err := newProber(t, probe.Options{AllowOtherHosts: true}).Probe(t.Context(), in)
	require.NoError(t, err)
	assert.True(t, r.Healthy, r.Detail)
	assert.Len(t, asked, 1)
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(site())
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for name, tc := range map[string]struct {
		options probe.Options
		healthy bool
		detail  string
	}{
		"known authority":   {probe.Options{RootCAs: roots}, true, "HTTP 200 from https://"},
		"unknown authority": {probe.Options{}, false, "certificate"},
		"any authority":     {probe.Options{InsecureSkipVerify: true}, true, "HTTP 200 from https://"},
	} {
		t.Run(name, func(t *testing.T) {
			in := instance(t, "https", server.Listener.Addr().String(), core.Check{Type: core.CheckHTTP})
			r, err := newProber(t, tc.options).Probe(t.Context(), in)
			require.NoError(t, err)
			assert.Equal(t, tc.healthy, r.Healthy, r.Detail)
			assert.Contains(t, r.Detail, tc.detail)
		})
	}
}

func TestEachProbeHasItsOwnConnection(t *testing.T) {
	var conns atomic.Int32
	server := httptest.NewUnstartedServer(site())
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	p := newProber(t, probe.Options{})
	for range 3 {
		_, err := p.Probe(t.Context(), instance(t, "http", server.Listener.Addr().String(), core.Check{Type: core.CheckHTTP}))
		require.NoError(t, err)
	}
	assert.EqualValues(t, 3, conns.Load())
}

// TestProxiesOfTheEnvironmentAreIgnored relies on TestMain, which sets a proxy that nobody is.
func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	server := httptest.NewServer(site())
	t.Cleanup(server.Close)
	_, httpPort, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	_, grpcPort, err := net.SplitHostPort(grpcServer(t, grpc_health_v1.HealthCheckResponse_SERVING))
	require.NoError(t, err)
	p := newProber(t, probe.Options{})
	p.Resolve(resolver(t, [4]byte{127, 0, 0, 1})) // proxies are never asked for loopback names
	for _, in := range []core.Instance{
		instance(t, "http", "web.example:"+httpPort, core.Check{Type: core.CheckHTTP}),
		instance(t, "grpc", "web.example:"+grpcPort, core.Check{Type: core.CheckGRPC}),
	} {
		r, err := p.Probe(t.Context(), in)
		require.NoError(t, err)
		assert.True(t, r.Healthy, r.Detail)
	}
}

func TestContextAndClose(t *testing.T) {
	server := httptest.NewServer(site())
	t.Cleanup(server.Close)
	in := instance(t, "http", server.Listener.Addr().String(), core.Check{Type: core.CheckHTTP, Path: "/slow"})
	p := newProber(t, probe.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := p.Probe(ctx, in)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	p.Close()
	_, err = p.Probe(t.Context(), in)
	require.ErrorIs(t, err, core.ErrClosed)
}
