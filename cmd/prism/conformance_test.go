package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
)

// odd is the path of a plugin that has faults.
func odd(t *testing.T) string {
	t.Helper()
	return filepath.Join(filepath.Dir(built(t)), "odd", "prism-backend-odd")
}

func TestTheSuiteOnASoundBackend(t *testing.T) {
	r := invoke(t.Context(), "", "conformance", "--backend", "memory", "--set", "plugin.dirs="+built(t),
		"--run", "^(session/renew|get/.*|damage/unknown-fields|faults/stop)$", "--seed", "7")
	require.Zero(t, r.code, r.err)
	assert.Regexp(t, `GROUP +PASSED +FAILED +NOT RUN`, r.out)
	assert.Regexp(t, `(?m)^session +1 +0 +0 `, r.out)
	assert.Regexp(t, `(?m)^faults +0 +0 +1 `, r.out)
	assert.Contains(t, r.out, "contract 1: 5 passed, 0 failed, 2 not run in ")
	assert.Contains(t, r.out, "seed 7\ncapabilities: history\n")
	assert.Contains(t, r.out, "not run, as the harness cannot inflict \"stop\" on the store:\n  faults/stop\n")
	assert.Contains(t, r.out, "cannot write into the store past the backend:\n  damage/unknown-fields\n")
	assert.Regexp(t, `(?m)^[1-7]/7  passed   session/renew  [0-9.]+ s$`, r.err)
	assert.Contains(t, r.err, "not run  faults/stop")
	assert.NotContains(t, r.err+r.out, "\x1b", "this is no terminal")
}

// A store that is the plugin's process can be broken by what is done to that.
func TestTheSuiteBreaksAStoreThatIsThePlugin(t *testing.T) {
	r := invoke(t.Context(), "", "conformance", "--plugin", filepath.Join(built(t), "prism-backend-memory"), "--store-is-plugin",
		"--run", "^(faults/wipe|damage/corrupt-record)$")
	require.Zero(t, r.code, r.err+r.out)
	assert.Contains(t, r.out, ": 2 passed, 0 failed, 0 not run")
}

// Nothing that did not run is a success.
func TestARunOfNothingFails(t *testing.T) {
	r := invoke(t.Context(), "", "conformance", "--plugin", odd(t), "--run", "^faults/wipe$")
	assert.Equal(t, exitFailed, r.code)
	assert.Contains(t, r.err, `no case was run: the harness cannot inflict "wipe" on the store`)
}

