package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/marketprism/prism/adapters/config"
)

func TestWhatARunningHostTakesOver(t *testing.T) {
	before := load(t, `
services: {gone: {weight: 1}, same: {weight: 1, metadata: {a: [1]}}, other: {weight: 1}}
backend_config: {a: x}
`).Config
	after := load(t, `
services: {same: {weight: 1, metadata: {a: [1]}}, other: {weight: 2}, "new.one": {}}
backend_config: {a: y, b: z}
health_check_interval: 5
instance_ttl: 60
load_balancing: {strategy: round_robin}
logging: {level: DEBUG, format: text}
security: {tls: {cert_file: f}, auth: {enable: true, tokens: [a], password: p}}
server: {http: "127.0.0.1:1"}
monitoring: {metrics_labels: {zone: true}}
`).Config
	reload, restart := config.Diff(before, after)
	assert.Equal(t, []string{
		"health_check_interval", "load_balancing.strategy", "logging.level", "security.auth.password", "security.auth.tokens",
		"security.tls.cert_file", `services."new.one"`, "services.gone", "services.other",
	}, reload)
	assert.Equal(t, []string{
		"backend_config.a", "backend_config.b", "instance_ttl", "logging.format", "monitoring.metrics_labels.zone", "security.auth.enable", "server.http",
	}, restart)

	reload, restart = config.Diff(before, before)
	assert.Empty(t, reload)
	assert.Empty(t, restart)
	reload, restart = config.Diff(config.Default(), load(t, "").Config)
	assert.Empty(t, append(reload, restart...), "an empty list is as good as none")
}
