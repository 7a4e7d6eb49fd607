package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
)

const list = "/v1/services/api/instances"

func ids(t *testing.T, got answer) []string {
	t.Helper()
	out := []string{}
	for _, in := range dig[[]any](t, got.body, "instances") {
		out = append(out, dig[string](t, in, "id"))
	}
	return out
}

func TestListOfInstances(t *testing.T) {
	h := newHost(t)
	got := h.want(200, "GET", list, "")
	assert.JSONEq(t, `{"instances":[],"next_cursor":"","stale":false,"age_ms":0}`, withoutAge(t, got))
	h.register("api", "b", `"tags":["x","y"]`, `"version":"2"`)
	h.register("api", "a", `"tags":["x"]`, `"metadata":{"role":"collector","n":9007199254740993}`)
	h.register("api-2", "c")

	got = h.want(200, "GET", list, "")
	assert.Equal(t, []string{"a", "b"}, ids(t, got))
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	assert.Contains(t, got.raw, `"n":9007199254740993`)
	assert.JSONEq(t, withoutAge(t, got), withoutAge(t, h.want(200, "GET", list+"?limit=9", "")), "both ways give the same")

	for query, want := range map[string][]string{
		"status=healthy": {"a", "b"}, "status=starting": {}, "status=starting&status=healthy": {"a", "b"},
		"tag=x": {"a", "b"}, "tag=x&tag=y": {"b"}, "tag=z": {},
		"filter=" + url.QueryEscape(`version == "2"`):               {"b"},
		"filter=" + url.QueryEscape(`metadata.role=="collector"`):   {"a"},
		"tag=y&filter=" + url.QueryEscape(`not ("x" in tags)`):      {},
		"filter=" + url.QueryEscape(`"y" in tags || id == "a"`):     {"a", "b"},
		"filter=" + url.QueryEscape(`metadata.n == 1`) + "&limit=5": {},
	} {
		assert.Equal(t, want, ids(t, h.want(200, "GET", list+"?"+query, "")), query)
	}
	assert.Empty(t, ids(t, h.want(200, "GET", "/v1/services/nobody/instances", "")))
}

// withoutAge is a list's JSON with age_ms set to 0.
func withoutAge(t *testing.T, got answer) string {
	t.Helper()
	got.body["age_ms"] = 0
	b, err := json.Marshal(got.body)
	require.NoError(t, err)
	return string(b)
}

func TestListsHavePages(t *testing.T) {
	h := newHost(t)
	for i := range 5 {
		h.register("api", fmt.Sprintf("i%d", i))
		h.register(fmt.Sprintf("s%d", i), "x")
	}
	first := h.want(200, "GET", list+"?limit=2", "")
	assert.Equal(t, []string{"i0", "i1"}, ids(t, first))
	h.want(204, "DELETE", list+"/i1", "") // a page goes on even after its cursor has gone
	second := h.want(200, "GET", list+"?limit=2&cursor="+dig[string](t, first.body, "next_cursor"), "")
	assert.Equal(t, []string{"i2", "i3"}, ids(t, second))
	last := h.want(200, "GET", list+"?limit=2&cursor="+dig[string](t, second.body, "next_cursor"), "")
	assert.Equal(t, []string{"i4"}, ids(t, last))
	assert.Empty(t, dig[string](t, last.body, "next_cursor"))
	assert.Len(t, ids(t, h.want(200, "GET", list, "")), 4, "there is no default limit")

	services := h.want(200, "GET", "/v1/services?limit=1", "")
	assert.JSONEq(t, `[{"name":"api","instances":4,"healthy":4}]`, toJSON(t, services.body["services"]))
	assert.Len(t, ids(t, h.want(200, "GET", list+"?limit=9223372036854775807&cursor=i0", "")), 3)
	rest := h.want(200, "GET", "/v1/services?cursor="+dig[string](t, services.body, "next_cursor"), "")
	assert.Len(t, dig[[]any](t, rest.body, "services"), 5)
	assert.Equal(t, false, rest.body["stale"])
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func TestListOfInstancesHasAnETag(t *testing.T) {
	h := newHost(t)
	h.register("api", "a")
	tag := h.want(200, "GET", list, "").header.Get("ETag")
	require.NotEmpty(t, tag)
	assert.Empty(t, h.want(304, "GET", list, "", "If-None-Match", tag).raw)
	h.register("api", "b")
	assert.NotEqual(t, tag, h.want(200, "GET", list, "", "If-None-Match", tag).header.Get("ETag"))
}

// Whoever polls learns that what it has is out of date, and that it is current again.
func TestAStaleListHasAnETagOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, err := memory.Open(t.Context(), memory.Options{})
		require.NoError(t, err)
		client, err := discovery.Open(t.Context(), backend)
		require.NoError(t, err)
		defer client.Close(context.WithoutCancel(t.Context()))
		api, err := httpapi.New(httpapi.Options{Client: client})
		require.NoError(t, err)
		defer api.Close()
		get := func(tag string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, list, nil)
			r.Header.Set("If-None-Match", tag)
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			return w
		}
		fresh := get("").Header().Get("ETag")
		require.Equal(t, http.StatusNotModified, get(fresh).Code)
		require.NoError(t, backend.Close())
		time.Sleep(6 * time.Second)
		stale := get(fresh)
		require.Equal(t, http.StatusOK, stale.Code)
		assert.Contains(t, stale.Body.String(), `"stale":true`)
		assert.Equal(t, http.StatusNotModified, get(stale.Header().Get("ETag")).Code)
		assert.NotEqual(t, fresh, stale.Header().Get("ETag"))
	})
}

