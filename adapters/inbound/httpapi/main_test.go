package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// probe is a Prober whose answers a test chooses by port: even ones are healthy, and hanging never
// answers.
type probe struct{}

const hanging = 9999

func (probe) Probe(ctx context.Context, in core.Instance) (ports.ProbeResult, error) {
	if in.Port == hanging {
		<-ctx.Done()
		return ports.ProbeResult{}, ctx.Err()
	}
	return ports.ProbeResult{Healthy: in.Port%2 == 0, StatusCode: 200, Latency: 1500 * time.Microsecond, Detail: "probed"}, nil
}

// host is an API over a real facade and the memory backend.
type host struct {
	t      *testing.T
	api    *httpapi.API
	client *discovery.Client
	url    string
	http   *http.Client
	log    *logBuffer
}

func newHost(t *testing.T, change ...func(*httpapi.Options)) *host {
	t.Helper()
	return newHostOver(t, newFacade(t), change...)
}

func newHostOver(t *testing.T, client *discovery.Client, change ...func(*httpapi.Options)) *host {
	t.Helper()
	log := &logBuffer{}
	o := httpapi.Options{Client: client, Version: "1.2.3", Logger: slog.New(slog.NewTextHandler(log, nil))}
	for _, f := range change {
		f(&o)
	}
	api, err := httpapi.New(o)
	require.NoError(t, err)
	srv := httptest.NewServer(api)
	h := &host{t: t, api: api, client: client, url: srv.URL, http: srv.Client(), log: log}
	t.Cleanup(func() {
		api.Close()
		srv.Close()
	})
	return h
}

// newFacade is a facade over the memory backend.
func newFacade(t *testing.T, opts ...discovery.Option) *discovery.Client {
	t.Helper()
	backend, err := memory.Open(t.Context(), memory.Options{})
	require.NoError(t, err)
	client, err := discovery.Open(t.Context(), backend, append(opts, discovery.WithProber(probe{}))...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(context.WithoutCancel(t.Context()))) })
	return client
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) code() string {
	code, _ := a.body["code"].(string)
	return code
}

// call makes a request; headers are pairs of name and value.
func (h *host) call(method, path, body string, headers ...string) answer {
	h.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, in)
	require.NoError(h.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := h.http.Do(req)
	require.NoError(h.t, err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(h.t, err)
	out := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if strings.Contains(res.Header.Get("Content-Type"), "json") && bytes.HasPrefix(raw, []byte("{")) {
		require.NoError(h.t, json.Unmarshal(raw, &out.body))
	}
	return out
}

// want makes a request that must get a status.
func (h *host) want(status int, method, path, body string, headers ...string) answer {
	h.t.Helper()
	got := h.call(method, path, body, headers...)
	require.Equalf(h.t, status, got.status, "%s %s: %s", method, path, got.raw)
	return got
}

// register registers an instance without a check, which is healthy at once, and gives its lease.
func (h *host) register(service, id string, more ...string) (lease string) {
	h.t.Helper()
	fields := append([]string{`"id":"` + id + `"`, `"host":"10.0.0.7"`, `"port":8080`, `"check":{"type":"none"}`}, more...)
	got := h.want(http.StatusCreated, http.MethodPost, "/v1/services/"+service+"/instances", "{"+strings.Join(fields, ",")+"}")
	return dig[string](h.t, got.body, "lease", "id")
}

// dig finds a value in decoded JSON.
func dig[T any](t *testing.T, v any, path ...any) T {
	t.Helper()
	for _, step := range path {
		switch key := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			require.Truef(t, ok, "no object at %v of %v", step, path)
			v = m[key]
		case int:
			l, ok := v.([]any)
			require.Truef(t, ok && key < len(l), "no element at %v of %v", step, path)
			v = l[key]
		}
	}
	out, ok := v.(T)
	require.Truef(t, ok, "%v is %T", path, v)
	return out
}

// wantProblem checks a problem document and gives its first field's location.
func wantProblem(t *testing.T, got answer, status int, code string, say ...string) (location string) {
	t.Helper()
	require.Equal(t, status, got.status, got.raw)
	assert.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
	assert.Equal(t, code, got.code(), got.raw)
	assert.InDelta(t, status, dig[float64](t, got.body, "status"), 0)
	assert.Equal(t, http.StatusText(status), dig[string](t, got.body, "title"))
	for _, s := range say {
		assert.Contains(t, dig[string](t, got.body, "detail"), s)
	}
	if _, ok := got.body["errors"]; ok {
		location = dig[string](t, got.body, "errors", 0, "location")
	}
	return location
}
