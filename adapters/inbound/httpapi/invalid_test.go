package httpapi_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRegistrationsThatAreRefused holds one case for each way to get a registration wrong: the
// status, the code, the field at fault, and words that tell what to do.
func TestRegistrationsThatAreRefused(t *testing.T) {
	h := newHost(t)
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	for name, tc := range map[string]struct {
		body     string
		status   int
		location string
		say      []string
	}{
		"port missing":            {`{"host":"a"}`, 422, "body.port", []string{"1–65535"}},
		"port 0":                  {`{"host":"a","port":0}`, 422, "body.port", []string{"0", "1–65535"}},
		"port 65536":              {`{"host":"a","port":65536}`, 422, "body.port", []string{"65536", "1–65535"}},
		"port abc":                {`{"host":"a","port":"abc"}`, 422, "body.port", []string{"abc", "1–65535"}},
		"port 1.5":                {`{"host":"a","port":1.5}`, 422, "body.port", []string{"1.5"}},
		"host missing":            {`{"port":1}`, 422, "body.host", []string{"empty"}},
		"host of a wrong type":    {`{"host":5,"port":1}`, 422, "body.host", []string{"number", "string"}},
		"host with a zone":        {`{"host":"fe80::1%eth0","port":1}`, 422, "body.host", []string{"%eth0"}},
		"host with a port":        {`{"host":"a:80","port":1}`, 422, "body.host", []string{"port"}},
		"host that is no address": {`{"host":"1.2.3.400","port":1}`, 422, "body.host", []string{"IPv4"}},
		"id of 129 characters":    {`{"id":"` + strings.Repeat("x", 129) + `","host":"a","port":1}`, 422, "body.id", []string{"129 bytes"}},
		"id with a slash":         {`{"id":"a/b","host":"a","port":1}`, 422, "body.id", []string{`'/'`}},
		"id with NUL":             {`{"id":"a\u0000b","host":"a","port":1}`, 422, "body.id", []string{`\x00`}},
		"tag with *":              {`{"tags":["ok","a*"],"host":"a","port":1}`, 422, "body.tags[1]", []string{`'*'`}},
		"service unlike the path": {`{"service":"other","host":"a","port":1}`, 422, "path.service", []string{"other"}},
		"weight −1":               {`{"weight":-1,"host":"a","port":1}`, 422, "body.weight", []string{"-1", "65,535"}},
		"weight 70,000":           {`{"weight":70000,"host":"a","port":1}`, 422, "body.weight", []string{"70000", "65,535"}},
		"ttl 0":                   {`{"ttl":0,"host":"a","port":1}`, 422, "body.ttl", []string{"2 to 86,400"}},
		"ttl −1":                  {`{"ttl":-1,"host":"a","port":1}`, 422, "body.ttl", []string{"-1", "2 to 86,400"}},
		"ttl 1":                   {`{"ttl":1,"host":"a","port":1}`, 422, "body.ttl", []string{"2 to 86,400"}},
		"ttl 1e12":                {`{"ttl":1e12,"host":"a","port":1}`, 422, "body.ttl", []string{"1e12"}},
		"ttl soon":                {`{"ttl":"soon","host":"a","port":1}`, 422, "body.ttl", []string{"soon", "30s"}},
		"metadata of 70 KiB":      {`{"metadata":{"a":"` + strings.Repeat("x", 70<<10) + `"},"host":"a","port":1}`, 413, "body.metadata", []string{"64 KiB"}},
		"metadata 100 deep":       {`{"metadata":` + deep + `,"host":"a","port":1}`, 422, "", []string{"32 levels"}},
		"metadata with one key twice": {
			`{"metadata":{"a":1,"a":2},"host":"a","port":1}`, 422, "body.metadata.a", []string{"twice"},
		},
		"metadata that is no object": {`{"metadata":[1],"host":"a","port":1}`, 422, "body.metadata", []string{"object"}},
		"health URL on another host": {
			`{"health_check_url":"http://169.254.169.254/x","host":"a","port":1}`, 422, "body.health_check_url", []string{"own host a"},
		},
		"exec check":              {`{"check":{"type":"exec","command":["x"]},"host":"a","port":1}`, 422, "body.check.type", []string{"exec"}},
		"check interval soon":     {`{"check":{"interval":"soon"},"host":"a","port":1}`, 422, "body.check.interval", []string{"soon", "seconds"}},
		"check interval 0":        {`{"check":{"interval":0},"host":"a","port":1}`, 422, "body.check.interval", []string{"more than 0"}},
		"endpoint without a name": {`{"endpoints":[{"port":1}],"host":"a","port":1}`, 422, "body.endpoints[0].name", []string{"empty"}},
		"status that nobody sets": {`{"status":"unknown","host":"a","port":1}`, 422, "body.status", []string{"cannot be set"}},
		"keepalive":               {`{"keepalive":"never","host":"a","port":1}`, 422, "body.keepalive", []string{"auto or client"}},
		"unknown field":           {`{"hots":"a","port":1}`, 422, "body.hots", []string{"no such field"}},
		"unknown field of a check": {
			`{"check":{"typ":"tcp"},"host":"a","port":1}`, 422, "body.check.typ", []string{"no such field"},
		},
		"an array":       {`[]`, 422, "body", []string{"array"}},
		"null":           {`null`, 422, "body.port", nil},
		"malformed JSON": {`{"host":"a",}`, 400, "body", []string{"not valid JSON", "at byte"}},
		"half an object": {`{"host":"a"`, 400, "body", []string{"not valid JSON"}},
		"two objects":    {`{"host":"a","port":1}{}`, 400, "body", []string{"not valid JSON"}},
		"not UTF-8":      {"{\"host\":\"\xff\",\"port\":1}", 400, "body", []string{"UTF-8"}},
		"only spaces":    {"  ", 400, "body", []string{"empty"}},
		"10 MB":          {`{"host":"` + strings.Repeat("x", 10<<20) + `"}`, 413, "body", []string{"1 MiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			code := "invalid_argument"
			if tc.status == 413 {
				code = "too_large"
			}
			got := h.call("POST", "/v1/services/api/instances", tc.body)
			location := wantProblem(t, got, tc.status, code, tc.say...)
			if tc.location != "" {
				assert.Equal(t, tc.location, location)
			}
			assert.Less(t, len(got.raw), 4096, "what was given is shortened")
		})
	}
	assert.Empty(t, dig[[]any](t, h.want(200, "GET", "/v1/services", "").body, "services"))
	unknownLength := io.MultiReader(strings.NewReader(strings.Repeat(" ", 3<<20)))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+list, unknownLength)
	require.NoError(t, err)
	res, err := h.http.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	assert.Equal(t, 413, res.StatusCode)
	assert.Equal(t, "body", wantProblem(t, h.call("POST", "/v1/services/api/instances", ""), 400, "invalid_argument", "send a JSON object"))
}

