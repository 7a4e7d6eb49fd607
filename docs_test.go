package prism_test

// docs_test.go: the documentation's code compiles, and its links lead somewhere.

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
)

// documents lists every Markdown file that users read.
func documents(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md", "plugins/*/*.md", "bench/*.md", "tools/*/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	require.NotEmpty(t, files)
	return files
}

var goBlock = regexp.MustCompile("(?s)```go\n(package .*?)```")

func TestCodeInTheDocumentationCompiles(t *testing.T) {
	dir, err := os.MkdirTemp(".", ".docs-*") // in this module, and out of sight of ./...
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	var packages []string
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Len(t, goBlock.FindAll(text, -1), strings.Count(string(text), "```go\n"), "%s: code is whole files, from package on", file)
		for i, block := range goBlock.FindAllStringSubmatch(string(text), -1) {
			pkg := filepath.Join(dir, strings.NewReplacer("/", "_", ".", "_").Replace(file)+string(rune('a'+i)))
			require.NoError(t, os.Mkdir(pkg, 0o750))
			require.NoError(t, os.WriteFile(filepath.Join(pkg, "sample.go"), []byte(block[1]), 0o600))
			packages = append(packages, "./"+pkg)
		}
	}
	require.NotEmpty(t, packages)
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"vet"}, packages...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

func TestConfigurationsInTheDocumentationLoad(t *testing.T) {
	loaded := 0
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, block := range yamlBlock.FindAllSubmatch(text, -1) {
			path := filepath.Join(t.TempDir(), "prism.yaml")
			require.NoError(t, os.WriteFile(path, block[1], 0o600))
			_, err := config.Load(config.LoadOptions{Files: []string{path}})
			require.NoError(t, err, file)
			loaded++
		}
	}
	assert.Positive(t, loaded)
}

// TestWhatHasNoEffectAnyMoreIsShown holds the answer that users of the old file are shown to
// what they get.
func TestWhatHasNoEffectAnyMoreIsShown(t *testing.T) {
	text, err := os.ReadFile("docs/from-marketprism.md")
	require.NoError(t, err)
	const old = "adapters/config/testdata/old-config.yaml"
	loaded, err := config.Load(config.LoadOptions{Files: []string{old}})
	require.NoError(t, err)
	require.NotEmpty(t, loaded.Notices)
	for _, n := range loaded.Notices {
		line := "note: " + strings.TrimPrefix(n.String(), filepath.Dir(old)+"/")
		assert.Positive(t, strings.Count(string(text), "\n"+line+"\n"), line)
	}
	assert.Equal(t, len(loaded.Notices), strings.Count(string(text), "\nnote: old-config.yaml"))
}

var (
	link      = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
	namedTest = regexp.MustCompile(`\[(Test\w+)…\]\(([^)]+)\)`)
)

func TestLinksInTheDocumentationLeadSomewhere(t *testing.T) {
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, l := range namedTest.FindAllStringSubmatch(string(text), -1) {
			code, err := os.ReadFile(filepath.Join(filepath.Dir(file), l[2]))
			require.NoError(t, err)
			assert.Positive(t, strings.Count(string(code), "\nfunc "+l[1]), "%s: there is no test %s in %s", file, l[1], l[2])
		}
		for _, l := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(file), l[1]))
			assert.NoError(t, err, "%s links to %s", file, l[1])
		}
	}
}
