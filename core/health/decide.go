// Package health runs health checks and decides what their results mean. It knows no
// protocol: a ports.Prober probes, Scheduler says when, Decide says what follows.
package health

import (
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// ActorCheck is the actor of a declared state that a check changed.
const ActorCheck = "check"

// Decide says what one check result makes of a state.
//
// From unknown, or while starting is declared, a result decides at once what is observed;
// between healthy and unhealthy it takes c.Rise passes or c.Fall failures in a row. A pass ends
// a declared starting (declared is then not nil); nothing ends maintenance or stopping, beside
// which observed goes on.
//
// The streak counts passes up to c.Rise, failures down to -c.Fall, so that a steady state
// stays equal and needs no write; a pass that leaves nothing to decide counts as all of them.
// Whoever sets a status by hand sets the streak to 0.
//
// Settled false asks for the next check soon: failures have not added up to c.Fall yet, or
// passes, of what was unhealthy, to c.Rise.
func Decide(st core.State, c core.Check, healthy bool) (next ports.ObservedState, declared *ports.DeclaredState, settled bool) {
	rise, fall := max(c.Rise, 1), max(c.Fall, 1)
	starting := st.Declared == core.DeclaredStarting
	first := starting || st.Observed != core.ObservedHealthy && st.Observed != core.ObservedUnhealthy
	next.Observed = st.Observed
	if !healthy {
		next.Streak = max(min(st.Streak, 0)-1, -fall)
		if first || next.Streak == -fall {
			next.Observed = core.ObservedUnhealthy
		}
		return next, nil, next.Streak == -fall
	}
	next.Streak = min(max(st.Streak, 0)+1, rise)
	if first || next.Streak == rise || st.Observed == core.ObservedHealthy {
		next = ports.ObservedState{Observed: core.ObservedHealthy, Streak: rise}
	}
	if starting {
		declared = &ports.DeclaredState{Declared: core.DeclaredUp, Actor: ActorCheck, Reason: "the first check passed"}
	}
	return next, declared, next.Observed == core.ObservedHealthy
}
