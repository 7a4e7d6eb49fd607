package config_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/ports"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "go test -update writes it anew")
}

func lines(entries []config.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		v, _ := json.Marshal(e.Value)
		fmt.Fprintf(&b, "%s = %s  (%s", e.Path, v, e.Layer)
		if e.Origin != "" {
			fmt.Fprintf(&b, " %s", e.Origin)
		}
		b.WriteByte(')')
		if e.NoEffect != "" {
			fmt.Fprintf(&b, "  # %s", e.NoEffect)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestTheOldFileLoadsUnchanged: every key of it is known, and each that does nothing any more
// is named with the reason.
func TestTheOldFileLoadsUnchanged(t *testing.T) {
	old := func(changes ...change) *config.Loaded {
		o := config.LoadOptions{Files: []string{filepath.ToSlash(filepath.Join("testdata", "old-config.yaml"))}}
		for _, c := range changes {
			c(&o)
		}
		l, err := config.Load(o)
		require.NoError(t, err)
		require.NoError(t, l.Validate())
		return l
	}
	l := old()
	golden(t, "old-config.show", lines(l.Show()))
	for _, n := range l.Notices {
		assert.Equal(t, config.NoticeNoEffect, n.Kind)
		assert.NotEmpty(t, entryOf(t, l, n.Key).NoEffect)
	}
	assert.Equal(t, []string{"gateway", "public"}, l.Config.ServiceDefaults()["api-gateway-service"].Tags)

	l = old(set("environment=production"), env("CONSUL_TOKEN=hunter2", "CONSUL_URL=http://me:hunter2@c:1"))
	golden(t, "old-config-production.show", lines(l.Show()))
	assert.Equal(t, map[string]any{"namespace": "prism", "url": "http://me:hunter2@c:1", "datacenter": "dc1", "token": "hunter2"}, l.BackendOptions())
}

func TestSecretsAreMasked(t *testing.T) {
	const yaml = `
backend: own
backend_config:
  url: "redis://me:hunter2@a:1,redis://:hun,ter2@b:1?password=hunter2&db=1"
  password: hunter2
  api_key: hunter2
  nkey: hunter2
  credentials: [hunter2, hunter2]
  pin: 4711
  harmless: shown
  key_file: /shown/too
  empty_token: ""
  other: {password: hunter2, url: "http://hunter2@h"}
security: {auth: {token: hunter2, password: hunter2}}
plugin: {file: "https://me:hunter2@h/x"}
services: {s: {metadata: {token: shown-as-anybody-may-read-it}}}
`
	l := load(t, yaml)
	text := lines(l.Show())
	assert.NotContains(t, text, "hunter2")
	assert.NotContains(t, text, "ter2")
	assert.Contains(t, text, `backend_config.url = "redis://***@a:1,redis://***@b:1?password=***\u0026db=1"`)
	assert.Contains(t, text, `harmless = "shown"`)
	assert.Contains(t, text, `key_file = "/shown/too"`)
	assert.Contains(t, text, `empty_token = ""`)
	assert.Contains(t, text, "pin = 4711")
	assert.Contains(t, text, `credentials = ["***","***"]`)

	text = lines(l.Show(ports.Option{Name: "pin", Type: ports.OptionInt, Secret: true}, ports.Option{Name: "api_key", Type: ports.OptionString}))
	assert.NotContains(t, text, "4711")
	assert.Contains(t, text, `api_key = "hunter2"`, "the schema knows better than the name")

	tokens := load(t, "security: {auth: {tokens: [{name: ci, token: hunter2}, hunter2, 5]}}\n")
	assert.NotContains(t, lines(tokens.Show()), "hunter2")
	for _, n := range append(l.Notices, tokens.Notices...) {
		assert.NotContains(t, n.String(), "hunter2")
	}
}

// TestSecretsAreNotRepeatedInErrors gives secrets where something else is expected.
func TestSecretsAreNotRepeatedInErrors(t *testing.T) {
	for _, yaml := range []string{
		"security: {auth: {token: [hunter2]}}",
		"security: {auth: {password: {hunter2: hunter2x}}}",
		"backend: redis\nbackend_config: {password: [[hunter2]]}",
		"backend: redis\nbackend_config: {password: {a: hunter2}}\nbackend_config: {}",
		"instance_ttl: 'redis://me:hunter2@h'",
		"server: {http: 'http://me:hunter2@h:1'}",
		"backend: 'redis://me:hunter2@h'",
		"backend: 'redis://me:hunter2" + strings.Repeat("x", 80) + "@h'",
		"backend_config: {namespace: 'redis://me:hunter2@h'}",
		"environment: 'redis://me:hunter2@h'",
		"services: {s: {host: 'http://me:hunter2@h', port: 1}}",
		"services: {s: {host: h, port: 1, health_check_url: 'http://me:hunter2@h/'}}",
		"security: {auth: {token: '${hunter2 x}'}}",
	} {
		assert.NotContains(t, fails(t, yaml+"\n"), "hunter2", yaml)
	}
}

func TestShowPrintsPathsThatSetReads(t *testing.T) {
	l := load(t, "services: {a.b: {weight: 5}}\n")
	e := entryOf(t, l, `services."a.b".weight`)
	assert.Equal(t, 5, e.Value)
	again := load(t, "", set(e.Path+"=6"))
	assert.Equal(t, 6, *again.Config.Services["a.b"].Spec.Weight)
	assert.Equal(t, 6, entryOf(t, again, e.Path).Value)
}
