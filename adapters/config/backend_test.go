package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestBackendOptionsFlatOrNested(t *testing.T) {
	for name, c := range map[string]struct {
		yaml string
		want map[string]any
	}{
		"default":        {"", map[string]any{"namespace": "prism"}},
		"flat":           {"backend: own\nbackend_config: {namespace: n, a: x, b: 2, c: true, d: [p, q], e: 1.5}", map[string]any{"namespace": "n", "a": "x", "b": int64(2), "c": true, "d": []string{"p", "q"}, "e": 1.5}},
		"a number":       {"backend_config: {namespace: 007}", map[string]any{"namespace": "007"}},
		"nested":         {"backend: own\nbackend_config: {namespace: n, own: {a: x}, other: {a: y}}", map[string]any{"namespace": "n", "a": "x"}},
		"both":           {"backend: own\nbackend_config: {a: x, own: {b: y}}", map[string]any{"namespace": "prism", "a": "x", "b": "y"}},
		"not selected":   {"backend_config: {own: {a: x}}", map[string]any{"namespace": "prism"}},
		"flat, default":  {"backend_config: {a: x}", map[string]any{"namespace": "prism", "a": "x"}},
		"a dot in names": {"backend: own.er\nbackend_config: {own.er: {a.b: x}}", map[string]any{"namespace": "prism", "a.b": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := load(t, c.yaml+"\n")
			assert.Equal(t, c.want, l.BackendOptions())
			assert.Equal(t, c.want, l.Config.BackendConfig)
			l.BackendOptions()["namespace"] = "changed"
			assert.Equal(t, c.want, l.BackendOptions(), "the map is the caller's own")
		})
	}
}

// TestFlatOptionsBelongToTheBackendBesideThem: a profile or flag that selects another backend
// does not send one store's address and password to another.
func TestFlatOptionsBelongToTheBackendBesideThem(t *testing.T) {
	const yaml = `
backend: consul
backend_config: {url: "http://c:1", token: secret}
environments:
  dev: {backend: memory}
  other: {backend: etcd, backend_config: {url: "http://e:1"}}
`
	l := load(t, yaml)
	assert.Equal(t, map[string]any{"namespace": "prism", "url": "http://c:1", "token": "secret"}, l.BackendOptions())
	l = load(t, yaml, set("environment=dev"))
	assert.Equal(t, map[string]any{"namespace": "prism"}, l.BackendOptions())
	require.Len(t, l.Notices, 2)
	assert.Contains(t, l.Notices[0].String(), "prism.yaml:3: backend_config.token has no effect: the backend is memory, and this was given together with backend: consul")
	l = load(t, yaml, set("environment=other"))
	assert.Equal(t, map[string]any{"namespace": "prism", "url": "http://e:1"}, l.BackendOptions())
	l = load(t, yaml, set("environment=other", "backend=consul"))
	assert.Equal(t, "http://c:1", l.BackendOptions()["url"], "back to the first: its own address again")

	l = load(t, "backend_config: {url: 'redis://r:1'}\n", set("backend=redis"))
	assert.Equal(t, "redis://r:1", l.BackendOptions()["url"], "a layer that names no backend means the selected one")
}

func TestTheLaterLayerWinsAmongFlatAndNested(t *testing.T) {
	nested := "backend: own\nbackend_config: {own: {a: file}}\n"
	assert.Equal(t, "flag", load(t, nested, set("backend_config.a=flag")).BackendOptions()["a"])
	profile := nested + "environments: {p: {backend_config: {a: profile}}}\n"
	assert.Equal(t, "profile", load(t, profile, set("environment=p")).BackendOptions()["a"])
	flat := "backend_config: {a: file}\n"
	assert.Equal(t, "flag", load(t, flat, set("backend=own", "backend_config.own.a=flag")).BackendOptions()["a"])

	msg := fails(t, "backend: own\nbackend_config:\n  a: x\n  own:\n    a: y\n")
	assert.Regexp(t, `prism\.yaml:5: backend_config\.own\.a: the same option stands at \S+prism\.yaml:3 too, as backend_config\.a; keep one of them`, msg)
	msg = fails(t, "backend_config:\n  a: x\n  own:\n    a: y\n", set("backend=own"))
	assert.Contains(t, msg, ":4: backend_config.own.a: the same option stands at")
}

func TestTheNamespaceStandsAtTheTop(t *testing.T) {
	assert.Contains(t, fails(t, "backend_config:\n  consul:\n    namespace: x\n"), ":3: backend_config.consul.namespace: the namespace stands at the top")
	assert.Equal(t, "test", load(t, "environments: {t: {backend_config: {namespace: test}}}\n", set("environment=t")).Config.Namespace())
}

func TestWhereTheStoreIsWhenNothingSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		yaml    string
		env     []string
		url     any
		origin  string
		further map[string]any
	}{
		"consul":              {"backend: consul", nil, "http://127.0.0.1:8500", "", nil},
		"etcd":                {"backend: etcd", nil, "http://127.0.0.1:2379", "", nil},
		"nats":                {"backend: nats", nil, "nats://127.0.0.1:4222", "", nil},
		"redis":               {"backend: redis", nil, "redis://127.0.0.1:6379", "", nil},
		"memory":              {"backend: memory", []string{"REDIS_URL=redis://x"}, nil, "", nil},
		"CONSUL_URL":          {"backend: consul", []string{"CONSUL_URL=http://a:1", "CONSUL_HTTP_ADDR=b:1"}, "http://a:1", "CONSUL_URL", nil},
		"CONSUL_HTTP_ADDR":    {"backend: consul", []string{"CONSUL_HTTP_ADDR=b:1", "CONSUL_HTTP_TOKEN=t"}, "b:1", "CONSUL_HTTP_ADDR", map[string]any{"token": "t"}},
		"CONSUL_HTTP_ADDR 2":  {"backend: consul", []string{"CONSUL_HTTP_ADDR=https://b:1"}, "https://b:1", "CONSUL_HTTP_ADDR", nil},
		"ETCD_URL":            {"backend: etcd", []string{"ETCD_URL=http://e:1"}, "http://e:1", "ETCD_URL", nil},
		"NATS_URL":            {"backend: nats", []string{"NATS_URL=nats://n:1"}, "nats://n:1", "NATS_URL", nil},
		"REDIS_URL":           {"backend: redis", []string{"REDIS_URL=redis://r:1"}, "redis://r:1", "REDIS_URL", nil},
		"the file wins":       {"backend: redis\nbackend_config: {redis: {url: 'redis://f:1'}}", []string{"REDIS_URL=redis://r:1"}, "redis://f:1", "", nil},
		"an empty url":        {"backend: redis\nbackend_config: {url: '${NONE:-}'}", []string{"REDIS_URL=redis://r:1"}, "redis://r:1", "REDIS_URL", nil},
		"several urls":        {"backend: etcd\nbackend_config: {urls: [a, b]}", []string{"ETCD_URL=http://e:1"}, nil, "", nil},
		"sentinels":           {"backend: redis\nbackend_config: {sentinels: 'a:1'}", []string{"REDIS_URL=redis://r:1"}, nil, "", nil},
		"a token of the file": {"backend: consul\nbackend_config: {token: f}", []string{"CONSUL_HTTP_TOKEN=t"}, "http://127.0.0.1:8500", "", map[string]any{"token": "f"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := load(t, c.yaml+"\n", env(c.env...))
			got := l.BackendOptions()
			assert.Equal(t, c.url, got["url"])
			for k, v := range c.further {
				assert.Equal(t, v, got[k])
			}
			if c.origin != "" {
				assert.Equal(t, c.origin, l.Sources["backend_config.url"].Name)
				assert.Equal(t, config.LayerEnvironment, l.Sources["backend_config.url"].Layer)
			}
		})
	}
}

func TestOptionsAreCheckedAgainstTheSchema(t *testing.T) {
	schema := []ports.Option{
		{Name: "url", Type: ports.OptionString, Required: true},
		{Name: "password", Type: ports.OptionString, Secret: true},
		{Name: "db", Type: ports.OptionInt, Default: "0"},
		{Name: "tls", Type: ports.OptionBool},
		{Name: "timeout", Type: ports.OptionDuration},
		{Name: "pin", Type: ports.OptionInt, Secret: true},
		{Name: "nodes", Type: ports.OptionList},
	}
	l := load(t, "backend: own\nbackend_config: {url: u, password: 0123, db: '${DB:-7}', tls: yes, timeout: 5, nodes: 'a,b'}\n")
	raw, err := l.ValidateBackend(schema)
	require.NoError(t, err)
	assert.JSONEq(t, `{"namespace":"prism","url":"u","password":"0123","db":7,"tls":true,"timeout":"5s","nodes":["a","b"]}`, string(raw))

	for yaml, want := range map[string]string{
		"\n  own:\n    url: u\n    db: many":    `prism.yaml:5: backend_config.own.db: "many" is not allowed; use a whole number`,
		"\n  url: u\n  pasword: x":              `prism.yaml:4: backend_config.pasword: this backend has no such option; did you mean "password"?`,
		"\n  url: u\n  pin: hunter2":            `prism.yaml:4: backend_config.pin: what is given is not allowed; use a whole number`,
		"\n  db: 1":                             `backend_config.url: it is required and not given`,
		"\n  url: u\n  db: redis://u:hunter2@h": `prism.yaml:4: backend_config.db: "redis://***@h" is not allowed`,
		"\n  url: u\n  timeout: [a]":            `prism.yaml:4: backend_config.timeout: `,
	} {
		_, err := load(t, "backend: own\nbackend_config:"+yaml+"\n").ValidateBackend(schema)
		require.ErrorIs(t, err, core.ErrInvalid)
		assert.Contains(t, err.Error(), want)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}
