package consul

// seats.go: which processes watch over the sessions of a namespace: three, however many there
// are. Who holds seat 0 ends sessions as they run out; seats 1 and 2 have timers of their own
// and do the same a little later, where nobody has: the death of a sweeper delays nothing.

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
)

const seatCount = 3

// seats is what one process knows of them. It is not safe for concurrent use.
type seats struct {
	b     *Backend
	id    string // of this process
	stale time.Duration

	held  int    // the seat that we hold, -1 for none
	index uint64 // of our last beat
	beats int
	seen  [seatCount]struct {
		index uint64
		since time.Time
	}
}

func newSeats(b *Backend, stale time.Duration) *seats {
	return &seats{b: b, id: newID(), stale: stale, held: -1}
}

// keep shows that we are alive, and takes the lowest seat that is free or whose holder has not
// moved for a while. An error leaves everything as it is: our seat then goes to another.
func (s *seats) keep(ctx context.Context, now time.Time) error {
	keys := make([]string, seatCount)
	for n := range keys {
		keys[n] = s.b.keys.seat(n)
	}
	pairs, err := s.b.read(ctx, keys...)
	if err != nil {
		return err
	}
	for n, pair := range pairs {
		if s.seen[n].index != pair.ModifyIndex {
			s.seen[n].index, s.seen[n].since = pair.ModifyIndex, now
		}
	}
	if s.held >= 0 && pairs[s.held].ModifyIndex != s.index {
		s.held = -1 // We were away for too long.
	}
	for n, pair := range pairs {
		if n == s.held || pair.ModifyIndex == 0 || now.Sub(s.seen[n].since) >= s.stale {
			return s.take(ctx, n, pair.ModifyIndex)
		}
	}
	return nil
}

// take writes our name on a seat, unless somebody else is faster, and leaves the one that we had.
func (s *seats) take(ctx context.Context, n int, index uint64) error {
	s.beats++
	ops := api.TxnOps{s.b.op(api.KVCAS, s.b.keys.seat(n), fmt.Appendf(nil, `{"v":1,"holder":%q,"beats":%d}`, s.id, s.beats), index)}
	if s.held >= 0 && s.held != n {
		ops = append(ops, s.b.op(api.KVDeleteCAS, s.b.keys.seat(s.held), nil, s.index))
	}
	results, errs, err := s.b.write(ctx, ops)
	if err != nil || len(errs) > 0 {
		return err
	}
	s.held, s.index = n, indexOf(results, s.b.keys.seat(n))
	s.seen[n].index = s.index
	return nil
}

// leave frees our seat at once, for whoever comes next.
func (s *seats) leave(ctx context.Context) {
	if s.held >= 0 {
		_, _, _ = s.b.write(ctx, api.TxnOps{s.b.op(api.KVDeleteCAS, s.b.keys.seat(s.held), nil, s.index)}) // Else it goes stale.
	}
}
