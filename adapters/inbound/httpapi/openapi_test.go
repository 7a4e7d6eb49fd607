package httpapi_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
)

func TestOpenAPIHasEveryRoute(t *testing.T) {
	h := newHost(t)
	got := h.want(200, "GET", "/openapi.json", "")
	assert.Equal(t, "3.1.0", got.body["openapi"])
	assert.Equal(t, "1.2.3", dig[string](t, got.body, "info", "version"))
	var routes []string
	operations := map[string]bool{}
	for path, item := range dig[map[string]any](t, got.body, "paths") {
		for method, op := range dig[map[string]any](t, item) {
			routes = append(routes, strings.ToUpper(method)+" "+path)
			id := dig[string](t, op, "operationId")
			assert.False(t, operations[id], "operationId %s twice", id)
			operations[id] = true
			assert.NotEmpty(t, dig[string](t, op, "summary"))
			responses := dig[map[string]any](t, op, "responses")
			assert.NotEmpty(t, dig[string](t, responses, "default", "content", "application/problem+json", "schema", "$ref"))
			assert.Greater(t, len(responses), 1)
			checkParameters(t, path, op)
		}
	}
	slices.Sort(routes)
	assert.Equal(t, []string{
		"DELETE /v1/services/{service}/instances/{id}",
		"GET /healthz",
		"GET /readyz",
		"GET /v1/events",
		"GET /v1/prometheus/sd",
		"GET /v1/services",
		"GET /v1/services/{service}/explain",
		"GET /v1/services/{service}/instances",
		"GET /v1/services/{service}/instances/{id}",
		"GET /v1/services/{service}/pick",
		"GET /v1/services/{service}/wait",
		"GET /v1/status",
		"GET /v1/watch",
		"POST /v1/heartbeats",
		"POST /v1/services/{service}/instances",
		"POST /v1/services/{service}/instances/{id}/check",
		"POST /v1/services/{service}/instances/{id}/outcome",
		"PUT /v1/services/{service}/instances/{id}",
		"PUT /v1/services/{service}/instances/{id}/status",
	}, routes)
	assert.Contains(t, h.want(200, "GET", "/openapi.yaml", "").raw, "openapi: 3.1.0")
}

// checkParameters checks that each variable of a path is described, and every parameter has
// words.
func checkParameters(t *testing.T, path string, op any) {
	t.Helper()
	named := map[string]bool{}
	params, _ := dig[map[string]any](t, op)["parameters"].([]any)
	for _, p := range params {
		name := dig[string](t, p, "name")
		assert.NotEmpty(t, dig[string](t, p, "description"), "%s of %s", name, path)
		if dig[string](t, p, "in") == "path" {
			named[name] = true
		}
	}
	for _, v := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		assert.True(t, named[v[1]], "%s of %s", v[1], path)
	}
}

func TestOpenAPIReferencesResolve(t *testing.T) {
	got := newHost(t).want(200, "GET", "/openapi.json", "")
	schemas := dig[map[string]any](t, got.body, "components", "schemas")
	refs := regexp.MustCompile(`"\$ref":"#/components/schemas/(\w+)"`).FindAllStringSubmatch(got.raw, -1)
	used := map[string]bool{}
	for _, ref := range refs {
		assert.Contains(t, schemas, ref[1])
		used[ref[1]] = true
	}
	for name := range schemas {
		assert.True(t, used[name], "%s is not used", name)
	}
	assert.NotContains(t, schemas, "ErrorModel")
	codes := dig[[]any](t, schemas, "Problem", "properties", "code", "enum")
	assert.Contains(t, codes, "lease_superseded")
	body := dig[map[string]any](t, got.body, "paths", "/v1/services/{service}/instances", "post", "requestBody")
	assert.Equal(t, "#/components/schemas/Registration", dig[string](t, body, "content", "application/json", "schema", "$ref"))
	assert.False(t, dig[bool](t, schemas, "Registration", "additionalProperties"), "an unknown field is an error")
	assert.True(t, dig[bool](t, schemas, "Instance", "additionalProperties"), "answers may get more fields")
	stream := dig[[]any](t, got.body, "paths", "/v1/watch", "get", "responses", "200", "content", "text/event-stream", "schema", "items", "oneOf")
	assert.Len(t, stream, 4)
}

