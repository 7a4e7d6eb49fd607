package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
)

// TestVariablesInValues reads each text as plugin.file, which takes any.
func TestVariablesInValues(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                "plain",
		"${A}":                 "one",
		"x${A}y${B}z":          "xoneytwoz",
		"${A:-no}":             "one",
		"${NONE:-yes}":         "yes",
		"${NONE:-}":            "",
		"${EMPTY:-yes}":        "yes",
		"${EMPTY}":             "",
		"${NONE:-http://h:1}":  "http://h:1",
		"${NONE:-${A}-${B}}":   "one-two",
		"${NONE:-${NONE:-}x}":  "x",
		"${A:-${NONE}}":        "one",
		"$${A}":                "${A}",
		"$${A} ${A} $${B:-x}":  "${A} one ${B:-x}",
		"$A $ {A} }":           "$A $ {A} }",
		"${HOLDS}":             "${A}",
		"ü${A}ü":               "üoneü",
		"${_under_score1:-ok}": "ok",
	} {
		t.Run(text, func(t *testing.T) {
			l := load(t, "plugin: {file: '"+text+"'}\n", env("A=one", "B=two", "EMPTY=", "HOLDS=${A}"))
			assert.Equal(t, want, l.Config.Plugin.File)
		})
	}
}

func TestVariablesThatCannotBeExpanded(t *testing.T) {
	for text, want := range map[string]string{
		"${NONE}":           "the variable NONE is not set and has no default; set it, or write ${NONE:-default}",
		"${NONE:-${OTHER}}": "the variable OTHER is not set",
		"${A":               `a "${" is not closed`,
		"${}":               "is no variable",
		"${1A}":             "is no variable",
		"${A-b}":            "is no variable",
		"${hunter2 pass}":   "is no variable",
		strings.Repeat("${N:-", 18) + "x" + strings.Repeat("}", 18): "go deeper than 16 levels",
	} {
		t.Run(want, func(t *testing.T) {
			_, err := try(t, "plugin:\n  dirs: []\n  file: '"+text+"'\n", env("A=one"))
			require.ErrorIs(t, err, core.ErrInvalid)
			assert.Contains(t, err.Error(), "prism.yaml:3: plugin.file: ")
			assert.Contains(t, err.Error(), want)
			assert.NotContains(t, err.Error(), "hunter2", "it may be a secret that was pasted in")
		})
	}
}

// TestOnlyWhatTakesEffectIsExpanded: a variable that nothing needs may be unset.
func TestOnlyWhatTakesEffectIsExpanded(t *testing.T) {
	const yaml = `
backend: redis
backend_config:
  consul: {url: "${CONSUL}"}
  redis: {url: "redis://h:1", password: "${SECRET}"}
instance_ttl: "${TTL}"
environments:
  prod: {session_ttl: "${STTL}", backend_config: {redis: {password: p}}}
`
	given := env("PRISM_INSTANCE_TTL=9", "SECRET=s", "STTL=5")
	load(t, yaml, given)
	t.Run("an overridden value", func(t *testing.T) {
		assert.Contains(t, fails(t, yaml, env("SECRET=s")), "prism.yaml:6: instance_ttl: the variable TTL is not set")
	})
	t.Run("the selected backend's", func(t *testing.T) {
		assert.Contains(t, fails(t, yaml, given, env("SECRET=s"), set("backend=consul")), "prism.yaml:4: backend_config.consul.url: the variable CONSUL is not set")
		assert.Contains(t, fails(t, yaml, env("PRISM_INSTANCE_TTL=9")), "prism.yaml:5: backend_config.redis.password: the variable SECRET is not set")
	})
	t.Run("the chosen profile's, which saves what it overrides", func(t *testing.T) {
		load(t, yaml, env("PRISM_INSTANCE_TTL=9", "STTL=5"), set("environment=prod"))
		assert.Contains(t, fails(t, yaml, env("PRISM_INSTANCE_TTL=9"), set("environment=prod")),
			"prism.yaml:8: environments.prod.session_ttl: the variable STTL is not set")
	})
}

func TestVariablesExpandEverywhereInFiles(t *testing.T) {
	l := load(t, `
server: {http: "127.0.0.1:${PORT:-9}"}
plugin: {dirs: ["${DIR:-/a}/x", /b]}
auto_register: ${AUTO:-false}
services:
  s: {host: 127.0.0.1, port: "${SPORT:-81}", tags: ["${TAG:-t}"], metadata: {a: ["${TAG:-t}"], b: "${NUM:-3}"}}
logging: {fields: {region: "${REGION:-eu}"}}
monitoring: {custom_metrics: [{name: "${TAG:-n}"}]}
`, env("TAG=set"))
	c := l.Config
	assert.Equal(t, "127.0.0.1:9", c.Server.HTTP)
	assert.Equal(t, []string{"/a/x", "/b"}, c.Plugin.Dirs)
	assert.False(t, c.AutoRegister)
	s := c.Services["s"].Spec
	assert.Equal(t, 81, s.Port)
	assert.Equal(t, []string{"set"}, s.Tags)
	assert.JSONEq(t, `{"a":["set"],"b":"3"}`, s.Metadata.String(), "what a variable gives is text")
	assert.Equal(t, "eu", c.Logging.Fields["region"].Value)
	assert.Equal(t, "set", c.Monitoring.CustomMetrics[0].Name)
}

func TestVariablesAndFlagsMeanWhatTheySay(t *testing.T) {
	l := load(t, "", env("PRISM_PLUGIN__FILE=${A}", "A=one"), set("plugin.dirs=${A}"))
	assert.Equal(t, "${A}", l.Config.Plugin.File)
	assert.Equal(t, []string{"${A}"}, l.Config.Plugin.Dirs)
}
