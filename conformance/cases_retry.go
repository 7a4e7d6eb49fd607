package conformance

// cases_retry.go: what is sent twice, what was given up on its way, and what others write at
// the same time.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var retryCases = []scenario{
	{
		id:          "retry/verbatim",
		requirement: "A mutation that was carried out does no harm when it is sent again as it was: it is done, or the refusal shows that it was done.",
		run: func(s *scene) {
			a, b := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			current := s.create(s.host, record(key("svc", "a"), a.ID))
			update := *current
			update.Body = []byte(`{"v":1,"updated":true}`)
			adoption := update
			adoption.Session = b.ID
			next := record(current.Key, b.ID)
			next.Generation = current.Generation.Next()
			state := ports.SetState{
				Key: current.Key, Generation: current.Generation, At: current.UpdatedAt.Add(time.Minute),
				Declared: &ports.DeclaredState{Declared: core.DeclaredStopping, Actor: "owner", Reason: "drain"},
			}
			for _, m := range []ports.Mutation{
				setState(state), replace(update, current.Generation), replace(adoption, current.Generation), replace(next, current.Generation),
			} {
				for _, guarded := range []bool{false, true} {
					if guarded {
						if m.Put != nil && m.Put.Replaces != m.Put.Record.Generation {
							break // a take-over knows its own retry, see put/retry
						}
						guardBy(&m, current.Revision)
					}
					current = s.done(s.host, m)
					res := s.one(s.second(), m)
					if guarded {
						s.mustBe(res.Err, ports.ErrConflict, "again, "+describe(m))
					} else {
						s.must(res.Err == nil, "again, "+describe(m)+" is done", res)
					}
					s.must(res.Record != nil && res.Record.Session == current.Session && res.Record.State == current.State &&
						string(res.Record.Body) == string(current.Body), "the answer shows "+show(current), res)
					current = res.Record
					s.stands(s.host, current)
				}
			}
			removed := s.done(s.host, remove(removal(current)))
			res := s.refused(s.second(), remove(removal(current)), ports.ErrNotFound)
			s.must(res.Tombstone != nil && res.Tombstone.Generation == current.Generation && res.Tombstone.Revision == removed.Revision, "the tombstone shows the deletion", res)
			s.refused(s.second(), put(next), ports.ErrConflict) // the creation of long ago brings nothing back
			s.gone(s.host, current.Key)
		},
	},
	{
		id:          "retry/unknown-outcome",
		requirement: "A write whose context ended on its way was carried out as a whole or not at all, as Get shows; sent again, it is there once.",
		run:         unknownOutcomes,
	},
	{
		id:          "retry/status-against-update",
		requirement: "A status and an update that are written at the same time both stand: neither loses the other.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			hosts := []ports.Backend{s.host, s.second()}
			for i := range 60 {
				update := *rec
				update.Body = fmt.Appendf(nil, `{"v":1,"write":%d}`, i)
				muts := []ports.Mutation{
					setState(ports.SetState{
						Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt.Add(time.Duration(i) * time.Second),
						Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: i},
					}),
					replace(update, rec.Generation),
				}
				if i%2 == 1 { // each comes first as often
					slices.Reverse(muts)
				}
				results, errs := make([][]ports.MutationResult, 2), make([]error, 2)
				together(2, func(side int) { results[side], errs[side] = applyAll(s.ctx, hosts[side], muts[side:side+1]) })
				s.must(errors.Join(errs...) == nil, "both calls are answered", errors.Join(errs...))
				for side, m := range muts {
					s.must(results[side][0].Err == nil, describe(m)+" is done", results[side][0])
				}
				found := s.get(s.host, rec.Key)[0].Record
				s.must(found != nil, "the record", found)
				s.must(found.State.Streak == i && bytes.Equal(found.Body, update.Body), fmt.Sprintf("streak %d and the body %s", i, update.Body),
					fmt.Sprintf("streak %d and the body %s", found.State.Streak, found.Body))
			}
		},
	},
}

// guardBy adds a precondition on the revision.
func guardBy(m *ports.Mutation, r core.Revision) {
	switch {
	case m.Put != nil:
		m.Put = new(*m.Put)
		m.Put.IfRevision = r
	case m.SetState != nil:
		m.SetState = new(*m.SetState)
		m.SetState.IfRevision = r
	case m.Delete != nil:
		m.Delete = new(*m.Delete)
		m.Delete.IfRevision = r
	}
}