func TestPick(t *testing.T) {
	h := newHost(t)
	wantProblem(t, h.call("GET", "/v1/services/api/pick", ""), 404, "not_found", "api")
	h.register("api", "a", `"endpoints":[{"name":"admin","port":9000,"scheme":"https"}]`)
	got := h.want(200, "GET", "/v1/services/api/pick", "")
	assert.Equal(t, "http://10.0.0.7:8080", got.body["url"])
	assert.Equal(t, "a", dig[string](t, got.body, "instance", "id"))
	assert.Equal(t, false, got.body["stale"])
	assert.Equal(t, "https://10.0.0.7:9000", h.want(200, "GET", "/v1/services/api/pick?endpoint=admin", "").body["url"])
	wantProblem(t, h.call("GET", "/v1/services/api/pick?endpoint=none", ""), 404, "not_found")
	none := h.call("GET", "/v1/services/api/pick?filter="+url.QueryEscape(`zone == "z"`), "")
	wantProblem(t, none, 503, "no_eligible_instance")
	assert.Equal(t, "1", none.header.Get("Retry-After"))

	h.register("api", "b", `"weight":0`)
	explained := h.want(200, "GET", "/v1/services/api/explain", "")
	assert.Equal(t, []string{"a", "b"}, ids(t, explained))
	assert.True(t, dig[bool](t, explained.body, "instances", 0, "eligible"))
	assert.InDelta(t, 1, dig[float64](t, explained.body, "instances", 0, "share"), 1e-9)
	assert.False(t, dig[bool](t, explained.body, "instances", 1, "eligible"))
	assert.Contains(t, dig[string](t, explained.body, "instances", 1, "reason"), "weight")
}

func TestWait(t *testing.T) {
	h := newHost(t)
	got := h.want(200, "GET", "/v1/services/api/wait?timeout=0.01", "")
	assert.JSONEq(t, `{"satisfied":false,"instances":[]}`, got.raw)
	h.register("api", "a")
	got = h.want(200, "GET", "/v1/services/api/wait", "")
	assert.Equal(t, true, got.body["satisfied"])
	assert.Equal(t, []string{"a"}, ids(t, got))

	answers := make(chan answer, 1)
	go func() { answers <- h.call("GET", "/v1/services/api/wait?min=2&timeout=60s", "") }()
	h.register("api", "b")
	got = <-answers
	assert.Equal(t, []string{"a", "b"}, ids(t, got))

	go func() { answers <- h.call("GET", "/v1/services/api/wait?min=3&timeout=60", "") }()
	h.api.Close() // what waits is told, and does not hold up the end
	wantProblem(t, <-answers, 503, "unavailable")
}
