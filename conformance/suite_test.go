package conformance_test

// suite_test.go: the suite itself: its list of cases, its runner, and a store that the cases
// of the profile faults can break.

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "12"); err != nil { // the cases wait more than they work; the command line wins
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func TestCasesAreWellFormed(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+/[a-z0-9-]+$`)
	seen := make(map[string]bool)
	core := 0
	for _, c := range conformance.Cases() {
		assert.Regexp(t, form, c.ID)
		assert.False(t, seen[c.ID], "%s is there twice", c.ID)
		seen[c.ID] = true
		assert.NotNil(t, c.Run, c.ID)
		assert.GreaterOrEqual(t, len(c.Requirement), 20, c.ID)
		assert.True(t, strings.HasSuffix(c.Requirement, "."), "%s: a requirement is a sentence: %q", c.ID, c.Requirement)
		switch c.Profile {
		case conformance.ProfileCore:
			core++
			assert.Empty(t, c.Needs, c.ID)
		case conformance.ProfileFaults:
			assert.NotEmpty(t, c.Needs, c.ID)
			assert.False(t, c.Writes, c.ID)
		default:
			assert.Fail(t, "unknown profile", "%s: %q", c.ID, c.Profile)
		}
	}
	assert.GreaterOrEqual(t, core, 24)
}

// withoutDocuments is the Vandal of a store in memory.
type withoutDocuments struct{}

func (withoutDocuments) Corrupt(context.Context, string, core.Key) error { return ports.ErrUnsupported }

func (withoutDocuments) NewerFormat(context.Context, string, core.Key) error {
	return ports.ErrUnsupported
}

func (withoutDocuments) AddField(context.Context, string, core.Key, string, json.RawMessage) error {
	return ports.ErrUnsupported
}

func (withoutDocuments) Field(context.Context, string, core.Key, string) (json.RawMessage, error) {
	return nil, ports.ErrUnsupported
}

// A store of documents passes the cases that write into it.
func TestDamagedDocuments(t *testing.T) {
	t.Parallel()
	report := conformance.Run(t.Context(), only(t, "damage/corrupt-record", "damage/newer-format", "damage/unknown-fields"), newDocuments(none), nil)
	for _, r := range report.Results {
		assert.Equal(t, conformance.Passed, r.Outcome, "%s: %s", r.ID, strings.Join(r.Failures, "\n"))
	}
}

// A store that several hosts share has documents, whatever its harness says.
func TestAbsentDocumentsAreNotBelieved(t *testing.T) {
	t.Parallel()
	harness := struct {
		conformance.Harness
		conformance.Vandal
	}{broken(func(b ports.Backend) ports.Backend { return claiming{b} }), withoutDocuments{}}
	report := conformance.Run(t.Context(), only(t, "damage/corrupt-record", "damage/newer-format", "damage/unknown-fields"), harness, nil)
	assert.Equal(t, 3, report.Failed)
}

// claiming says that several hosts can share it.
type claiming struct{ ports.Backend }

func (b claiming) Info() ports.Info {
	info := b.Backend.Info()
	info.Capabilities.MultiHost = true
	return info
}

// The seed of a failure brings the same steps again.
func TestTheSeedRepeatsAFailure(t *testing.T) {
	t.Parallel()
	fails := func(seed uint64) (trial, steps string) {
		cases := slices.DeleteFunc(conformance.Cases(conformance.WithSeed(seed)), func(c conformance.Case) bool { return c.ID != "random/model" })
		report := conformance.Run(t.Context(), cases, broken(applying(ignoreRevision)), nil)
		require.Equal(t, 1, report.Failed)
		failure := report.Results[0].Failures[0]
		require.Contains(t, failure, fmt.Sprintf("seed: %d", seed))
		_, first, found := strings.Cut(failure, "first: ")
		require.True(t, found, failure)
		trial, steps, found = strings.Cut(first, "after: ")
		require.True(t, found, failure)
		return trial, steps
	}
	trial, steps := fails(7)
	again, _ := fails(7) // how far it is shrunk depends on the time that there is
	assert.Equal(t, trial, again)
	other, _ := fails(8)
	assert.NotEqual(t, trial, other)
	var in, long int
	_, err := fmt.Sscanf(trial, "in trial %d, of %d steps", &in, &long)
	require.NoError(t, err)
	assert.Less(t, strings.Count(steps, "\n"), long, "it was shrunk: %s", steps)
}

// A store that is busy with other cases may not answer in time when it is opened.
func TestWhatDoesNotOpenAtOnceIsOpenedAgain(t *testing.T) {
	t.Parallel()
	for late, failed := range map[int]int{2: 0, 3: 1} {
		tries := 0
		harness := openFunc(func(ctx context.Context, namespace string) (ports.Backend, error) {
			if tries++; tries <= late {
				return nil, fmt.Errorf("late: %w", ports.ErrUnavailable)
			}
			return openMemory(ctx, namespace)
		})
		report := conformance.Run(t.Context(), only(t, "apply/nothing"), harness, nil)
		assert.Equal(t, failed, report.Failed, "after %d tries in vain", late)
	}
	tries := 0
	report := conformance.Run(t.Context(), only(t, "apply/nothing"), openFunc(func(context.Context, string) (ports.Backend, error) {
		tries++
		return nil, ports.ErrInvalid
	}), nil)
	assert.Equal(t, 1, report.Failed)
	assert.Equal(t, 1, tries, "what is refused is not asked for again")
}

// told keeps what a Reporter was told.
type told []conformance.Result

func (r *told) Done(res conformance.Result) { *r = append(*r, res) }

func TestRunReports(t *testing.T) {
	var cleaned []string
	var contextOver atomic.Bool
	cases := []conformance.Case{
		{ID: "x/passes", Requirement: "It passes.", Profile: conformance.ProfileCore, Run: func(t conformance.T, _ conformance.Harness) {
			assert.Equal(t, "x/passes", t.Name())
			ctx := t.Context()
			t.Cleanup(func() { cleaned = append(cleaned, "first"); contextOver.Store(ctx.Err() != nil) })
			t.Cleanup(func() { cleaned = append(cleaned, "second") })
			t.Logf("measured %d", 7)
		}},
		{ID: "x/fails", Requirement: "It fails.", Profile: conformance.ProfileCore, Run: func(t conformance.T, _ conformance.Harness) {
			t.Cleanup(func() { t.Errorf("three") })
			fatal := t.Fatalf // so that no linter knows that it does not return
			t.Errorf("one")
			fatal("two")
			t.Errorf("never said")
		}},
		{ID: "x/panics", Requirement: "It panics.", Profile: conformance.ProfileCore, Run: func(conformance.T, conformance.Harness) { panic("oh no") }},
		{ID: "x/needs", Requirement: "It needs.", Profile: conformance.ProfileFaults, Needs: []conformance.Fault{conformance.FaultCut}, Run: func(conformance.T, conformance.Harness) {
			assert.Fail(t, "run without what it needs")
		}},
	}
	var seen told
	report := conformance.Run(t.Context(), cases, openFunc(openMemory), &seen)
	require.Len(t, report.Results, 4)
	assert.Len(t, seen, 4)
	assert.Equal(t, []int{1, 2, 1}, []int{report.Passed, report.Failed, report.NotRun})

	passes, fails, panics, needs := report.Results[0], report.Results[1], report.Results[2], report.Results[3]
	assert.Equal(t, conformance.Passed, passes.Outcome)
	assert.Equal(t, []string{"measured 7"}, passes.Log)
	assert.Equal(t, []string{"second", "first"}, cleaned)
	assert.True(t, contextOver.Load(), "the context ends before the cleanups")
	assert.Equal(t, conformance.Failed, fails.Outcome)
	assert.Equal(t, []string{"one", "two", "three"}, fails.Failures)
	assert.Equal(t, conformance.Failed, panics.Outcome)
	assert.Contains(t, strings.Join(panics.Failures, ""), "oh no")
	assert.Equal(t, conformance.NotRun, needs.Outcome)
	assert.Contains(t, needs.Reason, "cut")

	text, err := json.Marshal(report)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"outcome":"not_run"`)
}

func TestACancelledRunLeavesTheRestNotRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report := conformance.Run(ctx, conformance.Cases(), openFunc(openMemory), nil)
	assert.Equal(t, len(conformance.Cases()), report.NotRun)
}

// What a case says after the run was cancelled is no failure of the backend's; what it said
// before is.
func TestACaseThatIsInterruptedIsNotRun(t *testing.T) {
	interrupted := func(before ...string) conformance.Result {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		run := func(t conformance.T, _ conformance.Harness) {
			for _, failure := range before {
				t.Errorf("%s", failure)
			}
			cancel()
			<-t.Context().Done()
			t.Errorf("the context ended")
		}
		cases := []conformance.Case{{ID: "x/waits", Profile: conformance.ProfileCore, Run: run}}
		return conformance.Run(ctx, cases, openFunc(openMemory), nil).Results[0]
	}
	assert.Equal(t, []string{"a failure", "the context ended"}, interrupted("a failure").Failures)
	r := interrupted()
	assert.Equal(t, conformance.NotRun, r.Outcome)
	assert.Empty(t, r.Failures)
	assert.Contains(t, r.Reason, "cancelled while the case ran")
}

// More cases than run by default meet one another; one at a time are never two.
func TestParallelChoosesHowManyCasesRunAtOnce(t *testing.T) {
	const n = conformance.AtOnce + 2
	for _, parallel := range []int{n, 1} {
		var running sync.WaitGroup
		running.Add(parallel)
		var now atomic.Int32
		cases := make([]conformance.Case, n)
		for i := range cases {
			cases[i] = conformance.Case{ID: "x/meets", Profile: conformance.ProfileCore, Run: func(t conformance.T, _ conformance.Harness) {
				if parallel == 1 {
					if now.Add(1) > 1 {
						t.Errorf("two at once")
					}
					now.Add(-1)
					return
				}
				running.Done()
				running.Wait() // for all others
			}}
		}
		report := conformance.Run(t.Context(), cases, openFunc(openMemory), nil, conformance.WithParallel(parallel))
		assert.Equal(t, n, report.Passed)
	}
}

