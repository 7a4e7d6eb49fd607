package balance

// policy.go: the names of the policies.

import (
	"slices"

	"github.com/marketprism/prism/core"
)

// Policy names a way of choosing.
type Policy string

// The policies.
const (
	// WeightedRoundRobin is the default: a smooth rotation in proportion to the weights.
	WeightedRoundRobin Policy = "weighted_round_robin"
	// RoundRobin takes one after the other; weights do not matter, but 0 still means none.
	RoundRobin Policy = "round_robin"
	// WeightedRandom draws in proportion to the weights.
	WeightedRandom Policy = "weighted_random"
	// Random draws evenly, as the policy of that name did in the module that Prism replaces;
	// weights do not matter, but 0 still means none.
	Random Policy = "random"
)

const allowedPolicies = "weighted_round_robin (the default), round_robin, weighted_random or random"

// ParsePolicy reads a policy's name; "" is the default. Field is what the error calls it. A
// name that Prism knows but does not support yet is core.ErrUnsupported, any other unknown
// one core.ErrInvalid.
func ParsePolicy(field, s string) (Policy, error) {
	switch p := Policy(s); p {
	case "":
		return WeightedRoundRobin, nil
	case WeightedRoundRobin, RoundRobin, WeightedRandom, Random:
		return p, nil
	}
	planned := []string{
		"least_connections", "p2c", "p2c_ewma", "maglev", "consistent_hash", "zone_aware",
	}
	if slices.Contains(planned, s) {
		err := core.Invalid(field, s, "this version does not support it yet; use "+allowedPolicies)
		err.Kind = core.ErrUnsupported
		return "", err
	}
	return "", unknownPolicy(field, s)
}
