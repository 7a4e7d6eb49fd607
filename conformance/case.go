package conformance

// case.go: a case, and the list of all.

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Profile says what a case needs.
type Profile string

// The profiles.
const (
	ProfileCore   Profile = "core"   // nothing but the backend
	ProfileFaults Profile = "faults" // a Harness that implements Faults
)

// Case shows one sentence of the contract.
type Case struct {
	// ID is "group/what-is-shown" and stays the same from version to version.
	ID string
	// Requirement is the sentence of the contract.
	Requirement string
	Profile     Profile
	// Needs lists the faults that the case inflicts.
	Needs []Fault
	// Writes says that the case writes into the store past the backend: it needs a Vandal.
	Writes bool
	// Run fails t when the backend does not keep the requirement. Call it only when Missing is
	// empty; cases of the profile core may run at the same time, those of faults run alone.
	Run func(t T, h Harness)
}

// Missing says what the harness lacks for the case, in words; "" when it has everything.
func (c Case) Missing(h Harness) string {
	faults, _ := h.(Faults)
	for _, f := range c.Needs {
		if faults == nil || !faults.CanInflict(f) {
			return fmt.Sprintf("the harness cannot inflict %q on the store", f)
		}
	}
	if _, ok := h.(Vandal); c.Writes && !ok {
		return "the harness cannot write into the store past the backend"
	}
	return ""
}

// scenario is a case as this package writes it down.
type scenario struct {
	id          string
	requirement string
	needs       []Fault
	writes      bool
	run         func(s *scene)
}

// Option changes how cases are made or run.
type Option func(*options)

type options struct {
	seed        uint64
	atOnce      int  // of Run
	noneLeftOut bool // by Test
}

// WithSeed repeats the random choices of an earlier run, whose failures name the seed. Zero,
// as no option, stands for a seed of its own in each list of cases.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// Cases returns every case of the suite, in a fixed order.
func Cases(opts ...Option) []Case {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	for o.seed == 0 {
		o.seed = rand.Uint64() >> 1 // fits an int64, which some command lines take for numbers
	}
	groups := [][]scenario{
		infoCases, sessionCases, expiryCases, putCases, ownershipCases, moveCases, tombstoneCases, setStateCases, deleteCases, applyCases, getCases,
		retryCases, watchCases, bookmarkCases, resumeCases, loadCases, randomCases, nameCases, damageCases, lifeCases, domainCases, faultCases, outageCases,
	}
	var cases []Case
	for _, sc := range slices.Concat(groups...) {
		c := Case{ID: sc.id, Requirement: sc.requirement, Profile: ProfileCore, Needs: sc.needs, Writes: sc.writes}
		if len(sc.needs) > 0 {
			c.Profile = ProfileFaults
		}
		c.Run = func(t T, h Harness) {
			t.Helper()
			sc.run(newScene(t, h, sc.requirement, o.seed))
		}
		cases = append(cases, c)
	}
	return cases
}
