package httpapi_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

const api1 = "/v1/services/api/instances/api-1"

func TestRegister(t *testing.T) {
	h := newHost(t)
	got := h.want(201, "POST", "/v1/services/api/instances",
		`{"host":"10.0.0.7","port":8080,"ttl":"30s","tags":["b","a"],"metadata":{"big":9007199254740993,"version":"2.1"}}`)
	assert.Equal(t, "/v1/services/api/instances/api-10.0.0.7-8080", got.header.Get("Location"))
	assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
	assert.Equal(t, `"`+dig[string](t, got.body, "instance", "revision")+`"`, got.header.Get("ETag"))
	assert.Equal(t, "2.1", dig[string](t, got.body, "instance", "version"))
	assert.InDelta(t, 30, dig[float64](t, got.body, "lease", "ttl_seconds"), 0)
	assert.Equal(t, "client", dig[string](t, got.body, "lease", "keepalive"))
	assert.NotEmpty(t, dig[string](t, got.body, "lease", "id"))
	assert.Empty(t, dig[[]any](t, got.body, "warnings"))
	assert.Contains(t, got.raw, `"big":9007199254740993`)
	shown := h.want(200, "GET", got.header.Get("Location"), "")
	assert.Equal(t, "api-10.0.0.7-8080", shown.body["id"])
	assert.Contains(t, shown.raw, `"big":9007199254740993`)
}

func TestRegisterWithAWildcardTakesThePeersAddress(t *testing.T) {
	got := newHost(t).want(201, "POST", "/v1/services/api/instances", `{"host":"0.0.0.0","port":8080}`,
		"X-Forwarded-For", "10.9.9.9", "Forwarded", "for=10.9.9.9")
	assert.Equal(t, "127.0.0.1", dig[string](t, got.body, "instance", "host"))
	assert.Contains(t, dig[string](t, got.body, "warnings", 0), "127.0.0.1")
}

func TestRegisterIgnoresTheContentTypeThatCurlSends(t *testing.T) {
	newHost(t).want(201, "POST", "/v1/services/api/instances", `{"host":"a","port":1}`, "Content-Type", "application/x-www-form-urlencoded")
}

func TestPutRegistersTakesOverAndUpdates(t *testing.T) {
	h := newHost(t)
	first := h.want(201, "PUT", api1, `{"host":"10.0.0.7","port":8080}`)
	second := h.want(201, "PUT", api1, `{"host":"10.0.0.8","port":8080}`)
	old, lease := dig[string](t, first.body, "lease", "id"), dig[string](t, second.body, "lease", "id")
	assert.NotEqual(t, old, lease)

	wantProblem(t, h.call("PUT", api1, `{"host":"10.0.0.9","port":8080}`, "Prism-Lease", old), 409, "lease_superseded", "api/api-1", "stop")
	wantProblem(t, h.call("DELETE", api1, "", "Prism-Lease", old), 409, "lease_superseded", "api/api-1", "stop")
	wantProblem(t, h.call("PUT", api1+"/status", `{"status":"stopping"}`, "Prism-Lease", old), 409, "lease_superseded", "api/api-1", "stop")
	wrong := strings.Split(lease, ".")[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(forged(t, lease)))
	wantProblem(t, h.call("DELETE", api1, "", "Prism-Lease", wrong), 410, "lease_expired", "api/api-1", "register")
	h.want(200, "PUT", api1+"/status", `{"status":"maintenance","reason":"test"}`)
	updated := h.want(200, "PUT", api1, `{"host":"10.0.0.9","port":9090,"status":"up"}`, "Prism-Lease", lease)
	assert.Equal(t, "10.0.0.9:9090", dig[string](t, updated.body, "instance", "address"))
	assert.Equal(t, "maintenance", dig[string](t, updated.body, "instance", "status"), "an update leaves the status alone")
	assert.Equal(t, lease, dig[string](t, updated.body, "lease", "id"))
	assert.Contains(t, dig[string](t, updated.body, "warnings", 0), "status")
}

// forged gives the content of a lease with another secret.
func forged(t *testing.T, lease string) string {
	t.Helper()
	_, encoded, found := strings.Cut(lease, ".")
	require.True(t, found)
	content, err := base64.RawURLEncoding.DecodeString(encoded)
	require.NoError(t, err)
	at := strings.LastIndexByte(string(content), '/')
	return string(content[:at+1]) + strings.Repeat("0", len(content)-at-1)
}

