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
)

// documents lists every Markdown file that users read.
func documents(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md", "plugins/*/*.md"} {
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

var link = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)

func TestLinksInTheDocumentationLeadSomewhere(t *testing.T) {
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, l := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(filepath.Dir(file), l[1]))
			assert.NoError(t, err, "%s links to %s", file, l[1])
		}
	}
}
