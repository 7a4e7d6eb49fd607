package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/core"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30": 30 * time.Second, "2.5": 2500 * time.Millisecond, "30s": 30 * time.Second, `"45"`: 45 * time.Second,
		"1m30s": 90 * time.Second, `" 5s "`: 5 * time.Second, "1e2": 100 * time.Second,
	} {
		assert.Equal(t, want, load(t, "instance_ttl: "+text+"\n").Config.InstanceTTL, text)
	}
}

func TestTypesAreTakenAsWritten(t *testing.T) {
	c := load(t, `
backend_config: {password: 0123, token: 1.10}
plugin: {file: 007}
auto_register: yes
auto_deregister: "OFF"
events: {history: 0x10}
server: {data_dir: 2024-01-02}
network: {retry: {backoff_factor: 3}}
services: {s: {version: 1.0, zone: 1, tags: [1, true, x]}}
`).Config
	assert.Equal(t, "007", c.Plugin.File)
	assert.True(t, c.AutoRegister)
	assert.False(t, c.AutoDeregister)
	assert.Equal(t, 16, c.Events.History)
	assert.Equal(t, "2024-01-02", c.Server.DataDir)
	assert.InDelta(t, 3.0, c.Network.Retry.BackoffFactor, 0)
	assert.Equal(t, "1.0", c.Services["s"].Spec.Version)
	assert.Equal(t, []string{"1", "true", "x"}, c.Services["s"].Spec.Tags)
}

// TestWrongTypes: each names the key, what was given and what is allowed.
func TestWrongTypes(t *testing.T) {
	for yaml, want := range map[string]string{
		"instance_ttl: soon":                         `instance_ttl: "soon" is not allowed; use a number of seconds, or a duration such as "30s" or "1m30s"`,
		"instance_ttl: true":                         `instance_ttl: "true" is not allowed; use a number of seconds`,
		"instance_ttl: [1]":                          `instance_ttl: this list is not allowed; use a number of seconds`,
		"instance_ttl: .inf":                         `instance_ttl: ".inf" is not allowed`,
		"instance_ttl: 1e300":                        `instance_ttl: "1e300" is not allowed`,
		"auto_register: 1":                           `auto_register: "1" is not allowed; use true or false`,
		"auto_register: maybe":                       `auto_register: "maybe" is not allowed; use true or false`,
		"events: {history: many}":                    `events.history: "many" is not allowed; use a whole number`,
		"events: {history: 1.5}":                     `events.history: "1.5" is not allowed; use a whole number`,
		"events: {history: 99999999999999999999}":    `use a whole number`,
		"events: {history: true}":                    `events.history: "true" is not allowed; use a whole number`,
		"protect_threshold: half":                    `protect_threshold: "half" is not allowed; use a number`,
		"protect_threshold: .nan":                    `protect_threshold: ".nan" is not allowed; use a number`,
		"backend: [a]":                               `backend: this list is not allowed; use text`,
		"plugin: {dirs: 5}":                          `plugin.dirs: "5" is not allowed; use a list of texts`,
		"plugin: {dirs: [[a]]}":                      `use a list of texts`,
		"logging: {fields: {a: [b]}}":                `logging.fields.a: this list is not allowed; use true, false or text`,
		"monitoring: {metrics_labels: {service: 5}}": `monitoring.metrics_labels.service: "5" is not allowed; use true or false`,
		"backend: x\nbackend_config: {a: [[b]]}":     `backend_config.a: this list is not allowed; use text, a number, true or false, or a list`,
		"services: {a: {port: x, host: h}}":          `services.a.port: "x" is not allowed; use a whole number`,
		"services: {a: {metadata: {x: .inf}}}":       `services.a.metadata.x: ".inf" is not allowed; use a number that JSON can hold`,
	} {
		t.Run(yaml, func(t *testing.T) {
			_, err := try(t, yaml+"\n")
			require.ErrorIs(t, err, core.ErrInvalid)
			assert.Contains(t, err.Error(), "prism.yaml:")
			assert.Contains(t, err.Error(), want)
		})
	}
}

