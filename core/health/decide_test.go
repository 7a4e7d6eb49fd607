package health_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/health"
	"github.com/marketprism/prism/ports"
)

const (
	unknown   = core.ObservedUnknown
	healthy   = core.ObservedHealthy
	unhealthy = core.ObservedUnhealthy
)

var check = core.Check{Type: core.CheckHTTP, Rise: 2, Fall: 3}

func state(d core.Declared, o core.Observed, streak int) core.State {
	return core.State{Declared: d, Observed: o, Streak: streak, Actor: "owner"}
}

// decide applies one result as the registry does.
func decide(st core.State, c core.Check, pass bool) (after core.State, settled bool) {
	observed, declared, settled := health.Decide(st, c, pass)
	return ports.SetState{Observed: &observed, Declared: declared}.Apply(st), settled
}

func TestDecide(t *testing.T) {
	const up = core.DeclaredUp
	for name, tc := range map[string]struct {
		from    core.State
		pass    bool
		want    core.State
		settled bool
	}{
		"the first pass decides":             {state(up, unknown, 0), true, state(up, healthy, 2), true},
		"no observation is unknown":          {state(up, "", 0), true, state(up, healthy, 2), true},
		"the first failure decides":          {state(up, unknown, 0), false, state(up, unhealthy, -1), false},
		"the second failure of three":        {state(up, unhealthy, -1), false, state(up, unhealthy, -2), false},
		"one failure does not end healthy":   {state(up, healthy, 2), false, state(up, healthy, -1), false},
		"nor do two":                         {state(up, healthy, -1), false, state(up, healthy, -2), false},
		"three do":                           {state(up, healthy, -2), false, state(up, unhealthy, -3), true},
		"more change nothing":                {state(up, unhealthy, -3), false, state(up, unhealthy, -3), true},
		"one pass does not end unhealthy":    {state(up, unhealthy, -3), true, state(up, unhealthy, 1), false},
		"two do":                             {state(up, unhealthy, 1), true, state(up, healthy, 2), true},
		"more passes change nothing":         {state(up, healthy, 2), true, state(up, healthy, 2), true},
		"a pass ends a run of failures":      {state(up, healthy, -2), true, state(up, healthy, 2), true},
		"a failure ends a run of passes":     {state(up, unhealthy, 1), false, state(up, unhealthy, -1), false},
		"rise was lowered meanwhile":         {state(up, unhealthy, 3), true, state(up, healthy, 2), true},
		"fall was lowered meanwhile":         {state(up, healthy, -5), false, state(up, unhealthy, -3), true},
		"set healthy by hand, three to fall": {state(up, healthy, 0), false, state(up, healthy, -1), false},
		"set unhealthy by hand, two to rise": {state(up, unhealthy, 0), true, state(up, unhealthy, 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			got, settled := decide(tc.from, check, tc.pass)
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.settled, settled)
		})
	}
}

func TestPassEndsStarting(t *testing.T) {
	for _, observed := range []core.Observed{unknown, healthy, unhealthy} {
		from := state(core.DeclaredStarting, observed, -3)
		from.ByOperator = true
		after, settled := decide(from, check, true)
		assert.Equal(t, core.DeclaredUp, after.Declared)
		assert.Equal(t, core.StatusHealthy, after.Status())
		assert.Equal(t, "check", after.Actor)
		assert.False(t, after.ByOperator)
		assert.True(t, settled)
	}
}

func TestFailureLeavesStarting(t *testing.T) {
	for _, observed := range []core.Observed{unknown, healthy, unhealthy} {
		after, settled := decide(state(core.DeclaredStarting, observed, 0), check, false)
		assert.Equal(t, state(core.DeclaredStarting, unhealthy, -1), after)
		assert.False(t, settled)
	}
}

func TestNothingEndsMaintenanceAndStopping(t *testing.T) {
	for _, declared := range []core.Declared{core.DeclaredMaintenance, core.DeclaredStopping} {
		st := state(declared, healthy, 2)
		st.ByOperator, st.Reason = true, "disk swap"
		for range 3 {
			_, d, _ := health.Decide(st, check, false)
			require.Nil(t, d)
			st, _ = decide(st, check, false)
		}
		assert.Equal(t, unhealthy, st.Observed, "observed goes on")
		for range 2 {
			st, _ = decide(st, check, true)
		}
		assert.Equal(t, healthy, st.Observed)
		assert.Equal(t, core.Status(declared), st.Status())
		assert.Equal(t, "disk swap", st.Reason)
		assert.True(t, st.ByOperator)
	}
}

// TestThresholds compares Decide with the plain reading of the rule on random results: what
// is observed changes after exactly Rise passes or Fall failures in a row, and a steady state
// soon needs no write.
func TestThresholds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := core.Check{Rise: rapid.IntRange(1, 5).Draw(rt, "rise"), Fall: rapid.IntRange(1, 5).Draw(rt, "fall")}
		results := rapid.SliceOfN(rapid.Bool(), 1, 60).Draw(rt, "results")
		st := state(core.DeclaredUp, unknown, 0)
		want, row := unknown, 0
		for i, pass := range results {
			if i > 0 && results[i-1] != pass {
				row = 0
			}
			row++
			switch {
			case pass && (want == unknown || row >= c.Rise):
				want = healthy
			case !pass && (want == unknown || row >= c.Fall):
				want = unhealthy
			}
			before := st
			var settled bool
			st, settled = decide(st, c, pass)
			if st.Observed != want {
				rt.Fatalf("after %v: %s, want %s", results[:i+1], st.Observed, want)
			}
			if row > max(c.Rise, c.Fall) && (st != before || !settled) {
				rt.Fatalf("after %v: a steady state is written or unsettled", results[:i+1])
			}
		}
	})
}
