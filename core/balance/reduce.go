package balance

// reduce.go: weights made as small as the length of a rotation allows.

import (
	"cmp"
	"slices"
)

// exactTotal is the sum of the weights, divided by their greatest common divisor, up to which
// a rotation is always exact.
const exactTotal = 65_536

// slotsEach is how many places each candidate has at the least, on average, where there are
// so many that exactTotal would be too few; it bounds the error of apportion.
const slotsEach = 16

// reduce returns weights in the same proportions, and their sum. They are exact while that
// sum is at most exactTotal, or 16 for each candidate where that is more; beyond, they are
// apportioned: no positive weight becomes 0, and the share of each candidate is off by less than
// 1/65,536 of all picks plus 1/16 of its own share (without that last part where no share
// is below 1/65,536). Weights of 0 stay 0; an empty list, or one of zeros, has the sum 0.
func reduce(weights []int64) (reduced []int64, total int64) {
	var divisor int64
	for _, w := range weights {
		divisor = gcd(divisor, w)
	}
	if divisor == 0 {
		return weights, 0
	}
	reduced = make([]int64, len(weights))
	for i, w := range weights {
		reduced[i] = w / divisor
	}
	limit := max(exactTotal, slotsEach*int64(len(weights)))
	if total = sum(reduced); total <= limit {
		return reduced, total
	}
	return apportion(reduced, total, limit), limit
}

// apportion gives each weight its part of the slots, all of which are given out. A positive weight
// too small for one slot gets one, the smallest first; the others get what they are due, rounded
// down, and the heaviest of them, where it matters least, one of what is left over.
func apportion(weights []int64, total, slots int64) []int64 {
	order := make([]int, 0, len(weights))
	for i, w := range weights {
		if w > 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(weights[a], weights[b]) })
	given := make([]int64, len(weights))
	for len(order) > 0 && weights[order[0]]*slots < total {
		given[order[0]] = 1
		slots--
		total -= weights[order[0]]
		order = order[1:]
	}
	left := slots
	for _, i := range order {
		given[i] = weights[i] * slots / total
		left -= given[i]
	}
	for _, i := range order[int64(len(order))-left:] {
		given[i]++
	}
	return given
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
