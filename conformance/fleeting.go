package conformance

// fleeting.go: sessions that are about to run out, and how their end is judged. Time is measured
// from before the call that renewed, so a correct backend has no way to seem early.

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

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
	return s.fleetingOf(s.host, keys...)
}

// fleetingOf is fleeting through a handle.
func (s *scene) fleetingOf(b ports.Backend, keys ...core.Key) *fleeting {
	s.Helper()
	return s.fleetingFor(b, s.shortTTL(), keys...)
}

// fleetingFor is fleetingOf with another TTL; with a longer one where the machine is too busy to use that.
func (s *scene) fleetingFor(b ports.Backend, ttl time.Duration, keys ...core.Key) *fleeting {
	s.Helper()
	var f *fleeting
	s.withMoreTime(ttl, func(ttl time.Duration) bool {
		f = &fleeting{renewed: time.Now()}
		sess := s.session(b, ttl)
		f.ttl = sess.TTL
		var puts []ports.Mutation
		for _, k := range keys {
			puts = append(puts, put(record(key(k.Service, k.ID+"-"+rand.Text()), sess.ID)))
		}
		results := s.apply(b, puts...)
		if f.over() {
			s.must(b.CloseSession(s.ctx, sess.ID) == nil, "the session closes", nil)
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
	s.Fatalf("the machine, or the store, is too busy for this case: sessions ran out before they could be used")
}

// withMoreTime is unlessTooBusy for what has to be done within a TTL: each try gets twice that of the one before.
func (s *scene) withMoreTime(ttl time.Duration, try func(ttl time.Duration) (judged bool)) {
	s.Helper()
	s.unlessTooBusy(func() bool {
		defer func() { ttl *= 2 }()
		return try(ttl)
	})
}

func (s *scene) renew(b ports.Backend, id ports.SessionID) (gone bool) {
	s.Helper()
	res, err := b.RenewSessions(s.ctx, []ports.SessionID{id})
	s.must(err == nil && len(res) == 1, "the session is renewed", res, err)
	return res[0].Gone
}

// renewLast renews a session as the last of so many as a call takes.
func (s *scene) renewLast(b ports.Backend, id ports.SessionID) (gone bool) {
	s.Helper()
	ids := make([]ports.SessionID, ports.MaxBatch)
	for i := range ids {
		ids[i] = newSessionID()
	}
	last := len(ids) - 1
	ids[last] = id
	res, err := b.RenewSessions(s.ctx, ids)
	s.must(err == nil && len(res) == len(ids), "the sessions are renewed", len(res), err)
	return res[last].Gone
}

func (s *scene) mustRenew(b ports.Backend, id ports.SessionID) {
	s.Helper()
	s.must(!s.renew(b, id), "the session is open", "gone")
}

// wholeTTLAfter asks that a session, half of whose TTL has passed, gets all of it again.
func (s *scene) wholeTTLAfter(renew func(b ports.Backend, id ports.SessionID) (gone bool)) {
	s.Helper()
	st := s.follow(s.second())
	s.withMoreTime(s.shortTTL(), func(ttl time.Duration) bool { // who renews one after the other is asked in good time
		f := s.fleetingFor(s.host, ttl, key("svc", "a"))
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
			switch {
			case took >= ttl || ctx.Err() != nil:
				return
			case err != nil || len(found) != 1:
				early.Store(new(fmt.Sprintf("after %s, %d answers and %s", took, len(found), show(err))))
				return
			case found[0].Record == nil:
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

// expiryLimit is how long after its last renewal a session of a TTL fails a backend that has not
// ended it.
func (s *scene) expiryLimit(ttl time.Duration) time.Duration {
	return ttl + s.info.Limits.MaxExpiryDelay + graceAfterExpiry
}

// lapsed reads the stream until it has removed a record whose session was last renewed at a
// time, and fails when that takes longer than any backend may.
func (s *scene) lapsed(st *stream, rec *ports.Record, renewed time.Time, ttl time.Duration) {
	s.Helper()
	limit := s.expiryLimit(ttl)
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
