package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
)

// FuzzLoad: whatever a file holds, Load answers with a configuration or an error, and what it
// gives can be validated and shown.
func FuzzLoad(f *testing.F) {
	old, err := os.ReadFile(filepath.Join("testdata", "old-config.yaml"))
	require.NoError(f, err)
	f.Add(old, "server.http=127.0.0.1:1")
	for _, seed := range []string{
		"", "a", "- a", "service_discovery: {backend: etcd}\nbackend_config: {etcd: {url: x}}\n", "services: &a {x: {metadata: *a, <<: *a}}\n",
		"backend: ${A:-${B:-c}}\nenvironment: e\nenvironments: {e: {services: {s: {host: h, port: 1}}}}\n",
		"services: {s: {metadata: {a: [1, 0x1, .inf, 2024-01-02, !!binary aa]}}}\n", "? {a: b}\n: c\n", "{1: 2, ~: 3, [a]: b}\n", "--- \n---\n",
	} {
		f.Add([]byte(seed), "services.\"a.b\".metadata={x: [1]}")
	}
	name := filepath.Join(f.TempDir(), "prism.yaml")
	f.Fuzz(func(t *testing.T, yaml []byte, assignment string) {
		require.NoError(t, os.WriteFile(name, yaml, 0o600))
		l, err := config.Load(config.LoadOptions{Files: []string{name}, Set: []string{assignment}, Env: []string{"A=1", "PRISM_SERVICES__S__PORT=1"}})
		if err != nil {
			require.NotEmpty(t, err.Error())
			require.Nil(t, l)
			return
		}
		_ = l.Validate()
		for _, e := range l.Show() {
			require.NotEmpty(t, e.Path)
		}
	})
}
