package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestFilesThatAreNoConfiguration(t *testing.T) {
	t.Setenv("PRISM_TEST_EMPTY", "")
	for name, tc := range map[string]struct{ path, says string }{
		"not there":      {filepath.Join(t.TempDir(), "none.yaml"), "no such file"},
		"a folder":       {t.TempDir(), "folder"},
		"not YAML":       {writeFile(t, "c.yaml", "a: [\n"), "c.yaml"},
		"misspelt key":   {writeFile(t, "c.yaml", "\nsesion_ttl: 5\n"), "c.yaml:2: sesion_ttl: "},
		"unset variable": {writeFile(t, "c.yaml", "backend: ${PRISM_TEST_UNSET}\n"), "PRISM_TEST_UNSET"},
		"wrong value":    {writeFile(t, "c.yaml", "session_ttl: soon\n"), "c.yaml:1: session_ttl: "},
		"no profile":     {writeFile(t, "c.yaml", "environment: nosuch\n"), "environment: "},
		"open to others": {writeFile(t, "c.yaml", "server: {http: '0.0.0.0:0'}\n"), "--insecure"},
		"a service":      {writeFile(t, "c.yaml", "services:\n  a: {host: h, port: 0}\n"), "c.yaml:2"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, command := range [][]string{{"config", "validate"}, {"serve"}} {
				r := invoke(t.Context(), "", append(command, "--config", tc.path)...)
				assert.Equal(t, exitUsage, r.code, r.err)
				assert.Contains(t, r.err, tc.says)
				assert.Empty(t, r.out)
			}
		})
	}
}

func TestFlagsThatAreNoConfiguration(t *testing.T) {
	for line, says := range map[string]string{
		"serve --set sesion_ttl=5":              "session_ttl",
		"serve --set session_ttl":               "key=value",
		"serve --set session_ttl=x":             "session_ttl: ",
		"serve --http nonsense":                 "server.http: ",
		"serve --http 0.0.0.0:0":                "--insecure",
		"serve --backend a/b":                   "backend: ",
		"serve --environment nosuch":            "environment: ",
		"serve --set security.enable_tls=true":  "security.enable_tls: ",
		"serve --set security.auth.type=oauth2": "security.auth.type: ",
	} {
		t.Run(line, func(t *testing.T) {
			for _, command := range []string{"serve", "config validate"} {
				line := strings.Replace(line, "serve", command, 1)
				r := invoke(t.Context(), "", strings.Fields(line)...)
				assert.Equal(t, exitUsage, r.code, line)
				assert.Contains(t, r.err, says)
			}
		})
	}
}

func TestAnEmptyFileIsTheDefaults(t *testing.T) {
	plugins := built(t)
	r := invoke(t.Context(), "", "config", "validate", "--config", writeFile(t, "c.yaml", ""), "--set", "plugin.dirs="+plugins)
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, "every value is a default")
	assert.Contains(t, r.out, "is valid")
}

func TestConfigShowTellsWhereValuesComeFrom(t *testing.T) {
	file := writeFile(t, "c.yaml", "session_ttl: 5\nsecurity: {auth: {token: hunter2}}\nbackend_config: {etcd: {password: hunter3}}\n")
	t.Setenv("PRISM_INSTANCE_TTL", "60")
	args := []string{"config", "show", "--config", file, "--set", "cleanup_interval=7", "--set", "plugin.dirs=" + built(t)}
	r := invoke(t.Context(), "", append(args, "-o", "json")...)
	require.Zero(t, r.code, r.err)
	var got struct {
		Files  []string       `json:"files"`
		Values []config.Entry `json:"values"`
	}
	r.decode(t, &got)
	assert.Equal(t, []string{file}, got.Files)
	byPath := map[string]config.Entry{}
	for _, e := range got.Values {
		byPath[e.Path] = e
	}
	assert.Equal(t, config.Entry{Path: "session_ttl", Value: "5s", Layer: config.LayerFile, Origin: file + ":1"}, byPath["session_ttl"])
	assert.Equal(t, "PRISM_INSTANCE_TTL", byPath["instance_ttl"].Origin)
	assert.Equal(t, config.LayerFlag, byPath["cleanup_interval"].Layer)
	assert.Equal(t, config.LayerDefault, byPath["health_check_interval"].Layer)
	assert.Equal(t, "***", byPath["security.auth.token"].Value)
	assert.NotEmpty(t, byPath["backend_config.etcd.password"].NoEffect, "the backend is another")
	assert.NotContains(t, r.out+invoke(t.Context(), "", args...).out, "hunter")
}

func TestConfigValidateAsksThePlugin(t *testing.T) {
	dir := built(t)
	r := invoke(t.Context(), "", "config", "validate", "--set", "plugin.dirs="+dir, "--set", "backend_config.url=http://x")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.err, "backend_config.url")
	r = invoke(t.Context(), "", "config", "validate", "--backend", "nosuch")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.err, "nosuch")
}

func TestPluginsAreListedDescribedAndVerified(t *testing.T) {
	dir := built(t)
	require.NoError(t, os.WriteFile(filepath.Join(t.TempDir(), "prism-backend-x"), []byte("no program"), 0o755))
	var list struct {
		Plugins []struct {
			Name string `json:"name"`
			Path string `json:"path"`
		} `json:"plugins"`
	}
	r := invoke(t.Context(), "", "plugin", "list", "--dir", dir, "-o", "json")
	require.Zero(t, r.code, r.err)
	r.decode(t, &list)
	require.NotEmpty(t, list.Plugins)
	assert.Equal(t, "memory", list.Plugins[0].Name)

	var info pluginDescription
	r = invoke(t.Context(), "", "plugin", "info", "memory", "--dir", dir, "-o", "json")
	require.Zero(t, r.code, r.err)
	r.decode(t, &info)
	assert.Equal(t, "memory", info.Name)
	assert.Len(t, info.SHA256, 64)
	assert.Equal(t, "namespace", info.Options[0].Name)

	elsewhere := filepath.Join(t.TempDir(), "mine")
	require.NoError(t, os.Symlink(list.Plugins[0].Path, elsewhere))
	r = invoke(t.Context(), "", "plugin", "verify", "memory", "--config", writeFile(t, "prism.yaml", "backend: memory\nplugin: {file: '"+elsewhere+"'}\n"), "-o", "json")
	require.Zero(t, r.code, r.err)
	r.decode(t, &info)
	assert.Equal(t, elsewhere, info.Path, "plugin.file is what serve runs")

	assert.Zero(t, invoke(t.Context(), "", "plugin", "verify", list.Plugins[0].Path, "--sha256", info.SHA256).code)
	r = invoke(t.Context(), "", "plugin", "verify", "memory", "--dir", dir, "--sha256", strings.Repeat("0", 64))
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.err, "sha256")
	r = invoke(t.Context(), "", "plugin", "verify", "/bin/true")
	assert.Equal(t, exitUsage, r.code, r.err)
}