// TestPathsWithoutANameAreNotRedirected holds an empty name in a path to the same answer as any
// other that is not allowed: a redirect would lead to another route, or to none.
func TestPathsWithoutANameAreNotRedirected(t *testing.T) {
	h := newHost(t)
	for _, tc := range []struct{ method, path string }{
		{"POST", "/v1/services//instances"},
		{"GET", "/v1/services//instances"},
		{"GET", "/v1/services//pick?policy=round_robin"},
		{"PUT", "/v1/services/api/instances//status"},
		{"GET", "/v1/services/../instances"},
		{"GET", "/v1/services/./instances"},
		{"DELETE", "/v1/services/api/instances/.."},
		{"GET", "//v1/services"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, h.url+tc.path, strings.NewReader(`{"host":"a","port":1}`))
		require.NoError(t, err)
		res, err := h.http.Transport.RoundTrip(req) // follows no redirect
		require.NoError(t, err)
		raw, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		assert.Equal(t, 422, res.StatusCode, tc.path)
		assert.Equal(t, "application/problem+json", res.Header.Get("Content-Type"), tc.path)
		for _, say := range []string{`"invalid_argument"`, `"location":"path"`, "1–128"} {
			assert.Contains(t, string(raw), say, tc.path)
		}
	}
	wantProblem(t, h.call("GET", "/v1/services/a%2F%2Fb/instances", ""), 422, "invalid_argument", `'/'`)
}