func TestCreateOnly(t *testing.T) {
	h := newHost(t)
	body := `{"host":"10.0.0.7","port":8080,"create_only":true}`
	h.want(201, "PUT", api1, body)
	wantProblem(t, h.call("PUT", api1, body), 409, "conflict")
	wantProblem(t, h.call("PUT", api1, `{"host":"a","port":1}`, "If-None-Match", "*"), 412, "precondition_failed")
	wantProblem(t, h.call("PUT", api1, `{"host":"a","port":1}`, "If-None-Match", `"x"`), 422, "invalid_argument")
	wantProblem(t, h.call("POST", list, `{"id":"api-1","host":"a","port":1}`, "If-None-Match", "*"), 412, "precondition_failed")
	wantProblem(t, h.call("POST", list, `{"id":"api-1","host":"a","port":1}`, "If-Match", "*"), 422, "invalid_argument")
}

func TestIfMatch(t *testing.T) {
	h := newHost(t)
	lease := h.register("api", "api-1")
	first := h.want(200, "GET", api1, "").header.Get("ETag")
	h.want(304, "GET", api1, "", "If-None-Match", `"other", `+first)
	h.want(200, "PUT", api1+"/status", `{"status":"maintenance"}`, "If-Match", first)
	h.want(200, "GET", api1, "", "If-None-Match", first)

	body := `{"host":"10.0.0.9","port":9090}`
	for _, tag := range []string{first, `"nonsense"`} {
		wantProblem(t, h.call("PUT", api1, body, "Prism-Lease", lease, "If-Match", tag), 412, "precondition_failed")
		wantProblem(t, h.call("PUT", api1+"/status", `{"status":"up"}`, "If-Match", tag), 412, "precondition_failed")
		wantProblem(t, h.call("DELETE", api1, "", "If-Match", tag), 412, "precondition_failed")
	}
	location := wantProblem(t, h.call("PUT", api1, body, "If-Match", first), 422, "invalid_argument", "Prism-Lease")
	assert.Equal(t, "header.If-Match", location)
	wantProblem(t, h.call("DELETE", api1, "", "If-Match", `"a","b"`), 422, "invalid_argument", "one ETag")

	now := h.want(200, "PUT", api1, body, "Prism-Lease", lease, "If-Match", h.want(200, "GET", api1, "").header.Get("ETag"))
	h.want(204, "DELETE", api1, "", "If-Match", now.header.Get("ETag"))
}

func TestDeregister(t *testing.T) {
	h := newHost(t)
	lease := h.register("api", "api-1")
	assert.Empty(t, h.want(204, "DELETE", api1+"?reason=gone", "", "Prism-Lease", lease).raw)
	wantProblem(t, h.call("DELETE", api1, ""), 404, "not_found")
	wantProblem(t, h.call("GET", api1, ""), 404, "not_found")

	lease = h.register("api", "api-1")
	h.want(204, "DELETE", api1+"?reason=operator", "")
	wantProblem(t, h.call("PUT", api1, `{"host":"a","port":1}`, "Prism-Lease", lease), 410, "deregistered")
	events := h.want(200, "GET", "/v1/events?type=service_deregistered", "")
	assert.Equal(t, "gone", dig[string](t, events.body, "events", 0, "reason"))
	assert.Equal(t, "deregistered", dig[string](t, events.body, "events", 0, "cause"))
	assert.Equal(t, "operator", dig[string](t, events.body, "events", 1, "cause"))
}

func TestALeaseOfAnotherInstanceIsRefused(t *testing.T) {
	h := newHost(t)
	h.register("api", "api-1")
	other := h.register("api", "api-2")
	for _, got := range []answer{
		h.call("DELETE", api1, "", "Prism-Lease", other),
		h.call("PUT", api1, `{"host":"a","port":1}`, "Prism-Lease", other),
		h.call("PUT", api1+"/status", `{"status":"up"}`, "Prism-Lease", other),
	} {
		location := wantProblem(t, got, 422, "invalid_argument", "api/api-2", "api/api-1")
		assert.Equal(t, "header.Prism-Lease", location)
		assert.NotContains(t, got.raw, other, "a lease is a secret")
	}
	got := h.call("DELETE", api1, "", "Prism-Lease", "guess")
	assert.Equal(t, "header.Prism-Lease", wantProblem(t, got, 422, "invalid_argument"))
	h.want(200, "GET", api1, "")
}

func TestHeartbeats(t *testing.T) {
	h := newHost(t)
	old := h.register("api", "api-1")
	lease := h.register("api", "api-1")
	gone := h.register("api", "api-2")
	h.want(204, "DELETE", "/v1/services/api/instances/api-2", "")
	got := h.want(200, "POST", "/v1/heartbeats", `{"leases":["`+strings.Join([]string{lease, old, gone, "guess"}, `","`)+`"]}`)
	results := dig[[]any](t, got.body, "results")
	require.Len(t, results, 4)
	for i, state := range []string{"renewed", "superseded", "deregistered", "unknown"} {
		assert.Equal(t, state, dig[string](t, results[i], "state"))
	}
	assert.Equal(t, lease, dig[string](t, results[0], "lease"))
	for _, body := range []string{`{}`, `{"leases":[]}`, `{"leases":["` + strings.Repeat(`x","`, 1000) + `x"]}`, `{"leases":"x"}`, `{"leases":[1]}`} {
		wantProblem(t, h.call("POST", "/v1/heartbeats", body), 422, "invalid_argument", "leases")
	}
}

