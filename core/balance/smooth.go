package balance

// smooth.go: the order of a weighted rotation.

import "math"

// smooth returns a rotation of total places in which candidate i has weights[i] of them,
// spread as evenly as can be: after any number n of places from its start, i has had its due
// n·weights[i]/total but for at most 1-1/(2k-2), where k ≥ 2 candidates have a weight, and so
// it is off by less than two in any stretch of the rotation, also across its end. Total is the
// sum of the weights.
//
// nginx's smooth weighted round robin (its commit 52327e0627f4) walks all candidates at each
// pick, which is too slow for thousands; the earliest-deadline-first queue of Envoy and older
// grpc-go takes a heap's time, but sends nine picks in a row to a weight of 10 beside ten of 1.
// This is the chairman assignment of R. Tijdeman (Discrete Mathematics 32, 1980), whose bound
// is the best there is. With e = 1/(2k-2), turn t = 0, 1, … of i may not come before its due
// reaches t+e, and must come before its due exceeds t+1-e; among those that may come, the one
// that must come first is next.
func smooth(weights []int64, total int64) []int32 {
	turns := newTurns(weights, total)
	order := make([]int32, total)
	for place := range total {
		turns.release(place)
		i := turns.next()
		order[place] = i
		turns.schedule(i, place+1)
	}
	return order
}

// turns holds the next turn of each candidate: until its first place in a list for that
// place, then in a heap by its last place.
type turns struct {
	weights []int64
	total   int64
	parts   int64    // 2k-2: one part of a turn is e
	done    []int64  // turns taken, by candidate
	starts  []int32  // by place: the first candidate whose turn may begin there, or none
	chain   []int32  // by candidate: the next one of the same list, or none
	open    []uint64 // a binary heap of last place<<32 | candidate
}

const none = -1

func newTurns(weights []int64, total int64) *turns {
	t := &turns{
		weights: weights, total: total, done: make([]int64, len(weights)),
		starts: make([]int32, total), chain: make([]int32, len(weights)), open: make([]uint64, 0, len(weights)),
	}
	for i := range t.starts {
		t.starts[i] = none
	}
	t.parts = -2
	for _, w := range weights {
		if w > 0 {
			t.parts += 2
		}
	}
	for i, w := range weights {
		if w > 0 {
			t.schedule(int32(i), 0)
		}
	}
	return t
}

// schedule puts candidate i's next turn on the list of its first place, or of earliest where
// that is later.
func (t *turns) schedule(i int32, earliest int64) {
	if t.done[i] == t.weights[i] {
		return
	}
	// The due after place p is (p+1)·weight/total; it reaches t+e at the least p such that
	// (p+1)·weight·parts ≥ (t·parts+1)·total.
	reach := (t.done[i]*t.parts + 1) * t.total
	first := max((reach-1)/(t.weights[i]*t.parts), earliest)
	t.chain[i], t.starts[first] = t.starts[first], i
}

// release moves the turns that may begin at a place to the heap.
func (t *turns) release(place int64) {
	for i := t.starts[place]; i != none; i = t.chain[i] {
		// The greatest p+1 at which the due does not exceed t+1-e yet.
		t.done[i]++
		last := (t.done[i]*t.parts - 1) * t.total / (t.weights[i] * t.parts)
		t.push(uint64(last)<<32 | uint64(i))
	}
}

// next takes the turn that must come first; of equals, that of the lowest index.
func (t *turns) next() int32 { return int32(t.pop() & math.MaxUint32) }

func (t *turns) push(key uint64) {
	h := append(t.open, key)
	at := len(h) - 1
	for at > 0 {
		parent := (at - 1) / 2
		if h[parent] <= key {
			break
		}
		h[at], at = h[parent], parent
	}
	h[at] = key
	t.open = h
}

func (t *turns) pop() uint64 {
	h := t.open
	top, key := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	at := 0
	for {
		child := 2*at + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if key <= h[child] {
			break
		}
		h[at], at = h[child], child
	}
	if len(h) > 0 {
		h[at] = key
	}
	t.open = h
	return top
}
