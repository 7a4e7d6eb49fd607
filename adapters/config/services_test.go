package config_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
)

func TestServices(t *testing.T) {
	c := load(t, `
services:
  data.collector:
    host: 127.0.0.1
    port: 8081
    endpoints: [{name: metrics, port: 9100, scheme: http}]
    weight: 150
    tags: [collector]
    ttl: 45
    status: starting
    create_only: true
    metadata: {exchanges: [a, b], big: 9007199254740993, hex: 0x10, under: 1_000, f: 1.50, none: null, on: true, day: 2024-01-02, "a.b": {c: d}}
    check: {path: /ready, interval: 5, timeout: 1s, rise: 1, fall: 4, expect_status: [200, "300-399"], deregister_after: 0}
  gateway: {tags: [gateway], weight: 0, health_check_url: "http://elsewhere/x", check: {type: none}}
  nothing:
`).Config
	s := c.Services["data.collector"]
	require.True(t, s.HasAddress)
	spec := s.Spec
	assert.Equal(t, "data.collector", spec.Service)
	assert.Equal(t, 8081, spec.Port)
	assert.Equal(t, 150, *spec.Weight)
	assert.Equal(t, 45*time.Second, spec.TTL)
	assert.True(t, spec.CreateOnly)
	assert.Equal(t, core.KeepaliveAuto, spec.Keepalive, "the host renews what it registers itself")
	assert.Equal(t, []core.Endpoint{{Name: "metrics", Scheme: "http", Port: 9100}}, spec.Endpoints)
	want, err := core.ParseMetadata([]byte(
		`{"a.b":{"c":"d"},"big":9007199254740993,"day":"2024-01-02","exchanges":["a","b"],"f":1.50,"hex":16,"none":null,"on":true,"under":1000}`))
	require.NoError(t, err)
	assert.Equal(t, want, spec.Metadata, "numbers keep every digit")
	assert.Equal(t, 5*time.Second, spec.Check.Interval)
	assert.Equal(t, "200,300-399", spec.Check.ExpectStatus)

	g := c.Services["gateway"]
	assert.False(t, g.HasAddress)
	assert.Zero(t, *g.Spec.Weight)
	assert.Empty(t, g.Spec.Keepalive)
	assert.Contains(t, c.Services, "nothing")

	regs := c.Registrations()
	require.Len(t, regs, 1)
	assert.Equal(t, "data.collector", regs[0].Service)
	assert.Equal(t, []string{"gateway", "nothing"}, slices.Sorted(maps.Keys(c.ServiceDefaults())))
}

func TestServicesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ entry, want string }{
		"port alone":       {"port: 1", ":3: services.s.port: there is no host beside it; give both, or neither"},
		"host alone":       {"host: h", ":3: services.s.host: there is no port beside it; give both, or neither"},
		"port":             {"host: h\n    port: 70000", ":4: services.s.port: 70000 is not allowed; use 1–65535"},
		"host":             {"port: 1\n    host: 'a b'", ":4: services.s.host: "},
		"weight":           {"weight: 70000", ":3: services.s.weight: 70000 is not allowed"},
		"tag":              {"tags: [ok, 'a b']", ":3: services.s.tags[1]: "},
		"ttl":              {"ttl: 1", ":3: services.s.ttl: "},
		"status":           {"status: asleep", ":3: services.s.status: \"asleep\" is not allowed"},
		"keepalive":        {"keepalive: never", ":3: services.s.keepalive: "},
		"check":            {"check:\n      path: /x\n      interval: 0.5", ":5: services.s.check.interval: 500ms is not allowed"},
		"exec":             {"check: {type: exec, command: [a]}", "services.s.check.type: \"exec\" is not allowed; this host does not allow exec checks"},
		"metadata":         {"metadata: [a]", ":3: services.s.metadata: "},
		"metadata.weight":  {"metadata:\n      weight: heavy", ":4: services.s.metadata.weight: \"heavy\" is not allowed"},
		"foreign health":   {"host: 127.0.0.1\n    port: 1\n    health_check_url: http://elsewhere/", ":5: services.s.health_check_url: "},
		"endpoint":         {"endpoints: [{name: a}]", ":3: services.s.endpoints[0].port: "},
		"name in an entry": {"service: other", ":3: services.s.service: there is no such key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := try(t, "services:\n  s:\n    "+c.entry+"\n")
			require.ErrorIs(t, err, core.ErrInvalid)
			assert.Contains(t, err.Error(), c.want)
			assert.Equal(t, 1, strings.Count(err.Error(), "prism.yaml"))
		})
	}
	assert.Contains(t, fails(t, "services:\n  a: {}\n  'b/c': {}\n"), `:3: services.b/c: "b/c" is not allowed; the character '/'`)
	load(t, "checks: {allow_exec: true, allow_other_hosts: true}\nservices: {s: {host: h, port: 1, health_check_url: 'http://elsewhere/', check: {type: exec, command: [a]}}}\n")
}

// TestServiceShapeIsARegistration: every field of a registration can stand in an entry, and
// an entry's fields are a registration's.
func TestServiceShapeIsARegistration(t *testing.T) {
	full := core.Spec{
		Service: "s", ID: "i", Host: "127.0.0.1", Port: 1, Endpoints: []core.Endpoint{{Name: "e", Scheme: "http", Host: "127.0.0.1", Port: 2}},
		Scheme: "http", Version: "2", Region: "r", Zone: "z", Datacenter: "d", Weight: new(3), Tags: []string{"t"},
		Metadata: core.MustMetadata(map[string]any{"k": "v"}), HealthCheckURL: "http://127.0.0.1:1/h", Status: "up", TTL: 9 * time.Second,
		Keepalive: core.KeepaliveClient, CreateOnly: true,
		Check: &core.Check{
			Type: core.CheckHTTP, Path: "/p", Interval: 3 * time.Second, Timeout: time.Second, Rise: 1, Fall: 1,
			ExpectStatus: "200", ExpectBody: "b", DeregisterAfter: time.Minute,
		},
	}
	b, err := json.Marshal(full)
	require.NoError(t, err)
	var entry map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(b, &entry))
	delete(entry, "service")
	assert.Len(t, entry, 18, "a field was added to a registration: extend serviceShape and the Spec above")
	body, err := json.Marshal(map[string]any{"services": map[string]any{"s": entry}})
	require.NoError(t, err)
	got := load(t, string(body)).Config.Services["s"].Spec
	gotJSON, err := json.Marshal(got)
	require.NoError(t, err)
	assert.JSONEq(t, string(b), string(gotJSON), "JSON is YAML, and nothing is lost")
}
