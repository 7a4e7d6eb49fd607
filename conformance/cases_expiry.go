package conformance

// cases_expiry.go: sessions that run out. Time is measured here, from before the call that
// renewed, so a correct backend has no way to seem early.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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
			s.wholeTTLAfter(s.renew)
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
			s.unlessTooBusy(func() bool {
				from := len(st.events)
				f := s.fleeting(key("svc", "a"))
				for end := time.Now().Add(3 * f.ttl); time.Now().Before(end); {
					s.pause(f.ttl / 5)
					if !s.again(f, s.host, s.renew) {
						return false
					}
				}
				s.stands(s.host, f.records[0])
				st.fence(s.host)
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
			s.unlessTooBusy(func() bool {
				f := s.fleeting(key("svc", "moves"), key("svc", "left"))
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
		run: func(s *scene) {
			st := s.follow(s.second())
			sess := s.session(s.host, s.shortTTL())
			began := time.Now()
			limit := sess.TTL + s.info.Limits.MaxExpiryDelay + graceAfterExpiry
			var accepted []*ports.Record
			for i := 0; ; i++ {
				res := s.one(s.host, put(record(key("svc", fmt.Sprintf("id-%d", i)), sess.ID)))
				if errors.Is(res.Err, ports.ErrSessionGone) {
					break
				}
				s.must(res.Err == nil, "a Put is done or refused with ErrSessionGone", res)
				accepted = append(accepted, res.Record)
				s.must(time.Since(began) <= limit, fmt.Sprintf("the session ends within %s", limit), time.Since(began))
				s.pause(10 * time.Millisecond)
			}
			for _, rec := range accepted {
				s.lapsed(st, rec, time.Now(), 0)
				s.gone(s.host, rec.Key)
			}
		},
	},
}

// distribution lets many sessions run out, and measures how long after their TTL.
func distribution(s *scene) {
	const sessions, atLeast = 40, 30
	st := s.follow(s.second())
	type life struct {
		before, after time.Time // the call that opened it
		ttl           time.Duration
		record        *ports.Record // nil where the machine was too busy to use the session in time
		err           error
	}
	lives := make([]life, sessions)
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		together(sessions, func(i int) {
			l := &lives[i]
			// A few milliseconds apart, so that they fall due at odd moments.
			spec := sessionSpec(newSessionID(), s.shortTTL()+time.Duration(i)*7*time.Millisecond)
			l.before = time.Now()
			sess, err := s.host.OpenSession(s.ctx, spec)
			l.after, l.ttl = time.Now(), sess.TTL
			if err != nil {
				l.err = err
				return
			}
			results, err := applyAll(s.ctx, s.host, []ports.Mutation{put(record(key(fmt.Sprintf("svc-%d", i%4), fmt.Sprintf("id-%d", i)), sess.ID))})
			switch {
			case err != nil:
				l.err = err
			case results[0].Err == nil:
				l.record = results[0].Record
			case time.Since(l.before) < l.ttl:
				l.err = results[0].Err
			}
		})
	}()
	defer func() { <-opened }()
	limit := s.info.Limits.MaxExpiryDelay + graceAfterExpiry
	gone := make(map[core.Key]time.Time) // when the stream said so
	left := func() (n int) {
		select {
		case <-opened:
		default:
			return sessions
		}
		for _, l := range lives {
			if l.record != nil && gone[l.record.Key].IsZero() {
				n++
			}
		}
		return n
	}
	for last := time.Now(); left() > 0; {
		s.must(time.Since(last) <= s.shortTTL()+time.Second+limit, "all sessions run out", fmt.Sprintf("%d are left", left()))
		if ev := st.next("the next expiry, or a Bookmark", waitLimit); ev.Kind == ports.WatchDelete {
			last = time.Now()
			gone[ev.Tombstone.Key] = last
		} else if ev.Kind == ports.WatchPut {
			last = time.Now()
		}
	}
	var beyond []time.Duration
	for _, l := range lives {
		s.must(l.err == nil, "a session is opened, and a record put under it", l.err)
		if l.record == nil {
			continue
		}
		s.ended(st.deleted[l.record.Key], l.record, core.CauseExpired)
		s.ended(s.gone(s.host, l.record.Key), l.record, core.CauseExpired)
		at := gone[l.record.Key]
		s.must(at.Sub(l.before) >= l.ttl, fmt.Sprintf("%s goes %s or more after its session was opened", l.record.Key, l.ttl), at.Sub(l.before))
		late := at.Sub(l.after) - l.ttl
		s.check(late <= limit, fmt.Sprintf("%s goes at most %s after the TTL", l.record.Key, limit), late)
		beyond = append(beyond, max(0, late))
	}
	s.must(len(beyond) >= atLeast, fmt.Sprintf("a machine that uses %d sessions within their TTL", atLeast), len(beyond))
	slices.Sort(beyond)
	at := func(part float64) time.Duration {
		return beyond[int(part*float64(len(beyond)-1))].Round(time.Millisecond)
	}
	s.Logf("%d sessions ended after their TTL by: min %s, p50 %s, p99 %s, max %s; MaxExpiryDelay is %s",
		len(beyond), at(0), at(0.5), at(0.99), at(1), s.info.Limits.MaxExpiryDelay)
}

// fleeting is a session that is about to run out, with its records.
type fleeting struct {
	ttl     time.Duration
	renewed time.Time // before the call that last renewed it
	records []*ports.Record
}

// over reports whether the whole TTL has passed, so that nothing is wrong when it is gone.
func (f *fleeting) over() bool { return time.Since(f.renewed) >= f.ttl }

// again renews a fleeting session. False says that the machine was too busy to do so in time.
func (s *scene) again(f *fleeting, b ports.Backend, renew func(b ports.Backend, id ports.SessionID) (gone bool)) bool {
	s.Helper()
	before := time.Now()
	gone, late := renew(b, f.records[0].Session), f.over()
	s.must(!gone || late, fmt.Sprintf("the session is open until %s after its last renewal", f.ttl), fmt.Sprintf("gone after %s", time.Since(f.renewed)))
	f.renewed = before
	return !gone
}

// fleeting opens a session of a short TTL, with a new record for each key, to whose id it adds
// something unique: what an earlier attempt left may still be there.
func (s *scene) fleeting(keys ...core.Key) *fleeting {
	s.Helper()
	var f *fleeting
	s.unlessTooBusy(func() bool {
		f = &fleeting{renewed: time.Now()}
		sess := s.session(s.host, s.shortTTL())
		f.ttl = sess.TTL
		var puts []ports.Mutation
		for _, k := range keys {
			puts = append(puts, put(record(key(k.Service, k.ID+"-"+rand.Text()), sess.ID)))
		}
		results := s.apply(s.host, puts...)
		if f.over() {
			s.must(s.host.CloseSession(s.ctx, sess.ID) == nil, "the session closes", nil)
			return false
		}
		for i, res := range results {
			s.must(res.Err == nil && res.Record != nil, fmt.Sprintf("%s is done", describe(puts[i])), res)
			f.records = append(f.records, res.Record)
		}
		return true
	})
	return f
}

// unlessTooBusy tries again what could not be judged because the time that the contract gives
// had passed before the machine came to use it.
func (s *scene) unlessTooBusy(try func() (judged bool)) {
	s.Helper()
	for range 5 {
		if try() {
			return
		}
		s.Logf("the machine was too busy to tell")
	}
	s.Fatalf("the machine, or the store, is too busy for this case: sessions of %s ran out before they could be used", s.shortTTL())
}

func (s *scene) renew(b ports.Backend, id ports.SessionID) (gone bool) {
	s.Helper()
	res, err := b.RenewSessions(s.ctx, []ports.SessionID{id})
	s.must(err == nil && len(res) == 1, "the session is renewed", res, err)
	return res[0].Gone
}

func (s *scene) mustRenew(b ports.Backend, id ports.SessionID) {
	s.Helper()
	s.must(!s.renew(b, id), "the session is open", "gone")
}

// wholeTTLAfter asks that a session, half of whose TTL has passed, gets all of it again.
func (s *scene) wholeTTLAfter(renew func(b ports.Backend, id ports.SessionID) (gone bool)) {
	s.Helper()
	st := s.follow(s.second())
	s.unlessTooBusy(func() bool {
		f := s.fleeting(key("svc", "a"))
		s.pause(f.ttl / 2)
		if !s.again(f, s.second(), renew) {
			return false
		}
		s.notBefore(st, f.records[0], f.renewed, f.ttl)
		return true
	})
}

// notBefore asks that neither Get nor the stream miss a record until the TTL since before its
// session was renewed has passed, and that it goes in time.
func (s *scene) notBefore(st *stream, rec *ports.Record, renewed time.Time, ttl time.Duration) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	var early atomic.Pointer[string]
	group.Go(func() {
		tick := time.NewTicker(ttl / 20)
		defer tick.Stop()
		for ctx.Err() == nil {
			found, err := s.host.Get(ctx, []core.Key{rec.Key})
			took := time.Since(renewed)
			if took >= ttl || err != nil {
				return // an error would show in what the case does itself
			}
			if found[0].Record == nil {
				early.Store(new(fmt.Sprintf("after %s, %s", took, show(found[0]))))
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	s.lapsed(st, rec, time.Now(), ttl)
	took := time.Since(renewed)
	s.must(took >= ttl, fmt.Sprintf("the stream removes the record %s or more after the renewal", ttl), took)
	group.Wait()
	if came := early.Load(); came != nil {
		s.must(false, fmt.Sprintf("Get finds the record for %s after the renewal", ttl), *came)
	}
	s.Logf("removed %s after the TTL of %s", (took - ttl).Round(time.Millisecond), ttl)
}

// lapsed reads the stream until it has removed a record whose session was last renewed at a
// time, and fails when that takes longer than any backend may.
func (s *scene) lapsed(st *stream, rec *ports.Record, renewed time.Time, ttl time.Duration) {
	s.Helper()
	limit := ttl + s.info.Limits.MaxExpiryDelay + graceAfterExpiry
	ctx, cancel := context.WithDeadline(s.ctx, renewed.Add(limit))
	defer cancel()
	for st.deleted[rec.Key] == nil {
		ev, err := st.watcher.Next(ctx)
		if ctx.Err() != nil {
			s.must(false, fmt.Sprintf("%s goes within %s (TTL %s, MaxExpiryDelay %s, and %s)",
				rec.Key, limit, ttl, s.info.Limits.MaxExpiryDelay, graceAfterExpiry), "it is still there", st.events)
		}
		s.must(err == nil, "the stream goes on", err, st.events)
		st.take(ev)
	}
}
