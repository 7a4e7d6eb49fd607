package balance

// eligible.go: who may receive traffic, and why not the others.

import (
	"fmt"

	"github.com/marketprism/prism/core"
)

// Rules say which instances may receive traffic.
type Rules struct {
	// HealthRequired admits healthy instances only, and unknown ones where none is healthy.
	// Without it, what checks observed does not matter.
	HealthRequired bool
	// Filter admits only what it selects.
	Filter core.Filter
	// Endpoint admits only what has a further endpoint of this name; "" asks for none.
	Endpoint string
	// PanicThreshold is the part of the instances in play, from 0 to 1, below which so few are
	// healthy that health is ignored rather than overload them; 0 is off. In play is all
	// that is not taken out by its declared state, its weight, the filter or the endpoint.
	PanicThreshold float64
}

// Verdict is what the Rules say of one instance.
type Verdict struct {
	Eligible bool
	// Reason is for people: "healthy", "weight 0", "status maintenance: disk swap".
	Reason string
	// Panic marks an instance that is eligible because the panic threshold is in force.
	Panic bool
}

// grade orders the instances in play; the best grade that occurs is eligible.
type grade int

const (
	gradeHealthy grade = iota
	gradeSuspect
	gradeUnknown
	gradeUnknownSuspect
	gradeUnhealthy
	gradeOut // not in play
)

// Judge returns a Verdict for each instance, in order: never for one in maintenance, starting
// or stopping, of weight 0 or filtered out; of the rest, those of the best kind there is:
// healthy, healthy but suspect, unknown, unknown and suspect. It costs O(n) and is meant to be
// called once for each snapshot rather than for each pick.
func Judge(instances []core.Instance, r Rules) []Verdict {
	verdicts := make([]Verdict, len(instances))
	grades := make([]grade, len(instances))
	var counts [gradeOut + 1]int
	for i := range instances {
		in := &instances[i]
		if verdicts[i].Reason = r.bars(in); verdicts[i].Reason != "" {
			grades[i] = gradeOut
		} else {
			grades[i] = r.grade(in)
		}
		counts[grades[i]]++
	}
	best := gradeHealthy
	for best < gradeUnhealthy && counts[best] == 0 {
		best++
	}
	healthy, inPlay := counts[gradeHealthy]+counts[gradeSuspect], len(instances)-counts[gradeOut]
	if r.HealthRequired && float64(healthy) < r.PanicThreshold*float64(inPlay) {
		reason := fmt.Sprintf("panic: only %d of %d healthy, so health is ignored", healthy, inPlay)
		for i, g := range grades {
			if g != gradeOut {
				verdicts[i] = Verdict{Eligible: true, Reason: reason, Panic: true}
			}
		}
		return verdicts
	}
	var judged [gradeOut]Verdict
	for g := range gradeOut {
		judged[g] = Verdict{Eligible: g == best && g != gradeUnhealthy, Reason: r.reason(g, best)}
	}
	for i, g := range grades {
		if g != gradeOut {
			verdicts[i] = judged[g]
		}
	}
	return verdicts
}

// bars says what takes an instance out of play, or "".
func (r Rules) bars(in *core.Instance) string {
	switch in.State.Declared {
	case core.DeclaredMaintenance, core.DeclaredStarting, core.DeclaredStopping:
		if in.State.Reason != "" {
			return "status " + string(in.State.Declared) + ": " + in.State.Reason
		}
		return "status " + string(in.State.Declared)
	case core.DeclaredUp:
	}
	if in.Weight <= 0 {
		return "weight 0"
	}
	if !r.Filter.Match(*in) {
		return "filtered out"
	}
	if r.Endpoint != "" {
		if _, has := in.Endpoints.Get(r.Endpoint); !has {
			return "no endpoint " + r.Endpoint
		}
	}
	return ""
}

func (r Rules) grade(in *core.Instance) grade {
	healthy := !r.HealthRequired || in.State.Observed == core.ObservedHealthy
	switch {
	case healthy && in.Suspect:
		return gradeSuspect
	case healthy:
		return gradeHealthy
	case in.State.Observed == core.ObservedUnhealthy:
		return gradeUnhealthy
	case in.Suspect:
		return gradeUnknownSuspect
	default:
		return gradeUnknown
	}
}

// reason words why an instance in play of grade g is eligible or not, where best is.
func (r Rules) reason(g, best grade) string {
	var is, others string
	switch g {
	case gradeHealthy:
		if r.HealthRequired {
			return "healthy"
		}
		return "health is not required"
	case gradeSuspect:
		is, others = "suspect", "healthy ones that are not"
		if !r.HealthRequired {
			others = "others that are not"
		}
	case gradeUnknown:
		is, others = "unknown", "healthy ones"
	case gradeUnknownSuspect:
		is, others = "unknown and suspect", "better ones"
	case gradeUnhealthy, gradeOut:
		return "unhealthy"
	}
	if g == best {
		return is + ", but there are no " + others
	}
	return is + ", and there are " + others
}
