package conformance

// run.go: the suite outside of tests, for programs that print or store a report.

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Outcome is how a case ended.
type Outcome string

// The outcomes.
const (
	Passed Outcome = "passed"
	Failed Outcome = "failed"
	NotRun Outcome = "not_run" // the harness lacks what the case needs, or the run was cancelled
)

// Result is what came of one case.
type Result struct {
	ID          string        `json:"id"`
	Requirement string        `json:"requirement"`
	Profile     Profile       `json:"profile"`
	Outcome     Outcome       `json:"outcome"`
	Reason      string        `json:"reason,omitempty"`   // why it was not run
	Failures    []string      `json:"failures,omitempty"` // each says what was required, expected and came
	Log         []string      `json:"log,omitempty"`      // what the case measured
	Random      *Random       `json:"random,omitempty"`   // of cases that choose what they do
	Duration    time.Duration `json:"duration_ns"`
}

// Report is what came of a run; Results are in the order of the cases.
type Report struct {
	Results []Result `json:"results"`
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	NotRun  int      `json:"not_run"`
	Random  Random   `json:"random"` // of all cases
}

// Random counts what was chosen at random: sequences of operations, and operations in all of them.
type Random struct {
	Sequences  int `json:"sequences"`
	Operations int `json:"operations"`
}

// Add returns the sum of both.
func (r Random) Add(o Random) Random {
	return Random{Sequences: r.Sequences + o.Sequences, Operations: r.Operations + o.Operations}
}

const randomWords = "%d random sequences of %d operations in all"

// String is one line of words, which ParseRandom reads.
func (r Random) String() string { return fmt.Sprintf(randomWords, r.Sequences, r.Operations) }

// ParseRandom finds a Random in a line of the log that Test writes, whatever stands before it.
func ParseRandom(line string) (r Random, ok bool) {
	words := randomLine.FindString(line)
	_, err := fmt.Sscanf(words, randomWords, &r.Sequences, &r.Operations)
	return r, err == nil
}

var randomLine = regexp.MustCompile(`\d+ random sequences of \d+ operations in all`)

// Reporter is told of each case as it ends, from several goroutines, but never two at a time.
type Reporter interface {
	Done(r Result)
}

// AtOnce is how many cases of the profile core Run runs at the same time: most of them wait.
const AtOnce = 8

// WithParallel has Run run n cases of the profile core at the same time, in place of AtOnce.
func WithParallel(n int) Option { return func(o *options) { o.atOnce = n } }

// Run runs cases on a harness: those of the profile core several at a time, then those of
// faults one by one. It returns when all have ended. What cancelling the context keeps from
// an end of its own, or from its beginning, is not run. The reporter may be nil.
func Run(ctx context.Context, cases []Case, h Harness, reporter Reporter, opts ...Option) Report {
	o := options{atOnce: AtOnce}
	for _, opt := range opts {
		opt(&o)
	}
	report := Report{Results: make([]Result, len(cases))}
	var telling sync.Mutex
	run := func(i int) {
		r := runCase(ctx, cases[i], h)
		telling.Lock()
		defer telling.Unlock()
		report.Results[i] = r
		if reporter != nil {
			reporter.Done(r)
		}
	}
	var group sync.WaitGroup
	places := make(chan struct{}, max(1, o.atOnce))
	for i := range cases {
		if cases[i].Profile == ProfileFaults {
			continue
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			run(i)
		})
	}
	group.Wait()
	for i := range cases {
		if cases[i].Profile == ProfileFaults {
			run(i)
		}
	}
	for _, r := range report.Results {
		if r.Random != nil {
			report.Random = report.Random.Add(*r.Random)
		}
		switch r.Outcome {
		case Passed:
			report.Passed++
		case Failed:
			report.Failed++
		case NotRun:
			report.NotRun++
		}
	}
	return report
}

func runCase(ctx context.Context, c Case, h Harness) Result {
	res := Result{ID: c.ID, Requirement: c.Requirement, Profile: c.Profile}
	if res.Reason = c.Missing(h); res.Reason == "" && ctx.Err() != nil {
		res.Reason = "the run was cancelled: " + ctx.Err().Error()
	}
	if res.Reason != "" {
		res.Outcome = NotRun
		return res
	}
	began := time.Now()
	t := &caseT{name: c.ID, run: ctx}
	var cancel context.CancelFunc
	t.ctx, cancel = context.WithCancel(ctx)
	// Fatalf ends the goroutine it is called from, so the case and each cleanup get one each.
	t.protect(func() { c.Run(t, h) })
	cancel()
	for f := t.lastCleanup(); f != nil; f = t.lastCleanup() {
		t.protect(f)
	}
	res.Duration = time.Since(began)
	res.Outcome, res.Failures, res.Log, res.Random = Passed, t.failures, t.log, t.random
	switch {
	case t.cancelled:
		res.Outcome, res.Failures = NotRun, nil
		res.Reason = "the run was cancelled while the case ran: " + ctx.Err().Error()
	case len(t.failures) > 0:
		res.Outcome = Failed
	}
	return res
}

// caseT is the T behind Run.
type caseT struct {
	name     string
	run, ctx context.Context // of the run, and of the case alone

	mu        sync.Mutex // guards the rest
	cleanups  []func()
	failures  []string
	cancelled bool // the first failure came after the end of the run: it says nothing of the backend
	log       []string
	random    *Random
}

func (t *caseT) Helper()                  {}
func (t *caseT) Name() string             { return t.name }
func (t *caseT) Context() context.Context { return t.ctx }

func (t *caseT) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *caseT) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.log = append(t.log, fmt.Sprintf(format, args...))
}

// made implements counter.
func (t *caseT) made(r Random) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.random != nil {
		r = r.Add(*t.random)
	}
	t.random = &r
}

func (t *caseT) Errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancelled = t.cancelled || len(t.failures) == 0 && t.run.Err() != nil
	t.failures = append(t.failures, fmt.Sprintf(format, args...))
}

func (t *caseT) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// lastCleanup takes the cleanup that was added last; nil when none is left.
func (t *caseT) lastCleanup() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.cleanups) == 0 {
		return nil
	}
	last := len(t.cleanups) - 1
	f := t.cleanups[last]
	t.cleanups = slices.Delete(t.cleanups, last, last+1)
	return f
}

// protect runs f to its end, be that a return, a Fatalf or a panic, which is a failure.
func (t *caseT) protect(f func()) {
	var group sync.WaitGroup
	group.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("the backend or the case panicked: %v\n%s", p, debug.Stack())
			}
		}()
		f()
	})
	group.Wait()
}
