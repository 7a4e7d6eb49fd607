package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
)

func TestHealthAndReadiness(t *testing.T) {
	h := newHost(t)
	assert.JSONEq(t, `{"status":"ok"}`, h.want(200, "GET", "/healthz", "").raw)
	assert.JSONEq(t, `{"status":"ok"}`, h.want(200, "GET", "/readyz", "").raw)
	require.NoError(t, h.client.Close(context.WithoutCancel(t.Context())))
	wantProblem(t, h.call("GET", "/readyz", ""), 503, "unavailable", "not ready")
	h.want(200, "GET", "/healthz", "")
	assert.Equal(t, false, h.want(200, "GET", "/v1/status", "").body["ready"])
	wantProblem(t, h.call("POST", list, `{"host":"a","port":1}`), 503, "unavailable")
}

func TestReadinessEndsWithTheAPI(t *testing.T) {
	h := newHost(t)
	h.api.Close()
	wantProblem(t, h.call("GET", "/readyz", ""), 503, "unavailable", "shutting down")
}

func TestStatusOfTheHost(t *testing.T) {
	h := newHost(t, func(o *httpapi.Options) {
		o.Host = func() httpapi.Host {
			return httpapi.Host{
				Build: httpapi.Build{Version: "1.2.3", Commit: "abc", Go: "go1.26"}, StartedAt: time.Now().Add(-time.Minute),
				Backend: httpapi.Backend{Name: "etcd", Version: "1", Contract: 1, Capabilities: httpapi.Capabilities{Resume: true}},
				Plugin:  &httpapi.Plugin{PID: 42, Path: "/x", Restarts: 3},
			}
		}
	})
	h.register("api", "a")
	got := h.want(200, "GET", "/v1/status", "")
	assert.Equal(t, true, got.body["ready"])
	assert.Equal(t, "prism", got.body["namespace"])
	assert.Greater(t, dig[float64](t, got.body, "uptime_seconds"), 59.0)
	assert.Equal(t, "1.2.3", dig[string](t, got.body, "build", "version"))
	assert.InDelta(t, 42, dig[float64](t, got.body, "plugin", "pid"), 0)
	assert.InDelta(t, 3, dig[float64](t, got.body, "plugin", "restarts"), 0)
	assert.True(t, dig[bool](t, got.body, "backend", "capabilities", "resume"))
	assert.True(t, dig[bool](t, got.body, "view", "synced"))
	assert.InDelta(t, 1, dig[float64](t, got.body, "view", "instances"), 0)

	plain := newHost(t).want(200, "GET", "/v1/status", "")
	assert.Equal(t, "memory", dig[string](t, plain.body, "backend", "name"))
	assert.Nil(t, plain.body["plugin"])
}

func TestPrometheusTargets(t *testing.T) {
	h := newHost(t)
	assert.JSONEq(t, `[]`, h.want(200, "GET", "/v1/prometheus/sd", "").raw)
	h.register("api", "a", `"tags":["y","x"]`, `"metadata":{"team-name":"core","team_name":"second","team.name":"third","n":9007199254740993,"nested":{"a":1}}`)
	h.register("web", "b", `"endpoints":[{"name":"metrics","scheme":"https","port":9090}]`, `"weight":7`)
	var groups []struct {
		Targets []string
		Labels  map[string]string
	}
	got := h.want(200, "GET", "/v1/prometheus/sd", "")
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.NoError(t, json.Unmarshal([]byte(got.raw), &groups))
	require.Len(t, groups, 2)
	assert.Equal(t, []string{"10.0.0.7:8080"}, groups[0].Targets)
	assert.Equal(t, map[string]string{
		"__meta_prism_namespace": "prism", "__meta_prism_service": "api", "__meta_prism_id": "a", "__meta_prism_address": "10.0.0.7:8080",
		"__meta_prism_scheme": "http", "__meta_prism_version": "1.0.0", "__meta_prism_region": "default", "__meta_prism_zone": "",
		"__meta_prism_datacenter": "default", "__meta_prism_weight": "100", "__meta_prism_status": "healthy", "__meta_prism_tags": ",x,y,",
		"__meta_prism_metadata_team_name": "core", "__meta_prism_metadata_n": "9007199254740993",
	}, groups[0].Labels)
	assert.Equal(t, []string{"10.0.0.7:9090"}, groups[1].Targets)
	assert.Equal(t, "https", groups[1].Labels["__meta_prism_scheme"])
	require.NoError(t, json.Unmarshal([]byte(h.want(200, "GET", "/v1/prometheus/sd?service=web&service=nobody", "").raw), &groups))
	assert.Len(t, groups, 1)
}

func TestMetricsAndFurtherHandlers(t *testing.T) {
	text := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) })
	}
	h := newHost(t, func(o *httpapi.Options) {
		o.Metrics, o.MetricsPath = text("metrics"), "/m"
		o.Handlers = map[string]http.Handler{"/ui/": text("ui")}
	})
	assert.Equal(t, "metrics", h.want(200, "GET", "/m", "").raw)
	assert.Equal(t, "ui", h.want(200, "GET", "/ui/x", "").raw)
	wantProblem(t, h.call("GET", "/metrics", ""), 404, "not_found")
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := httpapi.New(httpapi.Options{})
	require.ErrorContains(t, err, "Options.Client")
	_, err = httpapi.New(httpapi.Options{Client: newHost(t).client, Handlers: map[string]http.Handler{"GET /healthz": http.NotFoundHandler()}})
	require.ErrorContains(t, err, "/healthz")
}
