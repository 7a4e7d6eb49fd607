package conformance

// property.go: trials that the property library draws, repeats and shrinks, outside of tests
// too.

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// rapidTurn orders the users of the library's settings, which are the process's.
var rapidTurn sync.Mutex

// property runs trials with what is drawn, each on the scene's backend, and reports the
// smallest that fails. The trials come from the seed.
func (s *scene) property(trials int, gen *rapid.Generator[[]randomStep], trial func(s *scene, steps []randomStep)) {
	s.Helper()
	rapidTurn.Lock()
	defer rapidTurn.Unlock()
	if !testing.Testing() && !flag.Parsed() {
		// The library asks package testing whether tests shall be short, which only answers then.
		testing.Init()
		_ = flag.CommandLine.Parse(nil) // nothing is there that could be wrong
	}
	for name, value := range map[string]string{
		"rapid.seed": strconv.FormatUint(s.seed, 10), "rapid.checks": strconv.Itoa(trials), "rapid.nofailfile": "true", "rapid.shrinktime": "10s",
	} {
		before := flag.Lookup(name).Value.String()
		s.must(flag.Set(name, value) == nil, "the property library takes "+name, value)
		defer func() { _ = flag.Set(name, before) }() // it was that
	}
	s.second() // opened by the case rather than by a trial, which closes what it opens
	var failed string
	var steps []randomStep
	var ran, length int // trials up to the first that failed, and its steps
	var made Random     // in all, those included that shrinking repeats
	outer := &propertyTB{s: s}
	var group sync.WaitGroup
	group.Go(func() {
		rapid.Check(outer, func(t *rapid.T) {
			drawn := gen.Draw(t, "steps")
			made.Sequences, made.Operations = made.Sequences+1, made.Operations+len(drawn)
			if failed == "" {
				ran++
			}
			inner := *s
			inner.T = &trialT{t: t, ctx: s.ctx, fail: func(message string) {
				if failed == "" {
					length = len(drawn)
				}
				failed, steps = message, drawn
			}}
			trial(&inner, drawn)
		})
	})
	group.Wait()
	s.made(made)
	if outer.failed {
		var words []string
		for _, step := range steps {
			words = append(words, "\n  "+step.String())
		}
		if failed == "" {
			failed = s.failure("the trials to run", []any{outer.last})
		}
		s.Fatalf("%s\n   first: in trial %d, of %d steps\n   after: these steps, as far as they were shrunk in the time there is:%s", failed, ran, length, strings.Join(words, ""))
	}
}

// trialT is the T of a trial.
type trialT struct {
	t    *rapid.T
	ctx  context.Context
	fail func(message string)
}

func (t *trialT) Helper()                         {}
func (t *trialT) Name() string                    { return t.t.Name() }
func (t *trialT) Context() context.Context        { return t.ctx }
func (t *trialT) Cleanup(f func())                { t.t.Cleanup(f) }
func (t *trialT) Logf(format string, args ...any) { t.t.Logf(format, args...) }

// Errorf ends the trial too: the first failure is what is shrunk.
func (t *trialT) Errorf(format string, args ...any) { t.Fatalf(format, args...) }

// Fatalf gives the library the same words each time: it tells failures apart by them, and
// ours hold random ids.
func (t *trialT) Fatalf(format string, args ...any) {
	t.fail(fmt.Sprintf(format, args...))
	t.t.Fatalf("the requirement is not kept")
}

// propertyTB is what the library reports to; property tells what came of it.
type propertyTB struct {
	s      *scene
	failed bool
	last   string
}

func (p *propertyTB) Helper()                           {}
func (p *propertyTB) Name() string                      { return "conformance" }
func (p *propertyTB) Logf(format string, args ...any)   { p.last = fmt.Sprintf(format, args...) }
func (p *propertyTB) Log(args ...any)                   { p.last = fmt.Sprint(args...) }
func (p *propertyTB) Skipf(format string, args ...any)  { p.Fatalf(format, args...) }
func (p *propertyTB) Skip(args ...any)                  { p.Fatal(args...) }
func (p *propertyTB) SkipNow()                          { p.FailNow() }
func (p *propertyTB) Errorf(format string, args ...any) { p.Logf(format, args...); p.Fail() }
func (p *propertyTB) Error(args ...any)                 { p.Log(args...); p.Fail() }
func (p *propertyTB) Fatalf(format string, args ...any) { p.Logf(format, args...); p.FailNow() }
func (p *propertyTB) Fatal(args ...any)                 { p.Log(args...); p.FailNow() }
func (p *propertyTB) Fail()                             { p.failed = true }
func (p *propertyTB) Failed() bool                      { return p.failed }

func (p *propertyTB) FailNow() {
	p.failed = true
	runtime.Goexit()
}
