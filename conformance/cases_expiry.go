package conformance

// cases_expiry.go: sessions that run out; fleeting.go says how that is judged. What takes more than
// a few lines is in cases_expiry_many.go and cases_expiry_alone.go.

import (
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var expiryCases = []scenario{
	{
		id:          "expiry/not-early",
		requirement: "A session that is not renewed never ends before its granted TTL.",
		run: func(s *scene) {
			st := s.follow(s.second())
			f := s.fleeting(key("svc", "a"))
			s.notBefore(st, f.records[0], f.renewed, f.ttl)
		},
	},
	{
		id:          "expiry/not-early-after-renewal",
		requirement: "RenewSessions starts the whole TTL anew.",
		run: func(s *scene) {
			s.wholeTTLAfter(s.renewLast)
		},
	},
	{
		id:          "expiry/not-early-after-reopening",
		requirement: "OpenSession of an id that is open renews it: the whole TTL starts anew.",
		run: func(s *scene) {
			s.wholeTTLAfter(func(b ports.Backend, id ports.SessionID) (gone bool) {
				_, err := b.OpenSession(s.ctx, sessionSpec(id, s.shortTTL()))
				gone = errors.Is(err, ports.ErrSessionGone)
				s.must(err == nil || gone, "an open session is opened again", err)
				return gone
			})
		},
	},
	{
		id:          "expiry/renewed-lives",
		requirement: "A session lives, with its records, for as long as it is renewed in time.",
		run: func(s *scene) {
			st := s.follow(s.second())
			s.withMoreTime(s.shortTTL(), func(ttl time.Duration) bool {
				from := len(st.events)
				f := s.fleetingFor(s.host, ttl, key("svc", "a"))
				for end := time.Now().Add(3 * f.ttl); time.Now().Before(end); {
					s.pause(f.ttl / 5)
					if !s.again(f, s.host, s.renew) {
						return false
					}
				}
				found := s.get(s.host, f.records[0].Key)[0]
				st.fence(s.host)
				if f.over() {
					return false
				}
				s.mustEqual(found.Record, f.records[0], "Get")
				s.check(len(st.since(from, f.records[0].Key)) == 1, "one event, the Put", st.since(from, f.records[0].Key))
				return true
			})
		},
	},
	{
		id:          "expiry/in-time",
		requirement: `A session that is not renewed ends at most MaxExpiryDelay after its granted TTL (a test fails 5 s beyond); its records then go, with the cause "expired".`,
		run: func(s *scene) {
			stays := s.session(s.host, longTTL)
			other := s.create(s.host, record(key("svc", "other"), stays.ID))
			st := s.follow(s.second())
			var keys []core.Key
			for i := range 50 {
				keys = append(keys, key(fmt.Sprintf("svc-%d", i%5), fmt.Sprintf("id-%d", i)))
			}
			f := s.fleeting(keys...)
			opened := time.Now()
			for _, rec := range f.records {
				s.lapsed(st, rec, opened, f.ttl)
				s.ended(st.deleted[rec.Key], rec, core.CauseExpired)
			}
			for _, rec := range f.records {
				s.ended(s.gone(s.host, rec.Key), rec, core.CauseExpired)
			}
			s.stands(s.host, other)
		},
	},
	{
		id:          "expiry/ended-never-again",
		requirement: "A session that ran out is Gone, and its id is refused for EndedSessionLife: ErrSessionGone.",
		run: func(s *scene) {
			st := s.follow(s.second())
			f := s.fleeting(key("svc", "a"))
			ended := f.records[0].Session
			s.lapsed(st, f.records[0], time.Now(), f.ttl)
			for _, b := range []ports.Backend{s.host, s.second()} {
				res, err := b.RenewSessions(s.ctx, []ports.SessionID{ended})
				s.must(err == nil && len(res) == 1 && res[0].Gone, "the session is gone", res, err)
				_, err = b.OpenSession(s.ctx, sessionSpec(ended, longTTL))
				s.mustBe(err, ports.ErrSessionGone, "opening the id of a session that ran out")
				s.refused(b, put(record(key("svc", "b"), ended)), ports.ErrSessionGone)
				s.gone(b, key("svc", "b"))
				err = b.CloseSession(s.ctx, ended)
				s.check(err == nil, "closing a session that is gone succeeds", err)
			}
		},
	},
	{
		id:          "expiry/distribution",
		requirement: "Of many sessions that run out at the same time none ends before its granted TTL, and each at most MaxExpiryDelay after it (a test fails 5 s beyond).",
		run:         distribution,
	},
	{
		id:          "expiry/moved-records-stay",
		requirement: "A record belongs to one session: what was adopted by another stays when the first runs out.",
		run: func(s *scene) {
			st := s.follow(s.second())
			stays := s.session(s.second(), longTTL)
			s.withMoreTime(s.shortTTL(), func(ttl time.Duration) bool {
				f := s.fleetingFor(s.host, ttl, key("svc", "moves"), key("svc", "left"))
				moves := *f.records[0]
				moves.Session = stays.ID
				res := s.one(s.second(), replace(moves, moves.Generation))
				if res.Err != nil && f.over() {
					return false
				}
				s.must(res.Err == nil, "the adoption is done", res)
				s.lapsed(st, f.records[1], time.Now(), f.ttl)
				s.stands(s.host, res.Record)
				return true
			})
		},
	},
	{
		id:          "expiry/racing-put",
		requirement: "A Put that races with the end of its session gives ErrSessionGone, or is gone within MaxExpiryDelay.",
		run:         racingPuts,
	},
	{
		id:          "expiry/open-until-then",
		requirement: "Until its granted TTL has passed, a session that is not renewed is open: it can be renewed, opened again and written under.",
		run:         openUntilThen,
	},
	{
		id:          "expiry/large-session",
		requirement: `A session of 1,000 records ends as a small one does: never before its granted TTL, and the last record goes at most MaxExpiryDelay after it (a test fails 5 s, and four times the time that it took to write all of them, beyond), with the cause "expired".`,
		run:         largeExpiry,
	},
	{
		id:          "expiry/owner-gone",
		requirement: "A session is the life of one process: when that process is gone, by Close or without a word, its session runs out all the same, never before its granted TTL and at most MaxExpiryDelay after it (a test fails 5 s beyond), as every other process sees.",
		run:         ownerGone,
	},
	{
		id:          "expiry/unattended",
		requirement: "With the capability ExpiryUnattended sessions end and their records go with no process alive: the first Get and list after that find none. Without it they are gone at most one more TTL and MaxExpiryDelay after a process opens the store again (a test fails 5 s beyond).",
		run:         unattended,
	},
}