func TestTheSuiteOnABrokenBackend(t *testing.T) {
	dir := t.TempDir()
	for format, check := range map[string]func(t *testing.T, text string){
		"json": func(t *testing.T, text string) {
			t.Helper()
			var got struct {
				conformance.Report
				Backend      string
				Capabilities []string
				Seed         uint64
				Command      string
			}
			require.NoError(t, json.Unmarshal([]byte(text), &got))
			assert.Equal(t, []int{1, 1, 1}, []int{got.Passed, got.Failed, got.NotRun})
			assert.Equal(t, "odd", got.Backend)
			assert.Equal(t, []string{"history"}, got.Capabilities, "they choose what is asserted")
			assert.EqualValues(t, 11, got.Seed)
			assert.Contains(t, got.Command, "--seed 11 --run '^(delete/tombstone|get/too-many|faults/stop)$'")
		},
		"junit": func(t *testing.T, text string) {
			t.Helper()
			var got junitSuites
			require.NoError(t, xml.Unmarshal([]byte(text), &got))
			assert.Equal(t, []int{3, 1, 1}, []int{got.Tests, got.Failures, got.Skipped})
			require.Len(t, got.Suites, 3)
			assert.Contains(t, got.Suites[0].Properties, junitProperty{"capabilities", "history"})
			failed := got.Suites[0].Cases[0]
			assert.Equal(t, "delete/tombstone", got.Suites[0].Name+"/"+failed.Name)
			require.NotNil(t, failed.Failure)
			assert.Contains(t, failed.Failure.Text, "expected: ")
			require.NotNil(t, got.Suites[2].Cases[0].Skipped)
			assert.Contains(t, got.Suites[2].Cases[0].Skipped.Message, "not run: ")
		},
		"md": func(t *testing.T, text string) {
			t.Helper()
			assert.Contains(t, text, "1 passed, 1 failed, 1 not run")
			assert.Contains(t, text, "; capabilities: history; ")
			assert.Contains(t, text, "\n| `delete/tombstone` | core | failed | ")
			assert.Contains(t, text, "\n| `faults/stop` | faults | not run: ")
			assert.Contains(t, text, "\n    expected: ")
		},
	} {
		t.Run(format, func(t *testing.T) {
			file := filepath.Join(dir, format)
			require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("an older and longer report\n", 1000)), 0o600))
			r := invoke(t.Context(), "", "conformance", "--plugin", odd(t), "--run", "^(delete/tombstone|get/too-many|faults/stop)$", "--seed", "11",
				"--set", "backend_config.fault=deletes", "--set", "backend_config.password=hunter2", "--report", format, "--report-file", file)
			assert.Equal(t, exitFailed, r.code, r.err)
			assert.Contains(t, r.err, "backend odd does not keep the contract: 1 of 3 cases failed\n")
			assert.Regexp(t, `FAILED delete/tombstone: .*\.\n  expected: .*\n +came: .*\n +seed: 11\n  repeat: \S+ conformance --plugin \S+ `+
				`--set backend_config.fault=deletes --set 'backend_config.password=\*\*\*' --seed 11 --run '\^delete/tombstone\$'\n`, r.out)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			check(t, string(text))
			assert.NotContains(t, r.out+r.err+string(text), "hunter2")

			// On standard output the report stands alone.
			r = invoke(t.Context(), "", "conformance", "--plugin", odd(t), "--run", "^(delete/tombstone|get/too-many|faults/stop)$", "--seed", "11",
				"--set", "backend_config.fault=deletes", "--report", format)
			assert.Equal(t, exitFailed, r.code, r.err)
			check(t, r.out)
			assert.Contains(t, r.err, "FAILED delete/tombstone")
		})
	}
}