func TestRanges(t *testing.T) {
	for yaml, want := range map[string]string{
		"health_check_interval: 0":                           "use 1 s to 86400 s",
		"instance_ttl: 1":                                    "instance_ttl: 1s is not allowed; use 2 s to 86400 s",
		"instance_ttl: 86401":                                "use 2 s to 86400 s",
		"session_ttl: 1.9":                                   "session_ttl: 1.9s is not allowed; use 2 s to 86400 s",
		"cleanup_interval: -5":                               "cleanup_interval: -5s is not allowed",
		"protect_threshold: 1.5":                             "use 0 to 1",
		"backend: 'a b'":                                     "backend: ",
		"backend: ''":                                        "backend: it is empty",
		"backend_config: {namespace: a/b}":                   "backend_config.namespace: ",
		"plugin: {sha256: abc}":                              "use the 64 hexadecimal digits",
		"load_balancing: {strategy: maglev}":                 "load_balancing.strategy: \"maglev\" is not allowed; use weighted_round_robin, round_robin, weighted_random, random",
		"events: {history: 0}":                               "events.history: 0 is not allowed; use 1 to 1048576",
		"server: {http: '8640'}":                             "server.http: \"8640\" is not allowed; use host:port",
		"server: {grpc: '127.0.0.1:65536'}":                  "server.grpc: ",
		"server: {http: '127.0.0.1:'}":                       "use host:port",
		"server: {http: 'a b:1'}":                            "server.http: ",
		"server: {http: '127.0.0.1:1', grpc: '127.0.0.1:1'}": "server.http has that address already",
		"server: {advertise: 0.0.0.0}":                       "server.advertise: ",
		"server: {advertise: 'h:1'}":                         "server.advertise: ",
		"server: {drain_timeout: -1}":                        "server.drain_timeout: -1s is not allowed; use 0 s to 3600 s",
		"network: {health_check_endpoint: health}":           `use a path that begins with "/"`,
		"network: {connection_timeout: 0}":                   "network.connection_timeout: 0s is not allowed; use 10 ms to 3600 s",
		"network: {request_timeout: 4000}":                   "network.request_timeout: ",
		"network: {retry: {max_attempts: -1}}":               "network.retry.max_attempts: -1 is not allowed; use 0 to 100",
		"network: {retry: {backoff_factor: 0.5}}":            "network.retry.backoff_factor: ",
		"network: {retry: {max_delay: 90000}}":               "network.retry.max_delay: ",
		"security: {auth: {type: magic}}":                    `security.auth.type: "magic" is not allowed; use token or basic`,
		"logging: {level: loud}":                             `logging.level: "loud" is not allowed; use DEBUG, INFO, WARNING, ERROR or CRITICAL`,
		"logging: {format: xml}":                             `logging.format: "xml" is not allowed; use json, text`,
		"monitoring: {metrics_endpoint: 'm'}":                `monitoring.metrics_endpoint: "m" is not allowed; use a path that begins with "/"`,
		"monitoring: {metrics_endpoint: /}":                  "the host itself answers there",
		"monitoring: {metrics_endpoint: /healthz}":           `monitoring.metrics_endpoint: "/healthz" is not allowed; the host itself answers there; use another path`,
		"monitoring: {metrics_endpoint: /v1/metrics}":        "the host itself answers there",
		"monitoring: {metrics_endpoint: /m/}":                `a "/" at its end`,
		"monitoring: {metrics_endpoint: /a/../m}":            `without "//"`,
		"monitoring: {metrics_endpoint: '/m{x}'}":            "braces",
	} {
		t.Run(yaml, func(t *testing.T) {
			_, err := try(t, "\n"+yaml+"\n")
			require.ErrorIs(t, err, core.ErrInvalid)
			assert.Contains(t, err.Error(), "prism.yaml:2: ")
			assert.Contains(t, err.Error(), want)
		})
	}
	for _, yaml := range []string{
		"instance_ttl: 2", "instance_ttl: 86400", "session_ttl: 2", "protect_threshold: 1", "logging: {level: critical}", "logging: {level: warn}",
		"server: {http: '', grpc: ''}", "server: {http: ':0', grpc: ':0'}", "server: {http: '[::1]:8640', advertise: '::1'}", "security: {auth: {type: basic}}",
	} {
		load(t, yaml+"\n")
	}
}

func TestStrategiesOfTheProgram(t *testing.T) {
	own := func(o *config.LoadOptions) { o.Strategies = []string{"maglev"} }
	assert.Equal(t, "maglev", load(t, "load_balancing: {strategy: maglev}\n", own).Config.LoadBalancing.Strategy)
	assert.Contains(t, fails(t, "load_balancing: {strategy: round_robin}\n", own), "use maglev")
}
