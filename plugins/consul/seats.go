package consul

// seats.go: which processes watch over the sessions of a namespace: three, however many there
// are. Who holds seat 0 ends sessions as they run out; seats 1 and 2 have timers of their own
// and do the same a little later, where nobody has: the death of a sweeper delays nothing.

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

// seatJSON is what stands at a seat.
type seatJSON struct {
	V      int    `json:"v"`
	Holder string `json:"holder"`
	Beats  int    `json:"beats"`
}

// keep shows that we are alive, and takes the lowest seat that is free or whose holder has not
// moved for a while. After an error the next call finds out what came of it.
func (s *seats) keep(ctx context.Context, now time.Time) error {
	pairs, err := s.find(ctx)
	if err != nil {
		return err
	}
	for n, pair := range pairs {
		if s.seen[n].index != pair.ModifyIndex {
			s.seen[n].index, s.seen[n].since = pair.ModifyIndex, now
		}
	}
	for n, pair := range pairs {
		if n == s.held || pair.ModifyIndex == 0 || now.Sub(s.seen[n].since) >= s.stale {
			return s.take(ctx, n, pair.ModifyIndex)
		}
	}
	return nil
}

// find reads the seats, and which of them is ours: what we wrote may stand though its answer was
// lost, and while we were away for long another may have taken it.
func (s *seats) find(ctx context.Context) ([]*api.KVPair, error) {
	keys := make([]string, seatCount)
	for n := range keys {
		keys[n] = s.b.keys.seat(n)
	}
	pairs, err := s.b.read(ctx, keys...)
	if err != nil {
		return nil, err
	}
	s.held = slices.IndexFunc(pairs, func(pair *api.KVPair) bool {
		var j seatJSON
		return json.Unmarshal(pair.Value, &j) == nil && j.Holder == s.id // Nothing is no JSON.
	})
	if s.held >= 0 {
		s.index = pairs[s.held].ModifyIndex
	}
	return pairs, nil
}

// take writes our name on a seat, unless somebody else is faster, and leaves the one that we had.
func (s *seats) take(ctx context.Context, n int, index uint64) error {
	s.beats++
	value, err := json.Marshal(seatJSON{V: 1, Holder: s.id, Beats: s.beats})
	if err != nil {
		return fmt.Errorf("encode a seat: %w", err)
	}
	ops := api.TxnOps{s.b.op(api.KVCAS, s.b.keys.seat(n), value, index)}
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

// leave frees our seat at once, for whoever comes next. What fails goes stale.
func (s *seats) leave(ctx context.Context) {
	if _, err := s.find(ctx); err == nil && s.held >= 0 {
		_, _, _ = s.b.write(ctx, api.TxnOps{s.b.op(api.KVDeleteCAS, s.b.keys.seat(s.held), nil, s.index)})
	}
}
