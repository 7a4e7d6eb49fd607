package conformance

// cases_expiry_many.go: many sessions, many writers and many records at the end of a TTL.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

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
			sess, since, err := openNew(s.ctx, s.host, s.shortTTL()+time.Duration(i)*7*time.Millisecond)
			l.before = since
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
	limit := s.expiryLimit(0)
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

// racingPuts has writers at both hosts create records under one session until that has ended.
func racingPuts(s *scene) {
	const writers = 4
	st := s.follow(s.second())
	hosts := []ports.Backend{s.host, s.second()}
	s.unlessTooBusy(func() bool {
		opened := time.Now()
		sess := s.session(s.host, s.shortTTL())
		limit := s.expiryLimit(sess.TTL)
		ctx, cancel := context.WithCancel(s.ctx)
		racers := make([]racer, writers)
		raced := make(chan struct{})
		go func() {
			defer close(raced)
			together(writers, func(i int) { racers[i].race(ctx, hosts[i%2], sess, opened, limit) })
		}()
		defer func() {
			cancel()
			<-raced
		}()
		for racing := true; racing; {
			st.next("the next change, or a Bookmark", waitLimit)
			select {
			case <-raced:
				racing = false
			default:
			}
		}
		ended := time.Now()
		var accepted []*ports.Record
		for _, r := range racers {
			s.must(r.err == nil, "a Put is done, or from the end of its session on refused with ErrSessionGone", r.err)
			s.must(r.refused > 0, fmt.Sprintf("the session ends within %s", limit), "Puts are accepted for longer")
			s.must(r.refused >= sess.TTL, fmt.Sprintf("no Put is refused before the TTL of %s has passed", sess.TTL), fmt.Sprintf("a refusal after %s", r.refused))
			accepted = append(accepted, r.accepted...)
		}
		for _, rec := range accepted {
			s.lapsed(st, rec, ended, 0)
			s.ended(st.deleted[rec.Key], rec, core.CauseExpired)
		}
		s.allGone(s.host, accepted, core.CauseExpired)
		s.Logf("%d Puts were accepted", len(accepted))
		return len(accepted) > 0
	})
}

// allGone asks that records are gone, each with the tombstone that the end of its session leaves.
func (s *scene) allGone(b ports.Backend, recs []*ports.Record, cause core.Cause) {
	s.Helper()
	for some := range slices.Chunk(recs, ports.MaxBatch) {
		keys := make([]core.Key, len(some))
		for i, rec := range some {
			keys[i] = rec.Key
		}
		for i, found := range s.get(b, keys...) {
			s.must(found.Record == nil, keys[i].String()+" is not stored", found)
			s.ended(found.Tombstone, some[i], cause)
		}
	}
}

// racer creates records under a session until it is refused.
type racer struct {
	accepted []*ports.Record
	refused  time.Duration // the first time, since before the session was opened; 0: never
	err      error
}

// race writes faster as the end comes near, and once more after it was refused.
func (r *racer) race(ctx context.Context, b ports.Backend, sess ports.Session, opened time.Time, limit time.Duration) {
	for {
		results, err := applyAll(ctx, b, []ports.Mutation{put(record(key("svc", rand.Text()), sess.ID))})
		took := time.Since(opened)
		switch {
		case err != nil:
			r.err = err
			return
		case errors.Is(results[0].Err, ports.ErrSessionGone):
			if r.refused > 0 {
				return
			}
			r.refused = took
			continue
		case results[0].Err != nil:
			r.err = results[0].Err
			return
		case r.refused > 0:
			r.err = errors.New("a Put is done after one was refused")
			return
		}
		r.accepted = append(r.accepted, results[0].Record)
		if took > limit {
			return
		}
		pause := 50 * time.Millisecond
		if took > sess.TTL*9/10 {
			pause = 10 * time.Millisecond
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// largeExpiry fills a session while it is renewed, and lets it run out. What is slow to write so
// many records is slower still to remove them where the hosts get in each other's way, as under load.
func largeExpiry(s *scene) {
	ttl := s.shortTTL()
	s.unlessTooBusy(func() bool {
		ttl += s.shortTTL() // before the last renewal a snapshot of it has to be read
		began := time.Now()
		f := &fleeting{renewed: began}
		sess := s.session(s.host, ttl)
		f.ttl = sess.TTL
		for muts := range slices.Chunk(largeSession(sess.ID), 50) {
			for i, res := range s.apply(s.host, muts...) {
				if errors.Is(res.Err, ports.ErrSessionGone) && f.over() {
					return false
				}
				s.must(res.Err == nil && res.Record != nil, fmt.Sprintf("%s is done", describe(muts[i])), res)
				f.records = append(f.records, res.Record)
			}
			if !s.again(f, s.host, s.renew) {
				return false
			}
		}
		limit := s.expiryLimit(f.ttl) + 4*time.Since(began)
		st := s.follow(s.second())
		if !s.again(f, s.host, s.renew) {
			return false
		}
		s.removedWithin(st, f, limit)
		return true
	})
}

// removedWithin reads the stream of the end of a session that was just renewed. The limit is
// that of the store; whoever reads the stream may be slower.
func (s *scene) removedWithin(st *stream, f *fleeting, limit time.Duration) {
	s.Helper()
	renewed := time.Now()
	session := f.records[0].Session
	st.until("the end of the first record", limit, func() bool {
		last := st.last()
		return last.Kind == ports.WatchDelete && last.Tombstone.Session == session
	})
	first := time.Since(f.renewed)
	s.must(first >= f.ttl, fmt.Sprintf("the stream removes the first record %s or more after the renewal", f.ttl), first)
	left := f.records
	over := func() bool {
		for len(left) > 0 && st.deleted[left[0].Key] != nil {
			left = left[1:]
		}
		return len(left) == 0
	}
	for !over() && time.Since(renewed) < limit {
		st.next("the next record's end, or a Bookmark", waitLimit)
	}
	s.allGone(s.host, f.records, core.CauseExpired)
	st.until("the end of all records", waitLimit, over)
	for _, rec := range f.records {
		s.ended(st.deleted[rec.Key], rec, core.CauseExpired)
	}
	s.Logf("the first of %d records was seen to go %s after the TTL, the last %s, of %s", len(f.records),
		(first - f.ttl).Round(time.Millisecond), (time.Since(f.renewed) - f.ttl).Round(time.Millisecond), (limit - f.ttl).Round(time.Millisecond))
}

// largeSession creates as many records as a host puts under one session.
func largeSession(id ports.SessionID) []ports.Mutation {
	muts := make([]ports.Mutation, 1000)
	for i := range muts {
		muts[i] = put(record(key(fmt.Sprintf("svc-%d", i%7), fmt.Sprintf("id-%d-%s", i, id)), id))
	}
	return muts
}