func TestHarnessThatCannotOpenFails(t *testing.T) {
	report := conformance.Run(t.Context(), only(t, "info/health"), openFunc(nil), nil)
	assert.Equal(t, 1, report.Failed)
}

// The whole suite through the runner, on a store that can be broken in every way.
func TestRunOfEverything(t *testing.T) {
	t.Parallel()
	harness := struct {
		*fragile
		conformance.Vandal
	}{newFragile(sound), withoutDocuments{}}
	report := conformance.Run(t.Context(), conformance.Cases(), harness, nil)
	for _, r := range report.Results {
		assert.Equal(t, conformance.Passed, r.Outcome, "%s: %s %s", r.ID, r.Reason, strings.Join(r.Failures, "\n"))
		assert.Positive(t, r.Duration, r.ID)
	}
	assert.Equal(t, len(conformance.Cases()), report.Passed)
}

// The report tells how much was left to chance, and so does the log of a test.
func TestRandomOperationsAreCounted(t *testing.T) {
	report := conformance.Run(t.Context(), only(t, "random/model", "load/ownership", "put/create"), openFunc(openMemory), nil)
	var sum conformance.Random
	for _, r := range report.Results {
		if r.ID == "put/create" {
			assert.Nil(t, r.Random)
			continue
		}
		require.NotNil(t, r.Random, r.ID)
		said, ok := conformance.ParseRandom("    x_test.go:1: " + strings.Join(r.Log, "\n"))
		require.True(t, ok, r.Log)
		assert.Equal(t, *r.Random, said)
		sum = sum.Add(said)
		if r.ID == "random/model" {
			assert.Equal(t, 30, said.Sequences)
			assert.Less(t, 30*9, said.Operations)
			assert.Less(t, said.Operations, 30*41)
		} else {
			assert.Equal(t, conformance.Random{Sequences: 8, Operations: 8 * 60 * 2}, said)
		}
	}
	assert.Equal(t, sum, report.Random)
	_, ok := conformance.ParseRandom("7 random sequences of operations in all")
	assert.False(t, ok)
}

// Where none may be left out, a harness that lost its means fails; what it can do still passes. A
// process of its own runs the suite, as it has to fail.
func TestNoneIsLeftOut(t *testing.T) {
	const inside = "PRISM_TEST_NONE_LEFT_OUT"
	if os.Getenv(inside) != "" {
		conformance.Test(t, func(*testing.T) conformance.Harness { return openFunc(openMemory) }, conformance.WithNoneLeftOut())
		return
	}
	run := func(pattern string) (string, error) {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^TestNoneIsLeftOut$/"+pattern) //nolint:gosec // itself
		child.Env = append(os.Environ(), inside+"=yes")
		out, err := child.CombinedOutput()
		return string(out), err
	}
	out, err := run("^core$/^info$")
	require.NoError(t, err, out)
	assert.Contains(t, out, "PASS: TestNoneIsLeftOut/core/info/static")
	for pattern, missing := range map[string]string{
		"^faults$/^faults$/^stop$": `the harness cannot inflict "stop" on the store`, "^core$/^damage$/^unknown-fields$": "the harness cannot write into the store past the backend",
	} {
		out, err := run(pattern)
		require.Error(t, err, out)
		assert.Contains(t, out, "not run, and none may be left out: "+missing)
	}
}

