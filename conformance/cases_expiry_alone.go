package conformance

// cases_expiry_alone.go: sessions that nobody looks after: their process is gone, no process is
// there at all, or nobody renews them and somebody asks.

import (
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// ownerGone ends the process that opened a session, which is the first that opened the store: others
// may have left the ends of sessions to it. Where the store has no other, the next one to open it looks.
func ownerGone(s *scene) {
	if !s.info.Capabilities.MultiHost {
		f := s.fleeting(key("svc", "a"))
		s.leave(s.host)
		s.host = s.open(s.namespace)
		s.lapsedUnseen(f)
		return
	}
	st := s.follow(s.second())
	f := s.fleeting(key("svc", "a"))
	s.leave(s.host)
	s.host = s.second()
	s.notBefore(st, f.records[0], f.renewed, f.ttl)
	s.ended(st.deleted[f.records[0].Key], f.records[0], core.CauseExpired)
	s.lapsedUnseen(f)
}

// unattended lets a session run out while no process is there.
func unattended(s *scene) {
	s.second()
	f := s.fleeting(key("svc", "a"))
	s.leave(s.host)
	if s.other != nil {
		s.leave(s.other)
	}
	s.other = nil
	claimed := s.info.Capabilities.ExpiryUnattended
	away := f.ttl + s.info.Limits.MaxExpiryDelay
	if claimed {
		away = s.expiryLimit(f.ttl)
	}
	s.pause(away)
	s.host = s.open(s.namespace)
	if claimed {
		s.gone(s.host, f.records[0].Key)
		listed := s.list(s.host).records
		s.must(len(listed) == 0, "no record in the first list", len(listed))
	}
	s.lapsedUnseen(f)
}

// leave ends the process of a handle: without a word where the harness can, else by Close.
func (s *scene) leave(b ports.Backend) {
	s.Helper()
	m, mortal := b.(Mortal)
	if mortal {
		err := m.Kill()
		s.must(err == nil, "the harness kills the process", err)
	}
	err := b.Close()
	s.must(err == nil || mortal, "the backend closes", err)
}

// lapsedUnseen asks that a session, whose end nobody may have seen, is over one more TTL from now.
func (s *scene) lapsedUnseen(f *fleeting) {
	s.Helper()
	rec, limit := f.records[0], s.expiryLimit(f.ttl)
	var tomb *ports.Tombstone
	for since := time.Now(); ; s.pause(20 * time.Millisecond) {
		found := s.get(s.host, rec.Key)[0]
		if tomb = found.Tombstone; found.Record == nil {
			s.Logf("the record was gone %s after the store was looked at", time.Since(since).Round(time.Millisecond))
			break
		}
		s.must(time.Since(since) <= limit, fmt.Sprintf("the session ends within %s", limit), found)
	}
	// A store that goes with its only process forgets more than the session.
	if tomb != nil || s.info.Capabilities.MultiHost {
		s.ended(tomb, rec, core.CauseExpired)
	}
	listed := s.list(s.second()).records
	s.must(len(listed) == 0, "no record in a list", len(listed))
	s.must(s.renew(s.second(), rec.Session), "the session is gone", "it was renewed")
}

// openUntilThen asks sessions, late in their TTL, whether they are open.
func openUntilThen(s *scene) {
	type question struct {
		what string
		ask  func(b ports.Backend, id ports.SessionID) (gone bool, err error)
	}
	ttl := s.shortTTL()
	questions := []question{
		{"RenewSessions", func(b ports.Backend, id ports.SessionID) (bool, error) {
			res, err := b.RenewSessions(s.ctx, []ports.SessionID{id})
			return err == nil && (len(res) != 1 || res[0].Gone), err
		}},
		{"OpenSession", func(b ports.Backend, id ports.SessionID) (bool, error) {
			return goneOr(b.OpenSession(s.ctx, sessionSpec(id, ttl)))
		}},
		{"a Put", func(b ports.Backend, id ports.SessionID) (bool, error) {
			results, err := applyAll(s.ctx, b, []ports.Mutation{put(record(key("svc", string(id)), id))})
			if err != nil {
				return false, err
			}
			return goneOr(results[0], results[0].Err)
		}},
	}
	// trial is one session, which is asked once.
	type trial struct {
		question

		renewed bool    // half of its TTL after it was opened; its time counts from there
		at      float64 // of the TTL
		early   string  // what was wrong
		judged  bool
		err     error
	}
	var left []*trial
	for _, q := range questions {
		for _, at := range []float64{0.7, 0.8, 0.9} {
			left = append(left, &trial{question: q, at: at}, &trial{question: q, at: at, renewed: true})
		}
	}
	hosts := []ports.Backend{s.host, s.second()}
	try := func(t *trial, opener, asked ports.Backend) {
		sess, since, err := openNew(s.ctx, opener, ttl)
		if t.err = err; err != nil {
			return
		}
		answer := func(what string, at float64, ask func(b ports.Backend, id ports.SessionID) (bool, error)) (open bool) {
			select {
			case <-time.After(time.Until(since.Add(time.Duration(at * float64(sess.TTL))))):
			case <-s.ctx.Done():
			}
			before := time.Now()
			gone, err := ask(asked, sess.ID)
			took := time.Since(since)
			if t.err = err; gone && took < sess.TTL {
				t.early = fmt.Sprintf("%s says that it is gone after %s", what, took)
			}
			since = before
			return err == nil && !gone
		}
		if t.renewed && !answer("RenewSessions", 0.5, questions[0].ask) {
			return
		}
		t.judged = answer(t.what, t.at, t.ask)
	}
	s.unlessTooBusy(func() bool {
		together(len(left), func(i int) { try(left[i], hosts[i%2], hosts[i/2%2]) })
		var again []*trial
		for _, t := range left {
			s.must(t.err == nil, t.what+" is answered", t.err)
			s.must(t.early == "", fmt.Sprintf("a session is open until its TTL, here of %s, has passed since it was opened or renewed", ttl), t.early)
			if !t.judged {
				again = append(again, t)
			}
		}
		left = again
		ttl += s.shortTTL() // a machine that is busy is asked in good time
		return len(left) == 0
	})
}

// goneOr tells the refusal of a session that has ended from other errors.
func goneOr[T any](_ T, err error) (gone bool, other error) {
	if errors.Is(err, ports.ErrSessionGone) {
		return true, nil
	}
	return false, err
}
