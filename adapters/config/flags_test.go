package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/marketprism/prism/adapters/config"
)

func TestFlags(t *testing.T) {
	l := load(t, "services: {a.b: {weight: 1}}\n", func(o *config.LoadOptions) {
		o.Flags = map[string]any{
			"backend": "redis", "server.http": "127.0.0.1:1", "auto_register": false, "events.history": 9,
			"protect_threshold": 0.25, "session_ttl": 20 * time.Second, "plugin.dirs": []string{"/a,b", "/c"},
		}
	}, set(
		"service_discovery.server.grpc=127.0.0.1:9000",
		`services."a.b".port=81`, `services.'a.b'.host=::1`, "services.c={weight: 3, tags: [x]}",
		"services.d.metadata.note=a: b", "services.d.metadata.big=9007199254740993", "services.d.metadata.none=",
		"services.d.metadata.list=[1, 2]", "services.d.check.expect_status=200-299",
		"backend_config.password=a=b", "logging.fields.x=y=z", "security.auth.tokens=[]", "server.advertise=",
	))
	c := l.Config
	assert.Equal(t, "redis", c.Backend)
	assert.Equal(t, "127.0.0.1:1", c.Server.HTTP)
	assert.Equal(t, "127.0.0.1:9000", c.Server.GRPC)
	assert.False(t, c.AutoRegister)
	assert.Equal(t, 9, c.Events.History)
	assert.InDelta(t, 0.25, c.ProtectThreshold, 0)
	assert.Equal(t, 20*time.Second, c.SessionTTL)
	assert.Equal(t, []string{"/a,b", "/c"}, c.Plugin.Dirs)
	assert.Equal(t, "::1", c.Services["a.b"].Spec.Host)
	assert.Equal(t, 81, c.Services["a.b"].Spec.Port)
	assert.Equal(t, 1, *c.Services["a.b"].Spec.Weight, "the file's is kept")
	assert.Equal(t, []string{"x"}, c.Services["c"].Spec.Tags)
	assert.JSONEq(t, `{"note":"a: b","big":9007199254740993,"none":"","list":[1,2]}`, c.Services["d"].Spec.Metadata.String())
	assert.Equal(t, "a=b", c.BackendConfig["password"])
	assert.Equal(t, "y=z", c.Logging.Fields["x"].Value)
	assert.Equal(t, "--set", l.Sources["server.grpc"].String())
}

func TestFlagsThatAreRefused(t *testing.T) {
	for arg, want := range map[string]string{
		"backend":                          `--set: there is no "=" in it; use --set key=value`,
		"=x":                               "--set: the key cannot be read",
		"server..http=x":                   "--set: the key cannot be read",
		`services."a.port=1`:               `--set: there is no "=" in it`,
		`services."a"b.port=1`:             "--set: the key cannot be read",
		"server.htp=x":                     `--set: server.htp: there is no such key; the nearest is "server.http"`,
		"servr.http=x":                     `--set: servr: there is no such key; the nearest is "server"`,
		"backend.name=x":                   "--set: backend.name: there is no such key",
		"services.a.b.port=1":              `put a service's name with dots in quotes: services."a.b".port`,
		"environments.a.backend=x":         "--set: environments.a.backend: a flag does not change a profile",
		"instance_ttl=soon":                `--set: instance_ttl: "soon" is not allowed`,
		"server=x":                         "--set: server: it holds text; use a mapping",
		"services.a=":                      "--set: services.a: it is empty; use YAML such as {key: value}",
		"services.a={port: [":              "--set: it is not YAML",
		"backend_config.a.b.c=x":           "--set: backend_config.a.b.c: there is no such key",
		"monitoring.custom_metrics":        `there is no "="`,
		"monitoring.custom_metrics.name=x": "--set: monitoring.custom_metrics.name: there is no such key",
	} {
		t.Run(arg, func(t *testing.T) {
			assert.Contains(t, fails(t, "", set(arg)), want)
		})
	}
	assert.Contains(t, fails(t, "", func(o *config.LoadOptions) { o.Flags = map[string]any{"server": 5} }), "--server: server: ")
}
