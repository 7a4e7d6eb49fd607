package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/core"
)

// TestBadInput: one sentence each, with the file and, where there is one, the line.
func TestBadInput(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"no mapping":          {"- a\n- b\n", `:1: it holds a list; use a mapping such as "backend: etcd"`},
		"text":                {"hello\n", ":1: it holds text; use a mapping"},
		"no YAML":             {"backend: [memory\nserver: {", "it is not YAML: "},
		"bad indent":          {"a: 1\n b: 2\n", "it is not YAML: "},
		"unknown anchor":      {"backend: *nowhere\n", "it is not YAML: unknown anchor"},
		"binary":              {"\x00\x01\x02", "it is not YAML: "},
		"bad UTF-8":           {"backend: \xff\xfe\n", "it is not YAML: "},
		"two documents":       {"backend: memory\n---\nbackend: etcd\n", "it holds several YAML documents"},
		"wrapper":             {"service_discovery: 5\n", ":1: service_discovery: it holds a number; use a mapping of sections"},
		"section as text":     {"server: here\n", ":1: server: it holds text; use a mapping"},
		"section as list":     {"\nserver: [a]\n", ":2: server: it holds a list; use a mapping"},
		"value as mapping":    {"backend: {a: 1}\n", ":1: backend: it holds a mapping; use text"},
		"list as mapping":     {"monitoring: {custom_metrics: {a: 1}}\n", "monitoring.custom_metrics: it holds a mapping; use a list of mappings"},
		"entry as text":       {"services:\n  a: b\n", ":2: services.a: it holds text; use a mapping"},
		"profile as text":     {"environments:\n  a: b\n", ":2: environments.a: it holds text; use a mapping"},
		"option too deep":     {"backend_config: {consul: {url: {a: b}}}\n", "backend_config.consul.url: it holds a mapping; use text"},
		"duplicate":           {"backend: a\ninstance_ttl: 5\nbackend: b\n", ":3: backend: it stands here twice, first on line 1; keep one of them"},
		"duplicate in flow":   {"server: {http: a, http: b}\n", ":1: server.http: it stands here twice"},
		"duplicate in free":   {"services:\n  a:\n    metadata:\n      x: 1\n      x: 2\n", ":5: services.a.metadata.x: it stands here twice"},
		"key as list":         {"? [a]\n: b\n", ":1: a key here is no text"},
		"null key":            {"~: b\n", ":1: a key here is no text"},
		"control in key":      {"services: {\"a\\x1fb\": {}}\n", "services: a key here holds a control character"},
		"foreign tag":         {"backend: !vault x\n", ":1: backend: the YAML tag !vault is not supported"},
		"merge of text":       {"server:\n  <<: x\n", `a merge key ("<<") takes a mapping`},
		"refers to itself":    {"services: &a\n  x: {metadata: *a}\n", "it is nested deeper than 64 levels"},
		"merge of itself":     {"services:\n  x: &a {<<: *a}\n", "takes a mapping"},
		"unclosed expression": {"backend: ${A\n", `:1: backend: a "${" is not closed`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := try(t, c.yaml)
			require.ErrorIs(t, err, core.ErrInvalid)
			first, _, _ := strings.Cut(err.Error(), "\n")
			assert.Contains(t, first, "prism.yaml")
			assert.Contains(t, err.Error(), c.want)
			assert.NotContains(t, err.Error(), "%!")
		})
	}
}

func TestLineOfASyntaxError(t *testing.T) {
	msg := fails(t, "backend: memory\nserver:\n  http: \"a\n")
	assert.Regexp(t, `prism\.yaml:[34]: it is not YAML: `, msg)
	assert.NotContains(t, msg, "line")
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	_, err := config.Load(config.LoadOptions{Files: []string{dir}})
	require.ErrorIs(t, err, core.ErrInvalid)
	require.EqualError(t, err, dir+": it is a folder; name a YAML file in it")

	missing := filepath.Join(dir, "none.yaml")
	_, err = config.Load(config.LoadOptions{Files: []string{missing}})
	require.ErrorContains(t, err, missing+": there is no such file; ")
	_, err = config.Load(config.LoadOptions{Env: []string{"PRISM_CONFIG=" + missing}})
	require.ErrorContains(t, err, missing+": there is no such file; ")
	_, err = config.Load(config.LoadOptions{Files: []string{""}})
	require.ErrorContains(t, err, "--config: it is empty")

	require.NoError(t, os.Mkdir(filepath.Join(dir, "prism.yaml"), 0o700))
	_, err = config.Load(config.LoadOptions{WorkDir: dir})
	require.ErrorContains(t, err, "it is a folder", "an implicit one is not passed over")

	_, err = config.Load(config.LoadOptions{Files: []string{"/dev/zero"}})
	require.ErrorContains(t, err, "it is larger than 4 MiB")
}

