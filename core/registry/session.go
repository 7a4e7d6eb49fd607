package registry

// session.go: the sessions that this process has in the store, and their renewal. What it
// keeps alive itself is under sessions of session_ttl; what clients keep alive is under
// sessions of a longer class, so that a client whose host died has its whole ttl to reach
// another host.

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	maxRecordsPerSession = 1000
	smallestClass        = 6 * time.Second
	timeToRenew          = 2 * time.Second
)

// session is one session; fields are guarded by the registry's lock.
type session struct {
	id      ports.SessionID
	class   time.Duration // the TTL asked for
	granted time.Duration
	records int
	renewAt time.Time
	idle    time.Time // since when it has held nothing
	gone    bool      // ended in the store
	// recalled is set until it is settled what an earlier process left under the session.
	recalled bool
	ready    chan struct{} // closed when opened, or when opening failed
	err      error         // why opening failed
}

// sessionClass returns the TTL of the session that an instance belongs under.
func (r *Registry) sessionClass(k core.Keepalive, ttl time.Duration) time.Duration {
	if k == core.KeepaliveAuto {
		return r.opt.SessionTTL
	}
	class := smallestClass
	for class < ttl+ttl/2+timeToRenew {
		class *= 2
	}
	return class
}

// acquire reserves a place in a session of a class, opening one where needed. Release the
// place with unreserve.
func (r *Registry) acquire(ctx context.Context, class time.Duration) (*session, error) {
	for {
		r.mu.Lock()
		s := r.findSessionLocked(class)
		if s == nil {
			s = &session{id: ports.SessionID(rand.Text()), class: class, ready: make(chan struct{})}
			r.sessions[s.id] = s
			s.records++
			r.mu.Unlock()
			return s, r.open(ctx, s)
		}
		s.records++
		r.mu.Unlock()
		select {
		case <-s.ready:
		case <-ctx.Done():
			r.unreserve(s)
			return nil, ctx.Err()
		}
		r.mu.Lock()
		failed, gone := s.err, s.gone
		r.mu.Unlock()
		if failed == nil && !gone {
			return s, nil
		}
		r.unreserve(s)
		if failed != nil && !gaveUp(failed) {
			return nil, failed
		}
	}
}

// gaveUp reports whether it was the caller who ended a call. Others need not.
func gaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (r *Registry) findSessionLocked(class time.Duration) *session {
	for _, s := range r.sessions {
		if s.class == class && !s.gone && !s.recalled && s.err == nil && s.records < maxRecordsPerSession {
			return s
		}
	}
	return nil
}

func (r *Registry) open(ctx context.Context, s *session) error {
	started := time.Now()
	got, err := r.backend.OpenSession(ctx, ports.SessionSpec{
		ID: s.id, TTL: s.class, Host: r.host, Program: r.opt.Program, OldestFormat: 1, NewestFormat: core.BodyFormat,
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(s.ready)
	if err != nil {
		s.err = err
		s.records--
		delete(r.sessions, s.id)
		return err
	}
	s.granted = got.TTL
	s.renewAt = started.Add(got.TTL / 3)
	r.opt.Journal.Note(ports.Note{Opened: s.noted()}, ports.Note{Alive: started})
	kick(r.renewKick)
	return nil
}

func (s *session) noted() *ports.NotedSession {
	return &ports.NotedSession{ID: s.id, Class: s.class, TTL: s.granted}
}

func (r *Registry) unreserve(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreserveLocked(s)
}

func (r *Registry) unreserveLocked(s *session) {
	s.records--
	if s.records == 0 {
		s.idle = time.Now()
	}
}

// sessionGoneLocked marks a session as ended; what it held is asserted again.
func (r *Registry) sessionGoneLocked(s *session) {
	if s.gone {
		return
	}
	s.gone = true
	delete(r.sessions, s.id)
	r.opt.Journal.Note(ports.Note{Ended: s.id})
	lost := 0
	for _, h := range r.held {
		if h.session == s {
			r.recoverLocked(h)
			lost++
		}
	}
	r.log.Warn("a session ended in the store; its instances register again",
		slog.String("session", string(s.id)), slog.Int("instances", lost))
}

// renewLoop renews every session a third of its TTL after the last time, many in one call.
func (r *Registry) renewLoop() {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	for {
		due, next := r.sessionsDue(time.Now())
		if len(due) > 0 {
			r.renew(due)
			continue
		}
		clock.Reset(next)
		select {
		case <-r.ctx.Done():
			return
		case <-r.renewKick:
		case <-clock.C:
		}
	}
}

// sessionsDue returns the sessions to renew now, those that are nearly due with them.
func (r *Registry) sessionsDue(now time.Time) (due []*session, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = time.Hour
	anyDue := false
	for _, s := range r.sessions {
		if s.renewAt.IsZero() {
			continue // being opened
		}
		wait := s.renewAt.Sub(now)
		anyDue = anyDue || wait <= 0
		if wait <= s.granted/30 {
			due = append(due, s)
		}
		next = min(next, max(wait, 0))
	}
	if !anyDue {
		return nil, next
	}
	return due[:min(len(due), ports.MaxBatch)], 0
}

// renew renews sessions and marks those that ended; false when the store did not answer.
func (r *Registry) renew(due []*session) bool {
	ids := make([]ports.SessionID, len(due))
	r.mu.Lock()
	shortest := due[0].granted
	for i, s := range due {
		ids[i] = s.id
		shortest = min(shortest, s.granted)
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.ctx, max(min(shortest/3, silence), time.Second)) // others wait for their turn
	defer cancel()
	started := time.Now()
	r.opt.Journal.Note(ports.Note{Alive: started})
	results, err := r.backend.RenewSessions(ctx, ids)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || len(results) != len(due) {
		r.unrenewedLocked(err)
		for _, s := range due {
			s.renewAt = time.Now().Add(jitter(min(500*time.Millisecond, s.granted/8)))
		}
		return false
	}
	r.renewedLocked()
	for i, s := range due {
		if results[i].Gone {
			r.sessionGoneLocked(s)
			continue
		}
		if ttl := results[i].TTL; ttl > 0 && ttl != s.granted {
			s.granted = ttl
			r.opt.Journal.Note(ports.Note{Opened: s.noted()})
		}
		s.renewAt = started.Add(s.granted / 3)
	}
	return true
}

// closeEmptySessions closes what holds nothing; the others run out, so that clients have
// their whole ttl to reach another host.
func (r *Registry) closeEmptySessions(ctx context.Context) {
	for _, s := range r.takeIdleSessions(0) {
		if err := r.backend.CloseSession(ctx, s.id); err != nil {
			r.log.Debug("an empty session was not closed", slog.Any("error", err))
		}
	}
}

// takeIdleSessions removes from the books the sessions that have held nothing for a while.
func (r *Registry) takeIdleSessions(idle time.Duration) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*session
	for id, s := range r.sessions {
		if s.records == 0 && !s.recalled && !s.renewAt.IsZero() && time.Since(s.idle) >= idle {
			delete(r.sessions, id)
			s.gone = true
			r.opt.Journal.Note(ports.Note{Ended: id})
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *session) int { return a.idle.Compare(b.idle) })
	return out
}

// jitter returns a random duration from d/2 to d*3/2.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d/2 + mathrand.N(d)
}
