package conformance

// cases_retry.go: what is sent twice, what was given up on its way, and what others write at
// the same time.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
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
	sess := s.session(s.host, longTTL)
	random := s.random(0)
	// How long a write takes here, so that some contexts end before, some in, and some after it.
	began := time.Now()
	for i := range 10 {
		s.create(s.host, record(key("pace", fmt.Sprintf("id-%d", i)), sess.ID))
	}
	usual := time.Since(began) / 10
	unknown := 0
	abandon := func(muts []ports.Mutation) {
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		var waiting sync.WaitGroup
		defer waiting.Wait()
		after := time.Duration(float64(2*usual) * math.Exp2(-8*random.Float64())) // as often far below as near
		waiting.Go(func() {
			timer := time.NewTimer(after)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			cancel()
		})
		results, err := s.host.Apply(ctx, muts)
		if err == nil {
			for i, res := range results {
				if res.Err != nil {
					err = res.Err
				}
				s.must(res.Err == nil || isEnd(res.Err, context.Canceled) || errors.Is(res.Err, ports.ErrContention), describe(muts[i])+" is done or given up", res)
			}
		}
		s.must(err == nil || isEnd(err, context.Canceled) || errors.Is(err, ports.ErrContention), "a call is done, or gives the context's error or ErrUnavailable", err)
		if err != nil {
			unknown++
		}
	}
	const rounds, batch = 24, 4
	for round := range rounds {
		recs := make([]ports.Record, batch)
		creations, keys := make([]ports.Mutation, batch), make([]core.Key, batch)
		for i := range recs {
			recs[i] = record(key("svc", fmt.Sprintf("id-%d-%d", round, i)), sess.ID)
			creations[i], keys[i] = put(recs[i]), recs[i].Key
		}
		abandon(creations)
		for i, found := range s.get(s.second(), keys...) {
			s.must(found.Tombstone == nil, "a record or nothing", found)
			if found.Record != nil {
				s.mustEqual(found.Record, asStored(recs[i], found.Record.Revision), "Get")
			}
		}
		stored := s.doneAll(s.second(), creations)
		for _, rec := range stored {
			s.stands(s.host, rec)
		}

		states := make([]ports.Mutation, batch)
		for i, rec := range stored {
			states[i] = setState(ports.SetState{
				Key: rec.Key, Generation: rec.Generation, At: rec.UpdatedAt.Add(time.Minute),
				Declared: &ports.DeclaredState{Declared: core.DeclaredMaintenance, ByOperator: true, Actor: "ops", Reason: "disk"},
			})
		}
		abandon(states)
		for i, found := range s.get(s.second(), keys...) {
			st := states[i].SetState.Apply(stored[i].State)
			s.must(found.Record != nil && (stateDifference(found.Record.State, stored[i].State) == "" || stateDifference(found.Record.State, st) == ""), "the state before or after", found)
		}
		for i, rec := range s.doneAll(s.second(), states) {
			diff := stateDifference(rec.State, states[i].SetState.Apply(stored[i].State))
			s.must(diff == "", "the state as it was set", diff)
		}

		removals := make([]ports.Mutation, batch)
		for i, rec := range stored {
			removals[i] = remove(removal(rec))
		}
		abandon(removals)
		for i, res := range s.apply(s.second(), removals...) {
			s.must(res.Err == nil || errors.Is(res.Err, ports.ErrNotFound), describe(removals[i])+" is done, or was", res)
			tomb := s.gone(s.host, keys[i])
			s.must(tomb != nil && tomb.Generation == recs[i].Generation && tomb.Reason == "leaving", "the tombstone of the deletion", tomb)
		}
	}
	s.made(Random{Sequences: 1, Operations: 3 * rounds})
	s.Logf("%d of %d calls had an unknown outcome; one takes %s", unknown, 3*rounds, usual)
}