func TestASuiteThatCannotBegin(t *testing.T) {
	plugin := odd(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a bad pattern":        {[]string{"--run", "(", "--list"}, exitUsage, `--run: "(" is no regular expression: missing closing ): `},
		"no such case":         {[]string{"--run", "nosuch"}, exitUsage, `--run: no case matches "nosuch"; see prism conformance --list`},
		"not of this profile":  {[]string{"--run", "^get/", "--profile", "faults"}, exitUsage, `no case of the profile faults matches`},
		"a bad profile":        {[]string{"--profile", "all"}, exitUsage, `--profile: "all" is not allowed; use core or faults`},
		"a bad report":         {[]string{"--report", "xml"}, exitUsage, `--report: "xml" is not allowed; use json, junit or md`},
		"a file of no format":  {[]string{"--report-file", "x"}, exitUsage, "--report-file: the format is missing"},
		"a bad parallel":       {[]string{"--parallel", "0"}, exitUsage, "--parallel: 0 is not allowed; use 1–256"},
		"a bad seed":           {[]string{"--seed", "x"}, exitUsage, `invalid argument "x" for "--seed" flag`},
		"no such plugin":       {[]string{"--plugin", "/no/such"}, exitUsage, "--plugin: "},
		"no plugin":            {[]string{"--plugin", filepath.Join(filepath.Dir(built(t)), "prism")}, exitUsage, "--plugin: "},
		"another plugin":       {[]string{"--plugin", plugin, "--backend", "memory"}, exitUsage, "memory"},
		"no such backend":      {[]string{"--backend", "nosuch"}, exitUsage, "nosuch"},
		"a bad option":         {[]string{"--plugin", plugin, "--set", "backend_config.wrong=1"}, exitUsage, "backend_config.wrong"},
		"a bad key":            {[]string{"--plugin", plugin, "--set", "wrong=1"}, exitUsage, "wrong"},
		"an unwritable report": {[]string{"--plugin", plugin, "--report", "md", "--report-file", t.TempDir()}, exitUsage, "is a directory; name a file in a folder"},
		"no folder for it":     {[]string{"--plugin", plugin, "--report", "md", "--report-file", "/no/such/x"}, exitUsage, "no such file or directory; name a file"},
		"an absent store": {
			[]string{"--plugin", plugin, "--set", "backend_config.fault=unreachable", "--set", "backend_config.password=hunter2"},
			exitUnavailable, "nobody answers at its url; start the store",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := invoke(t.Context(), "", append([]string{"conformance"}, tc.args...)...)
			assert.Equal(t, tc.code, r.code, r.err)
			assert.Contains(t, r.err, tc.says)
			assert.Equal(t, 1, strings.Count(r.err, "\n"), "one sentence: %s", r.err)
			assert.Empty(t, r.out, "nothing ran")
			assert.NotContains(t, r.err, "hunter2")
		})
	}
}

func TestAListOfCases(t *testing.T) {
	r := invoke(t.Context(), "", "conformance", "--list", "--profile", "faults", "-o", "json")
	require.Zero(t, r.code, r.err)
	var got struct {
		Cases []struct {
			ID, Profile, Requirement string
			Needs                    []string
		}
	}
	r.decode(t, &got)
	require.NotEmpty(t, got.Cases)
	for _, c := range got.Cases {
		assert.Equal(t, "faults", c.Profile)
		assert.NotEmpty(t, c.Needs, c.ID)
	}
	r = invoke(t.Context(), "", "conformance", "--list")
	assert.Equal(t, len(conformance.Cases())+1, strings.Count(r.out, "\n"))
}

func TestReportsStayWellFormed(t *testing.T) {
	r := &suiteReport{Backend: "x|<y>", Command: "prism conformance", Report: conformance.Report{Failed: 1, NotRun: 1, Random: conformance.Random{Sequences: 2, Operations: 9}, Results: []conformance.Result{
		{ID: "a/b", Requirement: "One | <two> & `three`.", Outcome: conformance.Failed, Failures: []string{"\x00 ]]> <came> \x1b[31m\nlate"}},
		{ID: "a/c", Requirement: "So.", Outcome: conformance.NotRun, Reason: `"quoted" | <reason>`, Log: []string{"\xff"}},
		{ID: "a/d", Requirement: "By chance.", Outcome: conformance.Passed, Random: &conformance.Random{Sequences: 2, Operations: 9}},
	}}}
	var out strings.Builder
	require.NoError(t, writeJUnit(&out, r))
	var got junitSuites
	require.NoError(t, xml.Unmarshal([]byte(out.String()), &got), out.String())
	assert.Equal(t, "One | <two> & `three`.", got.Suites[0].Cases[0].Failure.Message)
	out.Reset()
	require.NoError(t, writeMarkdown(&out, r))
	assert.Contains(t, out.String(), "| `a/b` |  | failed | One \\| &lt;two> & 'three'. |\n")
	assert.NotContains(t, out.String(), "\x1b")
	assert.Contains(t, out.String(), "| `a/d` |  | passed: 2 random sequences of 9 operations in all | By chance. |\n")
	assert.Contains(t, out.String(), "in 0.00 s; capabilities: -; 2 random sequences of 9 operations in all.\n")
}

func TestShellWordsAreQuoted(t *testing.T) {
	for word, want := range map[string]string{"a=b/c:1": "a=b/c:1", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", "": "''"} {
		assert.Equal(t, want, shellWord(word))
	}
}