func TestEmptyFilesAreDefaultsWithANotice(t *testing.T) {
	for name, yaml := range map[string]string{"empty": "", "blank": "\n\n", "comment": "# nothing\n", "null": "~\n", "marker": "---\n"} {
		t.Run(name, func(t *testing.T) {
			l := load(t, yaml)
			assert.Equal(t, config.Default(), l.Config)
			require.Len(t, noticesOf(l, config.NoticeEmptyFile), 1)
			assert.Contains(t, l.Notices[0].String(), "prism.yaml: it holds no key")
		})
	}
	assert.Empty(t, load(t, "service_discovery:\n").Notices)
}

func TestEmptyValuesCountAsNotGiven(t *testing.T) {
	l := load(t, "server:\nlogging: ~\nservices:\nbackend:\nevents: {history: null}\nbackend_config: {namespace: }\n")
	assert.Equal(t, config.Default(), l.Config)
}

func TestAliasesAndMergeKeys(t *testing.T) {
	l := load(t, `
services:
  a: &base {host: 127.0.0.1, port: 1, weight: 5, tags: &tags [x, y]}
  b: {<<: *base, port: 2}
  c: {<<: [*base, {zone: z}], tags: *tags, weight: 7}
`)
	b, c := l.Config.Services["b"].Spec, l.Config.Services["c"].Spec
	assert.Equal(t, 2, b.Port)
	assert.Equal(t, 5, *b.Weight)
	assert.Equal(t, "z", c.Zone)
	assert.Equal(t, 7, *c.Weight)
	assert.Equal(t, []string{"x", "y"}, c.Tags)
}

// TestAliasesCannotGrowWithoutEnd: the "billion laughs" of YAML.
func TestAliasesCannotGrowWithoutEnd(t *testing.T) {
	var b strings.Builder
	b.WriteString("services:\n  s:\n    metadata:\n      a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		p := string(rune('0' + i - 1))
		n := string(rune('0' + i))
		b.WriteString("      a" + n + ": &a" + n + " [" + strings.TrimSuffix(strings.Repeat("*a"+p+", ", 10), ", ") + "]\n")
	}
	assert.Contains(t, fails(t, b.String()), "more than 100,000 values once its aliases are followed")
}

// TestMergeKeysCannotGrowWithoutEnd: the same with merge keys, which add no key and much work.
func TestMergeKeysCannotGrowWithoutEnd(t *testing.T) {
	var b strings.Builder
	b.WriteString("services:\n  s:\n    metadata:\n      a0: &a0 {k: 1, l: 2}\n")
	for i := 1; i < 6; i++ {
		p, n := string(rune('0'+i-1)), string(rune('0'+i))
		b.WriteString("      a" + n + ": &a" + n + " {<<: [" + strings.TrimSuffix(strings.Repeat("*a"+p+", ", 10), ", ") + "]}\n")
	}
	assert.Contains(t, fails(t, b.String()), "more than 100,000 values once its aliases are followed")
}

func TestDeepNesting(t *testing.T) {
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	assert.Contains(t, fails(t, "services: {s: {metadata: {a: "+deep+"}}}\n"), ":1: services.s.metadata.a: it is nested deeper than 64 levels")
}

func TestUnknownKeysNameTheNearest(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"top":             {"bakend: etcd\n", `:1: bakend: there is no such key; the nearest is "backend"`},
		"inside":          {"service_discovery:\n  instance-ttl: 5\n", `:2: instance-ttl: there is no such key; the nearest is "instance_ttl"`},
		"case":            {"Backend: etcd\n", `the nearest is "backend"`},
		"nested":          {"network:\n  retry:\n    max_atempts: 3\n", `:3: network.retry.max_atempts: there is no such key; the nearest is "network.retry.max_attempts"`},
		"elsewhere":       {"level: DEBUG\n", `level: there is no such key; the nearest is "logging.level"`},
		"service":         {"services:\n  a:\n    wieght: 3\n", `:3: services.a.wieght: there is no such key; the nearest is "services.a.weight"`},
		"dotted service":  {"services:\n  a.b:\n    wieght: 3\n", `services."a.b".wieght: there is no such key; the nearest is "services.\"a.b\".weight"`},
		"check":           {"services: {a: {check: {pth: /x}}}\n", `services.a.check.pth: there is no such key; the nearest is "services.a.check.path"`},
		"profile":         {"environments: {dev: {bakend: a}}\n", `environments.dev.bakend: there is no such key; the nearest is "environments.dev.backend"`},
		"metric":          {"monitoring: {custom_metrics: [{nam: a}]}\n", `the nearest is "monitoring.custom_metrics.name"`},
		"far from all":    {"zzzzzzzzzzzzzzzz: 1\n", "there is no such key; the nearest is"},
		"wrapper in file": {"service_discovery: {service_discovery: {}}\n", "service_discovery: there is no such key"},
		"long":            {strings.Repeat("k", 1000) + ": 1\n", "there is no such key"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, fails(t, c.yaml), c.want)
		})
	}
}
