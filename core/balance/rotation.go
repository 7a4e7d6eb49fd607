package balance

// rotation.go: the pickers that go round a fixed order.

import "sync/atomic"

// cacheLine keeps the counter of a rotation, which every pick writes, away from what every
// pick only reads; 128 bytes suit processors that fetch lines in pairs.
type cacheLine [128]byte

// rotation picks by going round an order. Its state is one counter, so that any number of
// goroutines together get the exact order.
type rotation struct {
	built
	order []int32
	_     cacheLine
	turn  atomic.Uint64
	_     cacheLine
}

func newRotation(from built, order []int32, random func() uint64) *rotation {
	r := &rotation{built: from, order: order}
	if len(order) > 0 {
		r.turn.Store(random() % uint64(len(order)))
	}
	return r
}

// Bytes implements Picker.
func (r *rotation) Bytes() int { return r.built.Bytes() + indexBytes*len(r.order) }

// Pick implements Picker.
func (r *rotation) Pick(string) int {
	if len(r.order) == 0 {
		return none
	}
	return int(r.order[(r.turn.Add(1)-1)%uint64(len(r.order))])
}
