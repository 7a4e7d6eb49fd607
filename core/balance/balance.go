// Package balance chooses one of many instances: pure policies over an immutable list of
// candidates, with no I/O and no clock, and the rules that say who is a candidate at all.
//
// Judge says which instances of a snapshot may receive traffic and why. New builds a Picker
// over those; it does all the work, so that Pick is a few nanoseconds and allocates nothing.
// Pickers keep their place in the sequence, so a caller keeps one for as long as Same holds.
package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/marketprism/prism/core"
)

// Candidate is one instance that may be picked. A candidate of weight 0 or less is never
// picked, whatever the policy; a weight above core.MaxWeight counts as that.
type Candidate struct {
	ID     string
	Weight int
	Zone   string
}

// Picker picks among the candidates that it was built from. It is safe for concurrent use
// and its methods do not allocate.
type Picker interface {
	// Pick returns an index into the candidates, or -1 when none can be picked. The key is for
	// policies that send equal keys to the same instance; the others ignore it.
	Pick(key string) int
	// Same reports whether the candidates have the ids and weights, in the same order, that the
	// Picker was built from: it then serves them as well, and goes on where it was.
	Same(cands []Candidate) bool
	// Bytes is about how much memory the Picker holds: a rotation of two candidates can be 65,536
	// places long.
	Bytes() int
}

// New builds a Picker. Random is where it takes chance from: the place at which a rotation
// begins, so that the many hosts of a fleet do not all begin with the same instance, and each
// draw of the random policies. It must be safe for concurrent use; nil means math/rand/v2.
// The error is for a Policy that ParsePolicy did not give, and wraps core.ErrInvalid.
func New(policy Policy, cands []Candidate, random func() uint64) (Picker, error) {
	if random == nil {
		random = rand.Uint64
	}
	from := built{cands: slices.Clone(cands)}
	switch policy {
	case WeightedRoundRobin:
		weights, total := reduce(from.weights())
		if total == int64(len(from.able())) { // all equal
			return newRotation(from, from.able(), random), nil
		}
		return newRotation(from, smooth(weights, total), random), nil
	case RoundRobin:
		return newRotation(from, from.able(), random), nil
	case WeightedRandom:
		return newAlias(from, random), nil
	case Random:
		return &uniform{built: from, among: from.able(), random: random}, nil
	}
	return nil, fmt.Errorf("build a picker: %w", unknownPolicy("policy", string(policy)))
}

// Shares returns the part of all picks, from 0 to 1, that each candidate gets in the long
// run. For weighted round robin it is what the rotation really gives, rounding included.
func Shares(cands []Candidate, policy Policy) []float64 {
	from := built{cands: cands}
	weights := from.weights()
	switch policy {
	case WeightedRoundRobin:
		weights, _ = reduce(weights)
	case WeightedRandom:
	case RoundRobin, Random:
		for i := range weights {
			weights[i] = min(weights[i], 1)
		}
	}
	total := sum(weights)
	shares := make([]float64, len(weights))
	for i, w := range weights {
		if total > 0 {
			shares[i] = float64(w) / float64(total)
		}
	}
	return shares
}

// built is what every Picker remembers of the candidates.
type built struct{ cands []Candidate }

// Same implements Picker.
func (b built) Same(cands []Candidate) bool {
	return slices.EqualFunc(b.cands, cands, func(x, y Candidate) bool { return x.ID == y.ID && x.Weight == y.Weight })
}

// What is held of each candidate, place and column, on 64 bits.
const (
	candidateBytes = 40 // without its strings, which are those of the instance
	indexBytes     = 4
	columnBytes    = 16
)

// Bytes implements Picker.
func (b built) Bytes() int { return candidateBytes * len(b.cands) }

// weights returns the weights within their bounds.
func (b built) weights() []int64 {
	out := make([]int64, len(b.cands))
	for i, c := range b.cands {
		out[i] = int64(min(max(c.Weight, 0), core.MaxWeight))
	}
	return out
}

// able returns the indexes of the candidates that can be picked.
func (b built) able() []int32 {
	out := make([]int32, 0, len(b.cands))
	for i, c := range b.cands {
		if c.Weight > 0 {
			out = append(out, int32(i))
		}
	}
	return out
}

func sum(weights []int64) int64 {
	var total int64
	for _, w := range weights {
		total += w
	}
	return total
}

// unknownPolicy is the error for a name that is no policy.
func unknownPolicy(field, name string) error {
	return core.Invalid(field, name, "use "+allowedPolicies)
}
