package balance

// random.go: the pickers that draw.

import (
	"math"
	"math/bits"
)

// uniform draws evenly.
type uniform struct {
	built
	among  []int32
	random func() uint64
}

// Bytes implements Picker.
func (u *uniform) Bytes() int { return u.built.Bytes() + indexBytes*len(u.among) }

// Pick implements Picker.
func (u *uniform) Pick(string) int {
	if len(u.among) == 0 {
		return none
	}
	at, _ := bits.Mul64(u.random(), uint64(len(u.among)))
	return int(u.among[at])
}

// alias draws in proportion to the weights in constant time (A. J. Walker 1977, built as by
// M. D. Vose 1991): a column for each candidate, each as wide as the others and shared by at
// most two. All arithmetic is in integers, so no share is off by more than 2^-64 a column.
type alias struct {
	built
	columns []column
	random  func() uint64
}

// column belongs to its candidate below the bound, and to the other above.
type column struct {
	bound uint64
	other int32
}

func newAlias(from built, random func() uint64) *alias {
	weights := from.weights()
	total := uint64(sum(weights))
	if total == 0 {
		return &alias{built: from}
	}
	n := uint64(len(weights))
	// fill[i] is what candidate i still has to give away, where a full column holds total.
	fill := make([]uint64, n)
	var small, large []int32
	for i, w := range weights {
		if fill[i] = uint64(w) * n; fill[i] < total {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	columns := make([]column, n)
	for len(small) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		bound, _ := bits.Div64(fill[s], 0, total)
		columns[s] = column{bound: bound, other: l}
		if fill[l] -= total - fill[s]; fill[l] < total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, l := range large {
		columns[l] = column{bound: math.MaxUint64, other: l}
	}
	return &alias{built: from, columns: columns, random: random}
}

// Bytes implements Picker.
func (a *alias) Bytes() int { return a.built.Bytes() + columnBytes*len(a.columns) }

// Pick implements Picker.
func (a *alias) Pick(string) int {
	if len(a.columns) == 0 {
		return none
	}
	at, within := bits.Mul64(a.random(), uint64(len(a.columns)))
	if c := a.columns[at]; within >= c.bound {
		return int(c.other)
	}
	return int(at)
}
