package conformance

// cases_leader.go: what a change of the store's leader may do to sessions.

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/prism/ports"
)

func expiryWithoutLeader(s *scene) {
	st := s.follow(s.second())
	lasting := s.session(s.host, longTTL)
	stays := s.create(s.host, record(key("svc", "stays"), lasting.ID))
	// Nobody renews one session, which has time to see the election; the other is renewed until
	// there is a leader again.
	left := &fleeting{renewed: time.Now()}
	sess := s.session(s.host, s.shortTTL()+6*time.Second)
	left.ttl, left.records = sess.TTL, []*ports.Record{s.create(s.host, record(key("svc", "left"), sess.ID))}
	renewed := s.fleeting(key("svc", "renewed"))
	r := s.renewing(renewed)
	s.inflict(FaultLeader)
	if s.info.Capabilities.Replicated {
		s.recovers() // by itself, with the servers that are left
	} else {
		s.mend()
	}
	back := time.Now()
	r.stop()
	renewed.renewed = r.last
	s.Logf("%d renewals were acknowledged, the last one %s before the store was back", r.acknowledged, back.Sub(r.last).Round(time.Millisecond))

	kept := s.keptOrLost(stays, FaultLeader)
	s.must(!kept || r.err == nil, "no renewal finds a session gone within its TTL", r.err)
	if !kept {
		lasting = s.session(s.host, longTTL)
	}
	for open := []*fleeting{renewed, left}; len(open) > 0; s.pause(20 * time.Millisecond) {
		open = slices.DeleteFunc(open, func(f *fleeting) bool {
			rec := f.records[0]
			found := s.get(s.host, rec.Key)[0]
			if found.Record != nil {
				limit := f.ttl + s.info.Limits.MaxExpiryDelay + graceAfterExpiry
				s.must(time.Since(back) <= limit, fmt.Sprintf("the session ends within %s of the store's return", limit), found)
				return false
			}
			stood := time.Since(f.renewed)
			s.must(!kept || stood >= f.ttl, fmt.Sprintf("%s stays for %s after the last renewal", show(rec), f.ttl), fmt.Sprintf("gone after %s", stood), found)
			s.must(!kept || found.Tombstone == nil || found.Tombstone.Cause.Expires(), `the cause "expired", or "unknown" where it fell into a gap`, found)
			s.must(s.renew(s.host, rec.Session), "the session whose record went is gone", "it was renewed")
			return true
		})
	}
	s.mustRenew(s.host, lasting.ID)
	s.mend()
	fence := s.create(s.host, record(key("svc", "fence"), lasting.ID))
	st = s.outlives(st, fence.Revision)
	st.agrees(s.host, stays.Key, left.records[0].Key, renewed.records[0].Key, fence.Key)
}

// renewing renews a session over and over, in a goroutine of its own.
type renewing struct {
	acknowledged int
	last         time.Time // before the call that was last acknowledged
	err          error     // the session was gone too early
	stop         func()
}

// renewing begins to renew a session. All but stop is to be read after it.
func (s *scene) renewing(f *fleeting) *renewing {
	r := &renewing{last: f.renewed}
	ctx, cancel := context.WithCancel(s.ctx)
	var working sync.WaitGroup
	working.Go(func() {
		for ctx.Err() == nil {
			call, done := context.WithTimeout(s.ctx, time.Second)
			before := time.Now()
			res, err := s.host.RenewSessions(call, []ports.SessionID{f.records[0].Session})
			done()
			switch {
			case err != nil:
			case len(res) == 1 && !res[0].Gone:
				r.acknowledged, r.last = r.acknowledged+1, before
			case len(res) == 1 && time.Since(r.last) >= f.ttl:
				return
			default:
				r.err = fmt.Errorf("%+v, %s after the last renewal, with a TTL of %s", res, time.Since(r.last), f.ttl)
				return
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	r.stop = func() {
		cancel()
		working.Wait()
	}
	s.Cleanup(r.stop)
	return r
}