func TestNamesInPathsAreChecked(t *testing.T) {
	h := newHost(t)
	for given, char := range map[string]string{
		"a%2Fb": `'/'`, "a%00": `'\x00'`, "*": `'*'`, "a%3E": `'>'`, "%C3%A9": `'é'`, "a%20b": `' '`, ".a": `'.'`,
		strings.Repeat("x", 129): "129 bytes",
	} {
		for _, tc := range []struct{ method, path, location, body string }{
			{"GET", "/v1/services/%s/instances", "path.service", ""},
			{"GET", "/v1/services/%s/instances?limit=1", "path.service", ""},
			{"POST", "/v1/services/%s/instances", "path.service", `{"host":"a","port":1}`},
			{"PUT", "/v1/services/api/instances/%s", "path.id", `{"host":"a","port":1}`},
			{"GET", "/v1/services/api/instances/%s", "path.id", ""},
			{"DELETE", "/v1/services/api/instances/%s", "path.id", ""},
			{"PUT", "/v1/services/api/instances/%s/status", "path.id", `{"status":"up"}`},
			{"POST", "/v1/services/api/instances/%s/check", "path.id", ""},
			{"POST", "/v1/services/api/instances/%s/outcome", "path.id", `{"ok":true}`},
			{"GET", "/v1/services/%s/pick", "path.service", ""},
			{"GET", "/v1/services/%s/explain", "path.service", ""},
			{"GET", "/v1/services/%s/wait", "path.service", ""},
		} {
			got := h.call(tc.method, fmt.Sprintf(tc.path, given), tc.body)
			location := wantProblem(t, got, 422, "invalid_argument", char)
			assert.Equal(t, tc.location, location, tc.path)
		}
		for _, path := range []string{"/v1/watch?service=", "/v1/prometheus/sd?service=", "/v1/events?service="} {
			assert.Equal(t, "query.service", wantProblem(t, h.call("GET", path+given, ""), 422, "invalid_argument", char), path)
		}
	}
}

func TestQueriesAreChecked(t *testing.T) {
	h := newHost(t)
	h.register("api", "api-1")
	for query, want := range map[string][2]string{
		"services?limit=0":                           {"query.limit", "0 is not allowed; use 1 or more"},
		"services?limit=abc":                         {"query.limit", "use a whole number"},
		"services?cursor=%2F":                        {"query.cursor", "next_cursor"},
		"services?tag=a":                             {"query.tag", "tag: there is no such parameter; use limit, cursor"},
		"services/api/pick?polcy=random":             {"query.polcy", "polcy: there is no such parameter; use policy, key, filter, endpoint"},
		"services/api/instances/api-1?x=":            {"query.x", "x: there is no such parameter; this takes none"},
		"services/api/instances?status=up":           {"query.status", "healthy"},
		"services/api/instances?tag=a%2Fb":           {"query.tag", `'/'`},
		"services/api/instances?filter=version+%3D":  {"query.filter", "does not parse"},
		"services/api/instances?filter=weight":       {"query.filter", "bool"},
		"services/api/instances?filter=nosuch+%3D+1": {"query.filter", "nosuch"},
		"services/api/instances?tags=a":              {"query.tags", "use status, tag, filter, limit, cursor"},
		"services/api/instances?limit=-1":            {"query.limit", "-1"},
		"services/api/pick?policy=best":              {"query.policy", "best"},
		"services/api/pick?filter=%28":               {"query.filter", "does not parse"},
		"services/api/wait?min=0":                    {"query.min", "0"},
		"services/api/wait?timeout=1h":               {"query.timeout", "300"},
		"services/api/wait?timeout=soon":             {"query.timeout", "soon"},
		"services/api/wait?timeout=-1":               {"query.timeout", "300"},
		"events?limit=1001":                          {"query.limit", "1001 is not allowed; use at most 1000"},
		"events?type=service_exploded":               {"query.type", "service_registered"},
	} {
		t.Run(query, func(t *testing.T) {
			got := h.call("GET", "/v1/"+query, "")
			location := wantProblem(t, got, 422, "invalid_argument", want[1])
			assert.Equal(t, want[0], location)
		})
	}
	got := h.call("GET", "/v1/services/api/instances?filter="+strings.Repeat("a", 5000), "")
	wantProblem(t, got, 413, "too_large", "4,096")
}
