package conformance

// cases_delete.go: Delete, and what its tombstone forbids.

import (
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var deleteCases = []scenario{
	{
		id:          "delete/tombstone",
		requirement: "Delete removes a record and atomically leaves a tombstone; the answer is the record as it was removed, at the revision of its removal.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			st := s.follow(s.second())
			for i, cause := range []core.Cause{core.CauseDeregistered, core.CauseOperator, core.CauseCritical, core.CauseExpired, core.CauseOrphan} {
				rec := s.create(s.host, record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID))
				d := removal(rec)
				d.Cause, d.Actor, d.Reason = cause, "token \"ops\"", "näm „"+string(cause)+"“\n<&>"
				came := s.done(s.second(), remove(d))
				s.must(came.Revision.After(rec.Revision), "a later revision than "+show(rec.Revision), came)
				s.mustEqual(came, asStored(*rec, came.Revision), "the answer")
				want := ports.Tombstone{
					Key: rec.Key, Generation: rec.Generation, Session: rec.Session, Cause: cause,
					Actor: d.Actor, Reason: d.Reason, Revision: came.Revision,
				}
				tomb := s.gone(s.host, rec.Key)
				s.must(tomb != nil && *tomb == want, show(&want)+" from Get", tomb)
				st.through(came.Revision)
				s.must(st.deleted[rec.Key] != nil && *st.deleted[rec.Key] == want, show(&want)+" from the stream", st.deleted[rec.Key])
			}
		},
	},
	{
		id:          "delete/absent",
		requirement: "Delete of what is absent gives ErrNotFound, with the tombstone where there is one, which a retry takes for success and leaves as it is.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			came := s.done(s.host, remove(removal(rec)))
			again := removal(rec)
			again.Cause, again.Actor, again.Reason = core.CauseOperator, "somebody", "too late"
			for range 2 {
				res := s.refused(s.second(), remove(again), ports.ErrNotFound)
				s.must(res.Record == nil && res.Tombstone != nil && res.Tombstone.Generation == rec.Generation &&
					res.Tombstone.Actor == "owner" && res.Tombstone.Revision == came.Revision, "the first deletion's tombstone", res)
			}
			again.Key = key("svc", "never")
			res := s.refused(s.host, remove(again), ports.ErrNotFound)
			s.check(res.Record == nil && res.Tombstone == nil, "nothing with it", res)
			tomb := s.gone(s.host, again.Key)
			s.check(tomb == nil, "no tombstone of what never was", tomb)
		},
	},
	{
		id:          "delete/preconditions",
		requirement: "Delete of another generation, of another session when Session is set, or of another revision when IfRevision is set, gives ErrConflict with the record.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), sess.ID))
			s.guarded(rec, func(g guard) ports.Mutation {
				return remove(ports.Delete{
					Key: rec.Key, Generation: g.generation, Session: g.session, IfRevision: g.revision, Cause: core.CauseExpired,
				})
			})
			d := removal(rec)
			d.Session, d.IfRevision = rec.Session, rec.Revision
			s.done(s.second(), remove(d))
			s.gone(s.host, rec.Key)
		},
	},
	{
		id:          "delete/other-records-stay",
		requirement: "Delete removes the record of its key alone, also where the ends of names make keys look alike.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			var recs []*ports.Record
			for _, k := range lookalikes {
				recs = append(recs, s.create(s.host, record(k, sess.ID)))
			}
			for i, rec := range recs {
				s.done(s.second(), remove(removal(rec)))
				for n, found := range s.get(s.host, lookalikes...) {
					if n <= i {
						s.must(found.Record == nil, fmt.Sprintf("%s is gone", lookalikes[n]), found)
					} else {
						s.mustEqual(found.Record, recs[n], fmt.Sprintf("after the removal of %s, Get of %s", rec.Key, lookalikes[n]))
					}
				}
			}
		},
	},
}

