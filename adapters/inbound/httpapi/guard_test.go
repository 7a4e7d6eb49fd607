package httpapi_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
)

func TestPanicsShowNoInternals(t *testing.T) {
	h := newHost(t, func(o *httpapi.Options) {
		o.Handlers = map[string]http.Handler{
			"GET /early": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the secret plan") }),
			"GET /late": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, strings.Repeat("half an answer", 1000))
				panic("the secret plan")
			}),
		}
	})
	got := h.call("GET", "/early", "")
	wantProblem(t, got, 500, "internal")
	assert.NotContains(t, got.raw, "secret")
	assert.Contains(t, h.log.String(), "the secret plan")
	assert.Contains(t, h.log.String(), "guard_test.go")
	id := dig[string](t, got.body, "detail")
	assert.Contains(t, h.log.String(), id[strings.LastIndex(id, " ")+1:])

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/late", http.NoBody)
	require.NoError(t, err)
	res, err := h.http.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	_, err = io.ReadAll(res.Body)
	require.Error(t, err, "half an answer must not look whole")
	h.want(200, "GET", "/healthz", "")
}

func TestUnknownPathsAndMethods(t *testing.T) {
	h := newHost(t)
	wantProblem(t, h.call("GET", "/v2/services", ""), 404, "not_found", "/v2/services")
	wantProblem(t, h.call("POST", "/v2/services", "{}"), 404, "not_found")
	got := h.call("POST", "/v1/services", "{}")
	wantProblem(t, got, 405, "method_not_allowed", "POST", "GET")
	assert.Equal(t, "GET, HEAD", got.header.Get("Allow"))
	got = h.want(204, "OPTIONS", api1, "")
	assert.Equal(t, "DELETE, GET, HEAD, PUT, OPTIONS", got.header.Get("Allow"))
	wantProblem(t, h.call("OPTIONS", "/nowhere", ""), 404, "not_found")
	assert.Empty(t, h.want(200, "HEAD", list, "").raw)
	assert.Empty(t, h.want(404, "HEAD", "/nowhere", "").raw)
}

func TestNoCrossOrigin(t *testing.T) {
	h := newHost(t)
	got := h.call("POST", list, `{"host":"a","port":1}`, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
	wantProblem(t, got, 403, "permission_denied", "origin")
	got = h.call("GET", list, "", "Origin", "https://evil.example")
	assert.Equal(t, 200, got.status)
	assert.Empty(t, got.header.Get("Access-Control-Allow-Origin"))
	h.want(201, "POST", list, `{"host":"a","port":1}`, "Origin", h.url)
}

func TestDNSRebinding(t *testing.T) {
	h := newHost(t, func(o *httpapi.Options) { o.AllowedHosts = []string{"prism.example", "other.example:8443"} })
	for host, status := range map[string]int{
		"evil.example": 403, "evil.example:8640": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403, "10.0.0.1": 403,
		"localhost": 200, "LOCALHOST:8640": 200, "127.0.0.1": 200, "[::1]:8640": 200, "[::1]": 200, "prism.localhost": 200,
		"prism.example": 200, "Prism.Example:443": 200, "other.example:8443": 200, "other.example": 403,
	} {
		got := h.call("GET", "/v1/services", "", "Host", host)
		assert.Equal(t, status, got.status, host)
		if status == 403 {
			wantProblem(t, got, 403, "permission_denied", "Host", "localhost", "proxy")
		}
	}
}

func TestObserveHearsOfRoutesNotPaths(t *testing.T) {
	type seen struct {
		route  string
		status int
	}
	heard := make(chan seen, 10)
	h := newHost(t, func(o *httpapi.Options) {
		o.Observe = func(route string, status int, took time.Duration) {
			assert.Positive(t, took)
			heard <- seen{route, status}
		}
	})
	h.call("GET", "/v1/services/x/instances/y", "")
	h.call("GET", "/etc/passwd", "")
	h.call("GET", list, "")
	assert.Equal(t, seen{"GET /v1/services/{service}/instances/{id}", 404}, <-heard)
	assert.Equal(t, seen{"", 404}, <-heard)
	assert.Equal(t, seen{"GET /v1/services/{service}/instances", 200}, <-heard)
}

func TestMiddlewareSeesRequests(t *testing.T) {
	parents := make(chan string, 1)
	h := newHost(t, func(o *httpapi.Options) {
		o.Middleware = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				parents <- r.Header.Get("Traceparent")
				next.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
			})
		}
	})
	wantProblem(t, h.call("GET", "/nowhere", "", "Traceparent", "00-abc"), 404, "not_found")
	assert.Equal(t, "00-abc", <-parents)
}

// TestServe tries what needs a connection of its own.
func TestServe(t *testing.T) {
	h := newHost(t, func(o *httpapi.Options) { o.Grace = 10 * time.Second })
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- h.api.Serve(ctx, ln) }()
	h.url = "http://" + ln.Addr().String()

	t.Run("headers are bounded", func(t *testing.T) {
		assert.Equal(t, 431, h.call("GET", "/healthz", "", "X-Long", strings.Repeat("x", 64<<10)).status)
	})
	t.Run("a body that breaks off", func(t *testing.T) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, "POST /v1/heartbeats HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
		require.NoError(t, err)
		tcp, ok := conn.(*net.TCPConn)
		require.True(t, ok)
		require.NoError(t, tcp.CloseWrite())
		b, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Contains(t, string(b), "400 Bad Request")
		assert.Contains(t, string(b), "it broke off")
	})
	t.Run("a body that is too large is not asked for", func(t *testing.T) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, "POST /v1/heartbeats HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n\r\n")
		require.NoError(t, err)
		b, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(b), "HTTP/1.1 413 "), string(b))
	})
	t.Run("ends streams and waits", func(t *testing.T) {
		stream := h.open("/v1/watch")
		assert.Equal(t, "reset", stream().name)
		assert.Equal(t, "synced", stream().name)
		stop()
		assert.Equal(t, sseEvent{}, stream())
		require.NoError(t, <-served)
		_, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
		assert.Error(t, err, "the listener is closed")
	})
	t.Run("a listener that fails", func(t *testing.T) {
		require.Error(t, h.api.Serve(t.Context(), ln))
	})
}

func TestServeSpeaksTLS(t *testing.T) {
	lender := httptest.NewUnstartedServer(nil)
	lender.StartTLS() // for its certificate
	t.Cleanup(lender.Close)
	h := newHost(t, func(o *httpapi.Options) {
		o.TLS = &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS12}
	})
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- h.api.Serve(ctx, ln) }()
	h.url, h.http = "https://"+ln.Addr().String(), lender.Client()
	h.want(200, "GET", "/healthz", "")
	stream := h.open("/v1/watch")
	assert.Equal(t, "reset", stream().name)
	stop()
	require.NoError(t, <-served)
}
