package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/marketprism/prism/adapters/config"
)

func TestVariablesOfTheEnvironment(t *testing.T) {
	l := load(t, `
services:
  data-collector: {weight: 1}
  a.b: {weight: 1, metadata: {Kind: x}}
`, env(
		"PRISM_BACKEND=redis",
		"PRISM_BACKEND_CONFIG__URL=redis://h:1",
		"PRISM_BACKEND_CONFIG__REDIS__PASSWORD=0123",
		"PRISM_BACKEND_CONFIG__NAMESPACE=test",
		"PRISM_HEALTH_CHECK_INTERVAL=10s",
		"PRISM_LOAD_BALANCING__HEALTH_CHECK_REQUIRED=0",
		"PRISM_SERVER__HTTP=127.0.0.1:1",
		"PRISM_SERVICE_DISCOVERY__SERVER__GRPC=127.0.0.1:2",
		"SERVICE_DISCOVERY_INSTANCE_TTL=44",
		"SERVICE_DISCOVERY_NETWORK__CONNECTION_TIMEOUT=7",
		"PRISM_PLUGIN__DIRS=/a, /b",
		"PRISM_SERVICES__DATA_COLLECTOR__WEIGHT=5",
		"PRISM_SERVICES__A_B__METADATA__KIND=y",
		"PRISM_SERVICES__FRESH__PORT=81",
		"PRISM_SERVICES__FRESH__HOST=127.0.0.1",
		"PRISM_LOGGING__FIELDS__REGION=eu",
		"PRISM_PROTECT_THRESHOLD=0",
		"PRISM_SESSION_TTL=",
		"UNRELATED=1",
	))
	c := l.Config
	assert.Empty(t, l.Notices)
	assert.Equal(t, map[string]any{"namespace": "test", "url": "redis://h:1", "password": "0123"}, c.BackendConfig, "text stays text")
	assert.Equal(t, 10*time.Second, c.HealthCheckInterval)
	assert.False(t, c.LoadBalancing.HealthCheckRequired)
	assert.Equal(t, "127.0.0.1:1", c.Server.HTTP)
	assert.Equal(t, "127.0.0.1:2", c.Server.GRPC)
	assert.Equal(t, 44*time.Second, c.InstanceTTL)
	assert.Equal(t, 7*time.Second, c.Network.ConnectionTimeout)
	assert.Equal(t, []string{"/a", "/b"}, c.Plugin.Dirs)
	assert.Equal(t, 5, *c.Services["data-collector"].Spec.Weight)
	assert.JSONEq(t, `{"Kind":"y"}`, c.Services["a.b"].Spec.Metadata.String())
	assert.Equal(t, 81, c.Services["fresh"].Spec.Port)
	assert.Equal(t, config.LogField{Show: true, Value: "eu"}, c.Logging.Fields["region"])
	assert.Zero(t, c.ProtectThreshold)
	assert.Equal(t, 15*time.Second, c.SessionTTL, "an empty variable counts as not set")
	assert.Equal(t, config.Source{Layer: config.LayerEnvironment, Name: "PRISM_SERVER__HTTP"}, l.Sources["server.http"])
}

func TestUnknownVariablesAreWarnings(t *testing.T) {
	l := load(t, "", env(
		"PRISM_INSTANCE_TLL=5", "PRISM_SERVER__HTPP=x", "PRISM_SERVER__", "PRISM_PORT_8640_TCP=tcp://10.0.0.1:8640", "PRISM_=1", "PRISM_SERVER____HTTP=1",
		"PRISM_ENVIRONMENTS__DEV__BACKEND=etcd", "SERVICE_DISCOVERY_PORT=1",
		"PRISM_CONFIG=", "PRISM_ADDRESS=http://h:1", "PRISM_TOKEN=t", "PRISM_PLUGIN_DIR=/p", "PRISM_REDIS_BIN=/r", "PRISM_OWN=1",
	), func(o *config.LoadOptions) { o.KnownVariables = []string{"PRISM_OWN"} })
	assert.Equal(t, config.Default(), l.Config)
	assert.ElementsMatch(t, []string{
		`PRISM_INSTANCE_TLL: it names no key of the configuration; the nearest is "instance_ttl"; it is ignored`,
		`PRISM_SERVER__HTPP: it names no key of the configuration; the nearest is "server.http"; it is ignored`,
		`PRISM_: it names no key of the configuration; it is ignored`,
		`PRISM_SERVER____HTTP: it names no key of the configuration; it is ignored`,
		`PRISM_ENVIRONMENTS__DEV__BACKEND: it names no key of the configuration; it is ignored`,
		`PRISM_PORT_8640_TCP: it names no key of the configuration; the nearest is "instance_ttl"; it is ignored`,
		`SERVICE_DISCOVERY_PORT: it names no key of the configuration; the nearest is "plugin"; it is ignored`,
	}, noticesOf(l, config.NoticeUnknownVariable))
}

func TestTwoVariablesForOneKey(t *testing.T) {
	l := load(t, "backend: memory\n", env("PRISM_INSTANCE_TTL=5", "SERVICE_DISCOVERY_INSTANCE_TTL=6", "PRISM_SESSION_TTL=7", "SERVICE_DISCOVERY_SESSION_TTL=7"))
	assert.Equal(t, 5*time.Second, l.Config.InstanceTTL)
	assert.Equal(t, []string{"SERVICE_DISCOVERY_INSTANCE_TTL: instance_ttl is set differently by PRISM_INSTANCE_TTL, which wins; unset one of the two"},
		noticesOf(l, config.NoticeTwoVariables), "the same value twice is nothing to say")
}

func TestAVariableThatCouldMeanTwoNames(t *testing.T) {
	l := load(t, "services: {a-b: {weight: 1}, a.b: {weight: 1}}\n", env("PRISM_SERVICES__A_B__WEIGHT=5"))
	assert.Equal(t, 1, *l.Config.Services["a-b"].Spec.Weight)
	assert.Equal(t, []string{"PRISM_SERVICES__A_B__WEIGHT: it could mean a-b or a.b; use --set for them; it is ignored"},
		noticesOf(l, config.NoticeUnknownVariable))
}

func TestAVariableOfTheWrongType(t *testing.T) {
	assert.Equal(t, `PRISM_INSTANCE_TTL: instance_ttl: "soon" is not allowed; use a number of seconds, or a duration such as "30s" or "1m30s"`,
		fails(t, "", env("PRISM_INSTANCE_TTL=soon")))
	assert.Equal(t, "PRISM_SERVER: server: it holds text; use a mapping", fails(t, "", env("PRISM_SERVER=x")))
	assert.Equal(t, "127.0.0.1:5", load(t, "", env("PRISM_SERVER={http: '127.0.0.1:5'}")).Config.Server.HTTP)
}