// unknownOutcomes gives up writes at odd moments, looks, and sends them again.
func unknownOutcomes(s *scene) {
	const rounds, batch = 24, 4
	sess, other := s.session(s.host, longTTL), s.session(s.second(), longTTL)
	a := &abandoner{s: s, random: s.random(0), patience: 10 * time.Millisecond}
	for round := range rounds {
		creations := make([]ports.Mutation, batch)
		keys := make([]core.Key, batch)
		for i := range creations {
			keys[i] = key("svc", fmt.Sprintf("id-%d-%d", round, i))
			creations[i] = put(record(keys[i], sess.ID))
		}
		stored := a.sends(creations, make([]*ports.Record, batch))
		// What an owner and an operator do to a record, each on top of what was there.
		for _, change := range []func(rec ports.Record) ports.Mutation{
			func(rec ports.Record) ports.Mutation {
				return setState(ports.SetState{
					Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt.Add(time.Minute),
					Declared: &ports.DeclaredState{Declared: core.DeclaredMaintenance, ByOperator: true, Actor: "ops", Reason: "disk"},
				})
			},
			func(rec ports.Record) ports.Mutation { // an adoption, with an update
				rec.Session, rec.Owner, rec.Body = other.ID, "adopter", []byte(`{"v":1,"adopted":true}`)
				return replace(rec, rec.Generation)
			},
			func(rec ports.Record) ports.Mutation { // a take-over
				next := record(rec.Key, sess.ID)
				next.Generation, next.Owner, next.Body = rec.Generation.Next(), "newcomer", []byte(`{"v":1,"taken":true}`)
				return replace(next, rec.Generation)
			},
		} {
			muts := make([]ports.Mutation, batch)
			for i, rec := range stored {
				muts[i] = change(*rec)
			}
			stored = a.sends(muts, stored)
		}
		removals := make([]ports.Mutation, batch)
		for i, rec := range stored {
			removals[i] = remove(removal(rec))
		}
		a.abandon(removals)
		for i, res := range s.apply(s.second(), removals...) {
			s.must(res.Err == nil || errors.Is(res.Err, ports.ErrNotFound), describe(removals[i])+" is done, or was", res)
			tomb := s.gone(s.host, keys[i])
			s.must(tomb != nil && tomb.Generation == stored[i].Generation && tomb.Reason == "leaving", "the tombstone of the deletion", tomb)
		}
	}
	s.made(Random{Sequences: 1, Operations: a.calls})
	s.Logf("%d of %d calls had an unknown outcome, %d of which had been carried out in part or as a whole", a.unknown, a.calls, a.carriedOut)
	s.must(a.unknown > 0 && a.unknown < a.calls, "some calls are given up on their way, others are done", fmt.Sprintf("%d of %d were given up", a.unknown, a.calls))
}

// abandoner gives up calls. Its patience follows what they take: it grows with each that was
// given up, and falls with each that was done.
type abandoner struct {
	s                          *scene
	random                     *rand.Rand
	patience                   time.Duration
	calls, unknown, carriedOut int
}

// abandon sends mutations and gives up, or comes too late for that.
func (a *abandoner) abandon(muts []ports.Mutation) (unknown bool) {
	a.s.Helper()
	ctx, cancel := context.WithCancel(a.s.ctx)
	defer cancel()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	after := time.Duration(float64(2*a.patience) * math.Exp2(-4*a.random.Float64())) // as often far below as near
	waiting.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		cancel()
	})
	if after < 10*time.Microsecond { // no timer is as quick as that
		cancel()
	}
	results, err := a.s.host.Apply(ctx, muts)
	if err == nil {
		for i, res := range results {
			if res.Err != nil {
				err = res.Err
			}
			a.s.must(res.Err == nil || isEnd(res.Err, context.Canceled) || errors.Is(res.Err, ports.ErrContention), describe(muts[i])+" is done or given up", res)
		}
	}
	a.s.must(err == nil || isEnd(err, context.Canceled) || errors.Is(err, ports.ErrContention), "a call is done, or gives the context's error or ErrUnavailable", err)
	a.calls++
	if err == nil {
		a.patience /= 2
		return false
	}
	a.unknown++
	a.patience = max(2*a.patience, 20*time.Microsecond)
	return true
}

// sends abandons writes of records (nil: of none), asks that each is what it was or what it
// shall be, and sends them again.
func (a *abandoner) sends(muts []ports.Mutation, before []*ports.Record) []*ports.Record {
	a.s.Helper()
	keys, want := make([]core.Key, len(muts)), make([]*ports.Record, len(muts))
	for i, m := range muts {
		next, refusal := place{record: before[i]}.foresee(m, true)
		a.s.must(refusal == nil, describe(m)+" can be done", refusal)
		keys[i], want[i] = m.Key(), next.record
	}
	unknown := a.abandon(muts)
	carriedOut := false
	for i, found := range a.s.get(a.s.second(), keys...) {
		a.s.must(found.Tombstone == nil, "no tombstone", found)
		// Revisions are not asked for: what was given up may be carried out once more, at any time.
		unchanged := found.Record == nil && before[i] == nil ||
			found.Record != nil && before[i] != nil && difference(found.Record, asStored(*before[i], found.Record.Revision)) == ""
		if !unchanged {
			carriedOut = unknown
			a.s.must(found.Record != nil, "a record after "+describe(muts[i]), found)
			a.s.mustEqual(found.Record, asStored(*want[i], found.Record.Revision), "Get after "+describe(muts[i]))
		}
	}
	if carriedOut {
		a.carriedOut++
	}
	stored := a.s.doneAll(a.s.second(), muts)
	for i, rec := range stored {
		a.s.mustEqual(rec, asStored(*want[i], rec.Revision), "the answer to "+describe(muts[i]))
		found := a.s.get(a.s.host, rec.Key)[0].Record
		a.s.must(found != nil && !rec.Revision.After(found.Revision), show(rec)+" is stored", found)
		a.s.mustEqual(found, asStored(*rec, found.Revision), "Get of "+rec.Key.String())
	}
	return stored
}