// TestSchemasAgreeWithTheCore holds the documented types to what the core reads and writes.
func TestSchemasAgreeWithTheCore(t *testing.T) {
	got := newHost(t).want(200, "GET", "/openapi.json", "")
	properties := func(schema string) map[string]any {
		return dig[map[string]any](t, got.body, "components", "schemas", schema, "properties")
	}
	keys := func(v any) []string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		var m map[string]any
		require.NoError(t, json.Unmarshal(b, &m))
		out := []string{}
		for k := range m {
			out = append(out, k)
		}
		return out
	}
	names := func(m map[string]any) []string {
		out := []string{}
		for k := range m {
			out = append(out, k)
		}
		return out
	}
	var spec core.Spec
	full := `{"service":"s","id":"i","host":"h","port":1,"endpoints":[{"name":"n","scheme":"http","host":"h","port":2}],"scheme":"http",
		"version":"1","region":"r","zone":"z","datacenter":"d","weight":1,"tags":["t"],"metadata":{"a":1},"health_check_url":"http://h/x",
		"status":"up","ttl":"30s","keepalive":"auto","create_only":true,"check":{"type":"exec","path":"/","command":["c"],"interval":1,
		"timeout":1,"rise":1,"fall":1,"expect_status":[200,"300-399"],"expect_body":"b","deregister_after":1,"implicit":true}}`
	require.NoError(t, json.Unmarshal([]byte(full), &spec))
	assert.ElementsMatch(t, keys(spec), names(properties("Registration")))
	assert.ElementsMatch(t, keys(spec.Check), names(properties("Check")))
	assert.ElementsMatch(t, keys(spec.Endpoints[0]), names(properties("Endpoint")))

	in, _, err := core.Spec{Service: "s", Host: "h", Port: 1}.Resolve(core.StandardDefaults())
	require.NoError(t, err)
	assert.ElementsMatch(t, keys(in), names(properties("Instance")))
	assert.ElementsMatch(t, keys(core.Event{}), names(properties("Event")))

	for name := range properties("Registration") { // each documented field is one that is read
		var probe core.Spec
		err := json.Unmarshal([]byte(`{"port":1,"`+name+`":null}`), &probe)
		if err != nil {
			assert.NotContains(t, err.Error(), "no such field")
		}
	}
	for _, s := range dig[[]any](t, properties("Registration"), "status", "enum") {
		_, _, err := core.ParseSettable("status", dig[string](t, s))
		require.NoError(t, err)
	}
	for _, s := range dig[[]any](t, properties("Instance"), "status", "enum") {
		_, err := core.ParseStatus("status", dig[string](t, s))
		require.NoError(t, err)
	}
}

func TestDocsAskNobodyElse(t *testing.T) {
	h := newHost(t)
	got := h.want(200, "GET", "/docs", "")
	assert.Contains(t, got.header.Get("Content-Security-Policy"), "default-src 'self'")
	assert.Contains(t, got.raw, "/openapi.json")
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(got.raw, -1)
	require.NotEmpty(t, links)
	for _, l := range links {
		assert.True(t, strings.HasPrefix(l[1], "/docs/"), l[1])
		assert.NotEmpty(t, h.want(200, "GET", l[1], "").raw)
	}
	assert.NotContains(t, got.raw, "<script src=\"http")
	wantNone := regexp.MustCompile(`(?i)(?:src|href|url\()\s*=?\s*["']?https?:`)
	assert.Empty(t, wantNone.FindString(got.raw))
}

func TestTheRootLeadsToTheDocs(t *testing.T) {
	h := newHost(t)
	assert.Equal(t, h.want(200, "GET", "/docs", "").raw, h.want(200, "GET", "/", "").raw)
}
