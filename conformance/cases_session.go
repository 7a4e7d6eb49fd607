package conformance

// cases_session.go: Info, Health, and sessions that nobody waits for. Those that run out are
// in cases_expiry.go.

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var infoCases = []scenario{
	{
		id:          "info/static",
		requirement: "Info describes the backend; it is static and does no I/O.",
		run: func(s *scene) {
			s.check(s.info.Name != "" && s.info.Version != "", "a name and a version", s.info)
			s.check(s.info.Limits.MaxExpiryDelay > 0 && s.info.Limits.MinSessionTTL > 0, "limits above zero", s.info.Limits)
			again := s.open(s.namespace + "-again")
			s.check(again.Info() == s.info, fmt.Sprintf("another namespace has the same Info %+v", s.info), again.Info())
			s.must(again.Close() == nil, "the backend closes", nil)
			s.check(again.Info() == s.info, "Info is the same after Close", again.Info())
		},
	},
	{
		id:          "info/health",
		requirement: "Health is nil when the store can be reached and written to, now.",
		run: func(s *scene) {
			err := s.host.Health(s.ctx)
			s.must(err == nil, "nil from a store that serves", err)
		},
	},
}

var sessionCases = []scenario{
	{
		id:          "session/open-grants",
		requirement: "OpenSession grants spec.TTL or more: MinSessionTTL, and whole seconds above it, as asked, parts of a second at most rounded up, and what is shorter at most as MinSessionTTL.",
		run: func(s *scene) {
			least := max(time.Second, s.info.Limits.MinSessionTTL)
			for _, ttl := range []time.Duration{time.Second, least, 15 * time.Second, 7500 * time.Millisecond, time.Hour} {
				most := max(ttl, least)
				if part := ttl % time.Second; ttl > least && part > 0 {
					most += time.Second - part
				}
				id := newSessionID()
				sess, err := s.host.OpenSession(s.ctx, sessionSpec(id, ttl))
				s.must(err == nil, "a session of "+ttl.String()+" is opened", err)
				s.check(sess.ID == id && sess.TTL >= ttl && sess.TTL <= most, fmt.Sprintf("session %s of %s to %s", id, ttl, most), sess)
				s.must(s.host.CloseSession(s.ctx, id) == nil, "the session closes", nil)
			}
		},
	},
	{
		id:          "session/open-invalid",
		requirement: "A session has a TTL of 1 s or more and an id of 1–128 of a-z A-Z 0-9 . _ -: else ErrInvalid.",
		run: func(s *scene) {
			for _, spec := range []ports.SessionSpec{
				sessionSpec(newSessionID(), 0), sessionSpec(newSessionID(), -time.Second), sessionSpec(newSessionID(), time.Second-time.Millisecond),
				sessionSpec("", longTTL), sessionSpec("a/b", longTTL), sessionSpec("-a", longTTL), sessionSpec("a b", longTTL),
				sessionSpec(ports.SessionID(strings.Repeat("s", core.MaxName+1)), longTTL),
			} {
				_, err := s.host.OpenSession(s.ctx, spec)
				s.mustBe(err, ports.ErrInvalid, fmt.Sprintf("a session %q of %s", spec.ID, spec.TTL))
			}
			for _, id := range []ports.SessionID{"s", ports.SessionID(strings.Repeat("s", core.MaxName))} {
				_, err := s.host.OpenSession(s.ctx, sessionSpec(id, longTTL))
				s.must(err == nil, fmt.Sprintf("a session with an id of %d bytes is opened", len(id)), err)
				rec := s.create(s.host, record(key(strings.Repeat("n", core.MaxName), string(id)), id))
				s.must(s.host.CloseSession(s.ctx, id) == nil, "the session closes", nil)
				s.allGone(s.host, []*ports.Record{rec}, core.CauseDeregistered)
			}
		},
	},
	{
		id:          "session/reopen",
		requirement: "Opening an id that is open succeeds and answers with what is granted; its records stay.",
		run: func(s *scene) {
			first := s.session(s.host, longTTL)
			rec := s.create(s.host, record(key("svc", "a"), first.ID))
			for _, b := range []ports.Backend{s.host, s.second()} {
				again, err := b.OpenSession(s.ctx, sessionSpec(first.ID, longTTL))
				s.must(err == nil && again == first, fmt.Sprintf("%+v again", first), again, err)
			}
			s.stands(s.host, rec)
		},
	},
	{
		id:          "session/reopen-at-once",
		requirement: "OpenSession is idempotent and safe for concurrent use: all who open one id get the same session.",
		run: func(s *scene) {
			id := newSessionID()
			hosts := []ports.Backend{s.host, s.second()}
			granted, errs := make([]ports.Session, 8), make([]error, 8)
			var group sync.WaitGroup
			for i := range granted {
				group.Go(func() { granted[i], errs[i] = hosts[i%2].OpenSession(s.ctx, sessionSpec(id, longTTL)) })
			}
			group.Wait()
			for i := range granted {
				s.must(errs[i] == nil && granted[i] == granted[0] && granted[i].ID == id, "every call opens the session", granted[i], errs[i])
			}
			s.must(s.host.CloseSession(s.ctx, id) == nil, "the session closes", nil)
		},
	},
	{
		id:          "session/renew",
		requirement: "RenewSessions answers in the order of the ids; a session that has ended, or never was, is Gone.",
		run: func(s *scene) {
			open := s.session(s.host, longTTL)
			ended := s.session(s.host, longTTL)
			err := s.host.CloseSession(s.ctx, ended.ID)
			s.must(err == nil, "the session closes", err)
			never := newSessionID()
			for _, b := range []ports.Backend{s.host, s.second()} {
				ids := []ports.SessionID{never, open.ID, ended.ID, open.ID}
				res, err := b.RenewSessions(s.ctx, ids)
				s.must(err == nil && len(res) == len(ids), "a result for each of 4 ids", res, err)
				for i, r := range res {
					want := ports.RenewResult{ID: ids[i], Gone: true}
					if ids[i] == open.ID {
						want = ports.RenewResult{ID: open.ID, TTL: open.TTL}
					}
					s.check(r == want, fmt.Sprintf("result %d is %+v", i, want), r)
				}
			}
			res, err := s.host.RenewSessions(s.ctx, nil)
			s.check(err == nil && len(res) == 0, "nothing for no ids", res, err)
		},
	},
	{
		id:          "session/renew-many",
		requirement: "RenewSessions takes MaxBatch ids; more are ErrInvalid.",
		run: func(s *scene) {
			ids := make([]ports.SessionID, ports.MaxBatch)
			for i := range ids {
				ids[i] = newSessionID()
			}
			for _, i := range []int{0, 100, ports.MaxBatch - 1} {
				ids[i] = s.session(s.host, longTTL).ID
			}
			res, err := s.host.RenewSessions(s.ctx, ids)
			s.must(err == nil && len(res) == len(ids), fmt.Sprintf("%d results", len(ids)), len(res), err)
			for i, r := range res {
				isOpen := i == 0 || i == 100 || i == ports.MaxBatch-1
				s.check(r.ID == ids[i] && r.Gone != isOpen, fmt.Sprintf("id %d in its place, gone: %v", i, !isOpen), r)
			}
			_, err = s.host.RenewSessions(s.ctx, append(ids, newSessionID()))
			s.mustBe(err, ports.ErrInvalid, fmt.Sprintf("renewing %d ids", len(ids)+1))
		},
	},
	{
		id:          "session/close",
		requirement: `CloseSession ends a session; its records go with the cause "deregistered". Closing a session that is gone succeeds.`,
		run: func(s *scene) {
			stays, ends := s.session(s.host, longTTL), s.session(s.host, longTTL)
			other := s.create(s.host, record(key("svc", "other"), stays.ID))
			var recs []*ports.Record
			for i := range 20 {
				recs = append(recs, s.create(s.host, record(key(fmt.Sprintf("svc-%d", i%3), fmt.Sprintf("id-%d", i)), ends.ID)))
			}
			st := s.follow(s.second())
			for range 2 {
				err := s.host.CloseSession(s.ctx, ends.ID)
				s.must(err == nil, "the session closes, and closes again", err)
			}
			st.fence(s.host)
			for _, rec := range recs {
				s.ended(s.gone(s.second(), rec.Key), rec, core.CauseDeregistered)
				s.ended(st.deleted[rec.Key], rec, core.CauseDeregistered)
			}
			s.stands(s.host, other)
			err := s.host.CloseSession(s.ctx, newSessionID())
			s.check(err == nil, "closing a session that never was succeeds", err)
		},
	},
	{
		id:          "session/close-is-complete",
		requirement: "When CloseSession returns nil, no later Get or list from any process finds a record of the session.",
		run: func(s *scene) {
			for range 5 {
				sess := s.session(s.host, longTTL)
				var muts []ports.Mutation
				for i := range ports.MaxBatch {
					muts = append(muts, put(record(key(fmt.Sprintf("svc-%d", i%7), fmt.Sprintf("id-%d-%s", i, sess.ID)), sess.ID)))
				}
				s.doneAll(s.host, muts)
				err := s.host.CloseSession(s.ctx, sess.ID)
				s.must(err == nil, "the session closes", err)
				listed := s.list(s.second()).records
				s.must(len(listed) == 0, "no record in a list", len(listed))
				for i, found := range s.get(s.second(), keysOf(muts)...) {
					s.must(found.Record == nil, muts[i].Key().String()+" is gone", found)
				}
			}
		},
	},
	{
		id:          "session/close-large",
		requirement: `CloseSession of a session of 1,000 records is as complete as any: when it returns nil they are gone, each with the cause "deregistered".`,
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			recs := s.doneAll(s.host, largeSession(sess.ID))
			st := s.follow(s.second())
			began := time.Now()
			for _, patience := range []time.Duration{time.Millisecond, 4 * time.Millisecond, 16 * time.Millisecond} { // given up half-way
				call, cancel := context.WithTimeout(s.ctx, patience)
				err := s.host.CloseSession(call, sess.ID)
				cancel()
				s.must(err == nil || isEnd(err, context.DeadlineExceeded), "the session closes, or the call gives the context's error", err)
			}
			err := s.host.CloseSession(s.ctx, sess.ID)
			s.must(err == nil, "the session closes", err)
			s.Logf("%d records closed in %s", len(recs), time.Since(began).Round(time.Millisecond))
			listed := s.list(s.second()).records
			s.must(len(listed) == 0, "no record in a list", len(listed))
			s.allGone(s.second(), recs, core.CauseDeregistered)
			st.fence(s.host)
			for _, rec := range recs {
				s.ended(st.deleted[rec.Key], rec, core.CauseDeregistered)
			}
		},
	},
	{
		id:          "session/ended-never-again",
		requirement: "The id of a session that ended is refused for EndedSessionLife: OpenSession and Put give ErrSessionGone, and nothing is written.",
		run: func(s *scene) {
			sess := s.session(s.host, longTTL)
			err := s.host.CloseSession(s.ctx, sess.ID)
			s.must(err == nil, "the session closes", err)
			for _, b := range []ports.Backend{s.host, s.second()} {
				_, err = b.OpenSession(s.ctx, sessionSpec(sess.ID, longTTL))
				s.mustBe(err, ports.ErrSessionGone, "opening the id of a session that ended")
				rec := record(key("svc", "a"), sess.ID)
				s.refused(b, put(rec), ports.ErrSessionGone)
				tomb := s.gone(b, rec.Key)
				s.check(tomb == nil, "no trace of the Put", tomb)
			}
		},
	},
	{
		id:          "session/moved-records-stay",
		requirement: "A record that was adopted or taken over belongs to its new session: the end of the old one leaves it.",
		run: func(s *scene) {
			from, to := s.session(s.host, longTTL), s.session(s.second(), longTTL)
			adopted := s.create(s.host, record(key("svc", "adopted"), from.ID))
			moved := *adopted
			moved.Session = to.ID
			adopted = s.done(s.second(), replace(moved, adopted.Generation))
			old := s.create(s.host, record(key("svc", "taken"), from.ID))
			next := record(old.Key, to.ID)
			next.Generation = old.Generation.Next()
			taken := s.done(s.second(), replace(next, old.Generation))
			left := s.create(s.host, record(key("svc", "left"), from.ID))
			err := s.host.CloseSession(s.ctx, from.ID)
			s.must(err == nil, "the session closes", err)
			s.gone(s.host, left.Key)
			s.stands(s.host, adopted)
			s.stands(s.host, taken)
			err = s.host.CloseSession(s.ctx, to.ID)
			s.must(err == nil, "the session closes", err)
			s.gone(s.host, adopted.Key)
			s.gone(s.host, taken.Key)
		},
	},
}

// ended asks for the tombstone that a record's session leaves when it ends.
func (s *scene) ended(tomb *ports.Tombstone, rec *ports.Record, cause core.Cause) {
	s.Helper()
	s.must(tomb != nil && tomb.Key == rec.Key && tomb.Generation == rec.Generation && tomb.Session == rec.Session && tomb.Cause == cause &&
		tomb.Actor == "" && tomb.Reason == "" && tomb.Revision.After(rec.Revision),
		fmt.Sprintf("a tombstone with the cause %q, without actor and reason, later than %s", cause, show(rec)), tomb)
}
