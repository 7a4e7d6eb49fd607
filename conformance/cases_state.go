package conformance

// cases_state.go: SetState.

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var setStateCases = []scenario{
	{
		id:          "state/parts",
		requirement: "SetState changes the declared part, the observed part, or both, and nothing else.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := record(key("svc", "a"), sess.ID)
			rec.State.ByOperator, rec.State.Reason = true, "as put"
			want := *s.create(s.host, rec)
			for i, c := range []ports.SetState{
				{Declared: &ports.DeclaredState{Declared: core.DeclaredMaintenance, ByOperator: true, Actor: "ops", Reason: "disk"}},
				{Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 7}},
				{
					Declared: &ports.DeclaredState{Declared: core.DeclaredUp, Actor: "owner"},
					Observed: &ports.ObservedState{Observed: core.ObservedUnhealthy, Streak: -3},
				},
			} {
				c.Key, c.Generation, c.At = rec.Key, rec.Generation, rec.UpdatedAt.Add(time.Duration(i+1)*time.Minute)
				want.State = c.Apply(want.State)
				came := s.done(s.second(), setState(c))
				s.must(came.Revision.After(want.Revision), "a later revision than "+show(want.Revision), came)
				want.Revision = came.Revision
				s.mustEqual(came, &want, "the answer")
				s.stands(s.host, &want)
			}
		},
	},
	{
		id:          "state/parts-at-once",
		requirement: "A declared part and an observed part that are written at the same time, as by a drain and a check, both stand, and so does what the owner updates meanwhile: none loses another.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			hosts := []ports.Backend{s.host, s.second()}
			for i := range 60 {
				at := rec.UpdatedAt.Add(time.Duration(i) * time.Second)
				declared := &ports.DeclaredState{Declared: core.DeclaredStopping, Actor: "owner", Reason: fmt.Sprintf("drain %d", i)}
				update := *rec
				update.Body = fmt.Appendf(nil, `{"v":1,"write":%d}`, i)
				muts := []ports.Mutation{
					setState(ports.SetState{Key: rec.Key, Generation: rec.Generation, At: at, Declared: declared}),
					setState(ports.SetState{Key: rec.Key, Generation: rec.Generation, At: at, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: i}}),
					replace(update, rec.Generation),
				}
				results, errs := make([][]ports.MutationResult, len(muts)), make([]error, len(muts))
				together(len(muts), func(n int) {
					which := (n + i) % len(muts) // each comes first as often
					results[which], errs[which] = applyAll(s.ctx, hosts[(which+i/len(muts))%2], muts[which:which+1])
				})
				s.must(errors.Join(errs...) == nil, "all calls are answered", errors.Join(errs...))
				for which, m := range muts {
					s.must(results[which][0].Err == nil, describe(m)+" is done", results[which][0])
				}
				found := s.get(s.second(), rec.Key)[0].Record
				s.must(found != nil, "the record", found)
				s.must(found.State.Reason == declared.Reason && found.State.Streak == i && bytes.Equal(found.Body, update.Body),
					fmt.Sprintf("the reason %q, streak %d and the body %s", declared.Reason, i, update.Body),
					fmt.Sprintf("the reason %q, streak %d and the body %s", found.State.Reason, found.State.Streak, found.Body))
			}
		},
	},
	{
		id:          "state/changed-at",
		requirement: "SetState.At becomes State.ChangedAt when a fact changes, and only then.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			later := rec.UpdatedAt.Add(time.Hour)
			came := s.done(s.host, setState(ports.SetState{
				Key: rec.Key, Generation: rec.Generation, At: later,
				Observed: &ports.ObservedState{Observed: rec.State.Observed, Streak: 5},
			}))
			s.must(came.State.ChangedAt.Equal(rec.State.ChangedAt) && came.State.Streak == 5, "the streak alone changes, as of "+rec.State.ChangedAt.String(), came.State)
			came = s.done(s.host, setState(ports.SetState{
				Key: rec.Key, Generation: rec.Generation, At: later, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 6},
			}))
			s.must(came.State.ChangedAt.Equal(later), "changed at "+later.String(), came.State)
		},
	},
	{
		id:          "state/absent",
		requirement: "SetState of what is absent gives ErrNotFound, with the tombstone where there is one; it never brings a record back.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			c := ports.SetState{Declared: &ports.DeclaredState{Declared: core.DeclaredUp, ByOperator: true, Actor: "ops"}}
			c.Key, c.Generation = key("svc", "never"), core.Generation{N: 1, Random: "x"}
			res := s.refused(s.host, setState(c), ports.ErrNotFound)
			s.check(res.Record == nil && res.Tombstone == nil, "nothing with it", res)
			s.gone(s.host, c.Key)

			rec := s.create(s.host, record(key("svc", "deleted"), sess.ID))
			s.done(s.host, remove(removal(rec)))
			c.Key, c.Generation = rec.Key, rec.Generation
			res = s.refused(s.second(), setState(c), ports.ErrNotFound)
			s.check(res.Tombstone != nil && res.Tombstone.Generation == rec.Generation, "the tombstone with it", res)
			s.gone(s.host, rec.Key)
		},
	},
	{
		id:          "state/preconditions",
		requirement: "SetState of another generation, of another session when Session is set, or of another revision when IfRevision is set, gives ErrConflict with the record.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			s.guarded(rec, func(g guard) ports.Mutation {
				return setState(ports.SetState{
					Key: rec.Key, Generation: g.generation, Session: g.session, IfRevision: g.revision,
					Observed: &ports.ObservedState{Observed: core.ObservedUnhealthy, Streak: -1},
				})
			})
			observe := func(session ports.SessionID, at core.Revision) ports.Mutation {
				return setState(ports.SetState{
					Key: rec.Key, Generation: rec.Generation, Session: session, IfRevision: at,
					Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1},
				})
			}
			rec = s.done(s.second(), observe("", core.Revision{}))
			rec = s.done(s.second(), observe(sess.ID, core.Revision{}))
			rec = s.done(s.second(), observe("", rec.Revision))
			s.done(s.second(), observe(sess.ID, rec.Revision))
		},
	},
}

// guard is the preconditions that SetState and Delete share.
type guard struct {
	generation core.Generation
	session    ports.SessionID
	revision   core.Revision
}

// guarded asks that each precondition that does not hold gives ErrConflict with the record,
// and changes nothing.
func (s *scene) guarded(rec *ports.Record, mutation func(g guard) ports.Mutation) {
	s.Helper()
	ok := guard{generation: rec.Generation, session: rec.Session, revision: rec.Revision}
	for _, change := range []func(g *guard){
		func(g *guard) { g.generation = rec.Generation.Next() },
		func(g *guard) {
			g.generation = core.Generation{N: rec.Generation.N, Random: rec.Generation.Random + "x"}
		},
		func(g *guard) { g.generation = core.Generation{N: rec.Generation.N + 1, Random: rec.Generation.Random} },
		func(g *guard) { g.session = newSessionID() },
		func(g *guard) { g.revision.N++ },
		func(g *guard) { g.revision.N-- },
		func(g *guard) { g.revision.Epoch += "x" },
	} {
		wrong := ok
		change(&wrong)
		res := s.refused(s.second(), mutation(wrong), ports.ErrConflict)
		s.mustEqual(res.Record, rec, "the conflict")
		s.stands(s.host, rec)
	}
}
