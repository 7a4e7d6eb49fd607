package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
)

func TestThePageIsUpToDate(t *testing.T) {
	docs := filepath.Join("..", "..", "..", "docs")
	all, err := load(filepath.Join(docs, resultsFile))
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(docs, pageFile))
	require.NoError(t, err)
	assert.Equal(t, string(page(all)), string(text), "run make generate")
}

func TestResultsAreTakenFromATest(t *testing.T) {
	dir := t.TempDir()
	cases := conformance.Cases()
	name := func(i int) string { return launchedTest + "/" + string(cases[i].Profile) + "/" + cases[i].ID }
	event := func(action, test string) string { return `{"Action":"` + action + `","Test":"` + test + `"}` + "\n" }
	stdin := "# no JSON\n" + event("run", name(0)) + event("output", name(0)) + event("pass", name(0)) +
		event("run", name(1)) + event("fail", name(1)) + event("skip", name(2)) + event("run", name(3)) +
		event("pass", strings.Replace(name(4), launchedTest, "TestConformanceInProcess", 1))
	require.NoError(t, run(dir, "etcd", strings.NewReader(stdin)))
	all, err := load(filepath.Join(dir, resultsFile))
	require.NoError(t, err)
	assert.Equal(t, results{"etcd": {
		cases[0].ID: conformance.Passed, cases[1].ID: conformance.Failed, cases[2].ID: conformance.NotRun, cases[3].ID: conformance.Failed,
	}}, all)
	text, err := os.ReadFile(filepath.Join(dir, pageFile))
	require.NoError(t, err)
	assert.Contains(t, string(text), "| `"+cases[0].ID+"` | core | "+cases[0].Requirement+" | – | – | ✓ | – | – |\n")
	assert.Contains(t, string(text), "| `"+cases[1].ID+"` | core | "+cases[1].Requirement+" | – | – | ✗ | – | – |\n")
	assert.Regexp(t, `\| etcd \| 1 \| 2 \| \d+ \|`, string(text))
	assert.Regexp(t, `\| redis \| 0 \| 0 \| \d+ \|`, string(text))

	groups := regexp.MustCompile(`(?m)^## .*$`).FindAllString(string(text), -1)
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(groups))), len(groups), "each group has one table: %v", groups)

	require.ErrorContains(t, run(dir, "etcd", strings.NewReader("nothing\n")), "tells of no case")
	require.ErrorContains(t, run(dir, "mongo", strings.NewReader(stdin)), `"mongo" is not one of memory, consul`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, resultsFile), []byte("{"), 0o600))
	require.ErrorContains(t, run(dir, "", nil), resultsFile)
}
