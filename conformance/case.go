package conformance

// case.go: a case, and the list of all.

import (
	"fmt"
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
	return ""
}

// scenario is a case as this package writes it down.
type scenario struct {
	id          string
	requirement string
	needs       []Fault
	run         func(s *scene)
}

// Cases returns every case of the suite, in a fixed order.
func Cases() []Case {
	groups := [][]scenario{
		infoCases, sessionCases, expiryCases, putCases, tombstoneCases, setStateCases, deleteCases, applyCases, getCases,
		watchCases, resumeCases, loadCases, nameCases, lifeCases, faultCases,
	}
	var cases []Case
	for _, sc := range slices.Concat(groups...) {
		c := Case{ID: sc.id, Requirement: sc.requirement, Profile: ProfileCore, Needs: sc.needs}
		if len(sc.needs) > 0 {
			c.Profile = ProfileFaults
		}
		c.Run = func(t T, h Harness) {
			t.Helper()
			sc.run(newScene(t, h, sc.requirement))
		}
		cases = append(cases, c)
	}
	return cases
}