func TestStatus(t *testing.T) {
	h := newHost(t)
	lease := h.register("api", "api-1")
	got := h.want(200, "PUT", api1+"/status", `{"status":"maintenance","reason":"disk"}`)
	assert.Equal(t, "maintenance", got.body["status"])
	assert.Equal(t, "disk", got.body["reason"])
	assert.Equal(t, "operator", got.body["status_by"])
	wantProblem(t, h.call("PUT", api1+"/status", `{"status":"up"}`, "Prism-Lease", lease), 409, "conflict", "operator")
	h.want(200, "PUT", api1+"/status", `{"status":"up"}`)
	assert.Equal(t, "owner", h.want(200, "PUT", api1+"/status", `{"status":"stopping"}`, "Prism-Lease", lease).body["status_by"])
	assert.Equal(t, "body.status", wantProblem(t, h.call("PUT", api1+"/status", `{"status":"sleepy"}`), 422, "invalid_argument", "sleepy", "maintenance"))
	wantProblem(t, h.call("PUT", api1+"/status", `{"status":"unknown"}`), 422, "invalid_argument")
	wantProblem(t, h.call("PUT", api1+"/status", `{"state":"up"}`), 422, "invalid_argument", "state", "no such field")
	wantProblem(t, h.call("PUT", "/v1/services/api/instances/none/status", `{"status":"up"}`), 404, "not_found")
}

func TestCheckAndOutcome(t *testing.T) {
	h := newHost(t)
	h.register("api", "api-1")
	got := h.want(200, "POST", api1+"/check", "")
	assert.Equal(t, map[string]any{"healthy": true, "status_code": 200.0, "latency_ms": 1.5, "detail": "probed"}, got.body)
	wantProblem(t, h.call("POST", "/v1/services/api/instances/none/check", ""), 404, "not_found")

	h.want(204, "POST", api1+"/outcome", `{"ok":true,"latency_ms":12.5}`)
	h.want(204, "POST", api1+"/outcome", `{"ok":false}`)
	wantProblem(t, h.call("POST", "/v1/services/api/instances/none/outcome", `{"ok":true}`), 404, "not_found")
	assert.Equal(t, "body.ok", wantProblem(t, h.call("POST", api1+"/outcome", `{}`), 422, "invalid_argument"))
	assert.Equal(t, "body.latency_ms", wantProblem(t, h.call("POST", api1+"/outcome", `{"ok":true,"latency_ms":-1}`), 422, "invalid_argument"))
	location := wantProblem(t, h.call("POST", "/v1/services/api/instances/a%2Fb/outcome", `{"ok":true}`), 422, "invalid_argument")
	assert.Equal(t, "path.id", location)
}

// TestACheckOnDemandEnds: before callers give up, whatever the check itself allows, and with the
// API.
func TestACheckOnDemandEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newFacade(t)
		api, err := httpapi.New(httpapi.Options{Client: client})
		require.NoError(t, err)
		_, err = client.RegisterInstance(t.Context(), discovery.RegisterRequest{Spec: core.Spec{
			Service: "api", ID: "api-1", Host: "127.0.0.1", Port: hanging, TTL: time.Hour, Check: &core.Check{Type: core.CheckNone},
		}})
		require.NoError(t, err)
		check := func() *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			api.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "POST", api1+"/check", http.NoBody))
			return rec
		}
		begun := time.Now()
		rec := check()
		assert.Equal(t, 25*time.Second, time.Since(begun))
		assert.JSONEq(t, `{"healthy":false,"status_code":0,"latency_ms":25000,"detail":"no answer within 25s, the most that a check on demand may take"}`, rec.Body.String())

		time.AfterFunc(time.Second, api.Close)
		begun = time.Now()
		rec = check()
		assert.Equal(t, time.Second, time.Since(begun))
		assert.Equal(t, 503, rec.Code)
	})
}

func TestHealthyInstanceOfAnotherMethod(t *testing.T) {
	h := newHost(t)
	h.register("api", "api-1")
	got := h.want(200, http.MethodHead, api1, "")
	assert.Empty(t, got.raw)
	assert.NotEmpty(t, got.header.Get("ETag"))
}