// Nothing is wrong with a backend over which a single write is slow, as on a machine that is busy.
func TestOneSlowWriteIsNoFault(t *testing.T) {
	t.Parallel()
	for id, slow := range map[string]struct {
		service string
		nth     int32 // of its writes
		takes   time.Duration
	}{
		"watch/bookmarks":   {"svc", 2, 2*ports.MaxBookmarkGap + 200*time.Millisecond}, // the first is before the stream
		"domain/transcript": {"cron", 1, 2200 * time.Millisecond},                      // more than the TTL of the shortest session
		"expiry/unattended": {"svc", 1, 2200 * time.Millisecond},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			harness := broken(func(b ports.Backend) ports.Backend {
				var n atomic.Int32
				return odd{Backend: b, apply: func(ctx context.Context, inner ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error) {
					if muts[0].Key().Service == slow.service && n.Add(1) == slow.nth {
						<-time.After(slow.takes)
					}
					return inner.Apply(ctx, muts)
				}}
			})
			r := conformance.Run(t.Context(), only(t, id), harness, nil).Results[0]
			assert.Equal(t, conformance.Passed, r.Outcome, strings.Join(r.Failures, "\n"))
		})
	}
}

// Nor over one that renews session after session, with a question to its store for each.
func TestRenewingOneByOneIsNoFault(t *testing.T) {
	t.Parallel()
	harness := broken(func(b ports.Backend) ports.Backend {
		return odd{Backend: b, renew: func(ctx context.Context, inner ports.Backend, ids []ports.SessionID) (all []ports.RenewResult, err error) {
			for _, id := range ids {
				<-time.After(6 * time.Millisecond)
				results, err := inner.RenewSessions(ctx, []ports.SessionID{id})
				if err != nil {
					return nil, err
				}
				all = append(all, results...)
			}
			return all, nil
		}}
	})
	r := conformance.Run(t.Context(), only(t, "expiry/not-early-after-renewal"), harness, nil).Results[0]
	assert.Equal(t, conformance.Passed, r.Outcome, strings.Join(r.Failures, "\n"))
}

// One host may notice later than another that the store is back.
func TestAHostThatIsTardyIsWaitedFor(t *testing.T) {
	t.Parallel()
	harness := newFragile(tardy)
	harness.open = newShared(t, nothing, true).Open
	report := conformance.Run(t.Context(), only(t, "outage/two-ttls-cut", "outage/remembers-stop"), harness, nil)
	for _, r := range report.Results {
		assert.Equal(t, conformance.Passed, r.Outcome, "%s: %s", r.ID, strings.Join(r.Failures, "\n"))
	}
}

func TestBadManagersOfOutagesAreCaught(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		manner manner
		caught []string
	}{
		{"answers from a cache", caching, []string{"faults/stop", "faults/cut"}},
		{"does not look at contexts", deaf, []string{"faults/pause"}},
		{"keeps quiet about a wipe", secretive, []string{"faults/wipe"}},
		{"goes on with a gap", gappy, []string{"outage/writes-cut", "outage/two-ttls-cut"}},
		{"proves by its own clock", ticking, []string{"faults/stop", "faults/pause", "faults/cut"}},
		{"loses all by hanging", forgetful, []string{"faults/pause", "faults/cut", "outage/writes-pause", "outage/two-ttls-cut"}},
		{"loses all and keeps the epoch", shameless, []string{"faults/stop"}},
		{"ends sessions with the leader", hasting, []string{"outage/expiry-leader"}},
		{"keeps sessions after a change of the leader", clinging, []string{"outage/expiry-leader"}},
		{"brings back what was lost", restoring, []string{"outage/two-ttls-wipe"}},
		{"forgets what was deleted", oblivious, []string{"outage/remembers-stop"}},
		{"loses what it said would last", lossy, []string{
			"faults/stop", "outage/writes-stop", "outage/writes-pause", "outage/writes-leader", "outage/two-ttls-stop", "outage/two-ttls-pause",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			report := conformance.Run(t.Context(), only(t, tt.caught...), newFragile(tt.manner), nil)
			for _, r := range report.Results {
				assert.Equal(t, conformance.Failed, r.Outcome, "%s did not catch it", r.ID)
			}
			t.Logf("caught in %s", time.Since(began))
		})
	}
}
