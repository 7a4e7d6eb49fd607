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
	require.NoError(t, run(dir, from{backend: "etcd"}, strings.NewReader(stdin)))
	all, err := load(filepath.Join(dir, resultsFile))
	require.NoError(t, err)
	assert.Equal(t, map[string]map[string]conformance.Outcome{"etcd": {
		cases[0].ID: conformance.Passed, cases[1].ID: conformance.Failed, cases[2].ID: conformance.NotRun, cases[3].ID: conformance.Failed,
	}}, all.Backends)
	assert.Empty(t, all.Servers, "it does not say which server it was")
	text, err := os.ReadFile(filepath.Join(dir, pageFile))
	require.NoError(t, err)
	assert.Contains(t, string(text), "| `"+cases[0].ID+"` | core | "+cases[0].Requirement+" | – | – | ✓ | – | – |\n")
	assert.Contains(t, string(text), "| `"+cases[1].ID+"` | core | "+cases[1].Requirement+" | – | – | ✗ | – | – |\n")
	assert.Regexp(t, `\| etcd \| 1 \| 2 \| \d+ \|`, string(text))
	assert.Regexp(t, `\| redis \| 0 \| 0 \| \d+ \|`, string(text))

	groups := regexp.MustCompile(`(?m)^## .*$`).FindAllString(string(text), -1)
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(groups))), len(groups), "each group has one table: %v", groups)

	require.ErrorContains(t, run(dir, from{backend: "etcd"}, strings.NewReader("nothing\n")), "tells of no case")
	require.ErrorContains(t, run(dir, from{backend: "mongo"}, strings.NewReader(stdin)), `"mongo" is not one of memory, consul`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, resultsFile), []byte("{"), 0o600))
	require.ErrorContains(t, run(dir, from{}, nil), resultsFile)
}

func TestServersAndRandomRunsAreTaken(t *testing.T) {
	dir := t.TempDir()
	const day = `"Time":"2026-11-25T19:00:00Z",`
	event := func(action, test, output string) string {
		return `{` + day + `"Action":"` + action + `","Test":"` + test + `","Output":"` + output + `\n"}` + "\n"
	}
	take := func(what from, events ...string) {
		t.Helper()
		require.NoError(t, run(dir, what, strings.NewReader(strings.Join(events, ""))))
	}
	launched := launchedTest + "/core/put/create"
	of := func(version, action string) []string {
		return []string{event("output", launchedTest, "    stores.go:1: the server is "+version), event("run", launched, ""), event(action, launched, "")}
	}
	take(from{backend: "redis"}, of("Redis 7.0.15", "pass")...)
	take(from{backend: "redis", other: true}, of("Valkey 8.0.1", "pass")...)
	take(from{backend: "redis", other: true}, of("Valkey 8.0.1", "fail")...)
	take(from{backend: "etcd", other: true}, of("etcd 3.5.35", "pass")...)
	random := randomTest + "/core/random/model"
	take(
		from{backend: "redis", random: true}, event("run", random, ""), event("output", random, "x.go:1: 30 random sequences of 745 operations in all, seed 4"),
		event("pass", random, ""), event("run", random, ""), event("output", random, "x.go:1: 2 random sequences of 31 operations in all, seed 5"), event("fail", random, ""),
		event("run", random, ""), event("skip", random+"x", ""),
	)
	all, err := load(filepath.Join(dir, resultsFile))
	require.NoError(t, err)
	assert.Equal(t, map[string]map[string]conformance.Outcome{"redis": {"put/create": conformance.Passed}}, all.Backends, "of the pinned server alone")
	n := len(conformance.Cases()) - 1
	assert.Equal(t, []serverRun{
		{Backend: "redis", Server: "Redis 7.0.15", Date: "2026-11-25", Passed: 1, NotRun: n},
		{Backend: "redis", Server: "Valkey 8.0.1", Date: "2026-11-25", Failed: 1, NotRun: n},
		{Backend: "etcd", Server: "etcd 3.5.35", Date: "2026-11-25", Passed: 1, NotRun: n},
	}, all.Servers)
	text, err := os.ReadFile(filepath.Join(dir, pageFile))
	require.NoError(t, err)
	assert.Regexp(t, `(?s)\| etcd \| etcd 3.5.35 \| 1 \| 0 \| \d+ \| 2026-11-25 \|.*\| redis \| Redis 7.0.15 \|.*\| redis \| Valkey 8.0.1 \| 0 \| 1 \|`, string(text))
	assert.Contains(t, string(text), "| redis | – | 3 | 2 | 32 | 776 | 2026-11-25 |\n")
}