var tombstoneCases = []scenario{
	{
		id:          "tombstone/blocks-deregistered",
		requirement: "Where the key is absent and has a tombstone, MayCreate decides: an owner cut off does not undo a deletion, and gets ErrConflict with the tombstone. A newer generation may create.",
		run: func(s *scene) {
			sess, other := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			for i, cause := range []core.Cause{core.CauseDeregistered, core.CauseOperator, core.CauseCritical} {
				rec := s.create(s.host, record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID))
				d := removal(rec)
				d.Cause = cause
				removed := s.done(s.host, remove(d))
				for _, session := range []ports.SessionID{sess.ID, other.ID} {
					back := *rec
					back.Session = session
					res := s.refused(s.second(), put(back), ports.ErrConflict)
					s.must(res.Tombstone != nil && res.Tombstone.Cause == cause && res.Tombstone.Revision == removed.Revision, "the tombstone that stands in the way", res)
				}
				s.gone(s.host, rec.Key)
				next := record(rec.Key, other.ID)
				next.Generation = rec.Generation.Next()
				s.stands(s.host, s.create(s.second(), next))
			}
		},
	},
	{
		id:          "tombstone/blocks-older",
		requirement: "Where the key is absent and has a tombstone, MayCreate decides: a generation below the tombstone's was superseded, and gets ErrConflict whatever the cause was.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			for i, cause := range []core.Cause{core.CauseDeregistered, core.CauseExpired} {
				rec := record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID)
				rec.Generation = core.Generation{N: 10, Random: "M"}
				d := removal(s.create(s.host, rec))
				d.Cause = cause
				removed := s.done(s.host, remove(d))
				for _, older := range []core.Generation{{N: 9, Random: "Z"}, {N: 10, Random: "L"}, {N: 1, Random: "M"}} {
					rec.Generation = older
					res := s.refused(s.second(), put(rec), ports.ErrConflict)
					s.must(res.Tombstone != nil && res.Tombstone.Revision == removed.Revision, "the tombstone that stands in the way", res)
				}
				s.gone(s.host, rec.Key)
				rec.Generation = core.Generation{N: 10, Random: "N"}
				s.stands(s.host, s.create(s.second(), rec))
			}
		},
	},
	{
		id:          "tombstone/blocks-after-close",
		requirement: "What went with a session that was closed is deregistered: its generation gets ErrConflict.",
		run: func(s *scene) {
			ends, stays := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			rec := s.create(s.host, record(key("svc", "a"), ends.ID))
			err := s.host.CloseSession(s.ctx, ends.ID)
			s.must(err == nil, "the session closes", err)
			back := *rec
			back.Session = stays.ID
			res := s.refused(s.second(), put(back), ports.ErrConflict)
			s.ended(res.Tombstone, rec, core.CauseDeregistered)
		},
	},
	{
		id: "tombstone/after-reopening",
		requirement: "Tombstones, and the ids of sessions that ended, outlast the processes: once all have closed the store and one opens it again, what was refused is refused " +
			"(a store that is its process may have lost all, as its new epoch shows).",
		run: func(s *scene) {
			namespace := s.namespace + "-left"
			b := s.open(namespace)
			opened := []ports.Backend{b}
			if s.info.Capabilities.MultiHost {
				opened = append(opened, s.open(namespace))
			}
			over := s.endings(b)
			for _, b := range opened {
				s.must(b.Close() == nil, "the backend closes", nil)
			}
			again := s.open(namespace)
			epoch := s.create(again, record(key("svc", "fresh"), s.session(again, longTTL).ID)).Revision.Epoch
			if epoch != over.epoch() && !s.info.Capabilities.MultiHost {
				return
			}
			s.must(epoch == over.epoch(), "the epoch "+over.epoch(), epoch)
			s.stayOver(again, over)
		},
	},
	{
		id:          "tombstone/admits-expired",
		requirement: `Where the key is absent and has a tombstone, MayCreate decides: a generation that went with the cause "expired", by Delete or with its session, may be put again by the owner that was cut off.`,
		run: func(s *scene) {
			st := s.follow(s.second())
			stays := s.session(s.host, longTTL)
			deleted := s.create(s.host, record(key("svc", "deleted"), stays.ID))
			fl := s.fleeting(key("svc", "lapsed"))
			lapsed := fl.records[0]
			d := removal(deleted)
			d.Cause = core.CauseExpired
			s.done(s.host, remove(d))
			s.lapsed(st, lapsed, time.Now(), fl.ttl)
			for _, rec := range []*ports.Record{deleted, lapsed} {
				back := *rec
				back.Session = stays.ID
				stored := s.create(s.second(), back)
				s.mustEqual(stored, asStored(back, stored.Revision), "the answer")
				s.must(stored.Revision.After(rec.Revision), "a later revision than "+show(rec.Revision), stored)
				s.stands(s.host, stored)
			}
		},
	},
}

// endings is what must not come back: a record that was deleted, and one that went with its session.
type endings struct {
	records []*ports.Record
	tombs   []ports.Tombstone
	session ports.SessionID
}

func (e endings) epoch() string { return e.tombs[0].Revision.Epoch }

// endings makes some.
func (s *scene) endings(b ports.Backend) endings {
	s.Helper()
	stays, ends := s.session(b, longTTL), s.session(b, longTTL)
	e := endings{session: ends.ID, records: []*ports.Record{
		s.create(b, record(key("svc", "deleted"), stays.ID)), s.create(b, record(key("svc", "left"), ends.ID)),
	}}
	s.done(b, remove(removal(e.records[0])))
	s.must(b.CloseSession(s.ctx, ends.ID) == nil, "the session closes", nil)
	for _, rec := range e.records {
		tomb := s.gone(b, rec.Key)
		s.must(tomb != nil, "a tombstone of "+rec.Key.String(), tomb)
		e.tombs = append(e.tombs, *tomb)
	}
	return e
}

// stayOver asks that they are refused as long as they must be, and no longer.
func (s *scene) stayOver(b ports.Backend, e endings) {
	s.Helper()
	_, err := b.OpenSession(s.ctx, sessionSpec(e.session, longTTL))
	s.mustBe(err, ports.ErrSessionGone, "opening the id of a session that ended")
	s.refused(b, put(record(key("svc", "late"), e.session)), ports.ErrSessionGone)
	s.gone(b, key("svc", "late"))
	sess := s.session(b, longTTL)
	for i, rec := range e.records {
		tomb := s.gone(b, rec.Key)
		s.must(tomb != nil && *tomb == e.tombs[i], show(&e.tombs[i])+" still", tomb)
		back := *rec
		back.Session = sess.ID
		res := s.refused(b, put(back), ports.ErrConflict)
		s.must(res.Tombstone != nil && *res.Tombstone == e.tombs[i], "the tombstone that stands in the way", res)
		back.Generation = rec.Generation.Next()
		s.stands(b, s.create(b, back))
	}
}
