package memory

// sessions.go: who is alive. A session is a deadline in a heap; one goroutine sleeps until
// the nearest and removes the records of whoever did not renew.

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

type session struct {
	granted  ports.Session
	deadline time.Time
	place    int // in the heap
	keys     map[core.Key]struct{}
}

// OpenSession implements ports.Sessions.
func (b *Backend) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	if err := backendkit.CheckSession(spec); err != nil {
		return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, err)
	}
	if err := b.enter(ctx); err != nil {
		return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, err)
	}
	defer b.leave()
	if _, over := b.ended.get(spec.ID); over {
		return ports.Session{}, fmt.Errorf("open session %s: it has ended, choose a new id: %w", spec.ID, ports.ErrSessionGone)
	}
	s, open := b.sessions[spec.ID]
	if !open {
		s = &session{granted: ports.Session{ID: spec.ID}, keys: make(map[core.Key]struct{})}
		b.sessions[spec.ID] = s
	}
	s.granted.TTL = max(s.granted.TTL, spec.TTL)
	s.deadline = time.Now().Add(s.granted.TTL)
	if open {
		heap.Fix(&b.deadlines, s.place)
		return s.granted, nil
	}
	heap.Push(&b.deadlines, s)
	if s.place == 0 { // the nearest of all: the goroutine sleeps too long
		select {
		case b.overdue <- struct{}{}:
		default: // it was told already
		}
	}
	return s.granted, nil
}

// RenewSessions implements ports.Sessions.
func (b *Backend) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if err := backendkit.CheckBatch("sessions", len(ids)); err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	if err := b.enter(ctx); err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	defer b.leave()
	now := time.Now()
	results := make([]ports.RenewResult, len(ids))
	for i, id := range ids {
		s, open := b.sessions[id]
		if !open {
			results[i] = ports.RenewResult{ID: id, Gone: true}
			continue
		}
		s.deadline = now.Add(s.granted.TTL)
		heap.Fix(&b.deadlines, s.place) // later than before: no need to wake the goroutine
		results[i] = ports.RenewResult{ID: id, TTL: s.granted.TTL}
	}
	return results, nil
}

// CloseSession implements ports.Sessions.
func (b *Backend) CloseSession(ctx context.Context, id ports.SessionID) error {
	if err := b.enter(ctx); err != nil {
		return fmt.Errorf("close session %s: %w", id, err)
	}
	defer b.leave()
	if s, open := b.sessions[id]; open {
		b.endLocked(s, core.CauseDeregistered, time.Now())
	}
	return nil
}

// endSessionsInTime runs until Close. It sleeps on the nearest deadline and costs nothing
// while there is none.
func (b *Backend) endSessionsInTime() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		b.mu.Lock()
		b.endSessionsLocked(time.Now())
		var due <-chan time.Time
		if len(b.deadlines) > 0 {
			timer.Reset(time.Until(b.deadlines[0].deadline))
			due = timer.C
		}
		b.leave()
		select {
		case <-due:
		case <-b.overdue:
		case <-b.closing:
			return
		}
	}
}

// endSessionsLocked ends every session whose deadline has passed. time.Now carries a
// monotonic reading, so a wall clock that is set ends nobody.
func (b *Backend) endSessionsLocked(now time.Time) {
	for len(b.deadlines) > 0 && !now.Before(b.deadlines[0].deadline) {
		b.endLocked(b.deadlines[0], core.CauseExpired, now)
	}
}

// endLocked removes a session and everything under it.
func (b *Backend) endLocked(s *session, cause core.Cause, now time.Time) {
	for key := range s.keys {
		b.removeLocked(b.storedLocked(key), cause, "", "", now)
	}
	heap.Remove(&b.deadlines, s.place)
	delete(b.sessions, s.granted.ID)
	b.ended.set(s.granted.ID, struct{}{}, now)
}

// deadlines is a heap of open sessions, the one that ends first on top (container/heap).
type deadlines []*session

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline.Before(d[j].deadline) }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}

// Push implements heap.Interface.
func (d *deadlines) Push(x any) {
	s := x.(*session) //nolint:errcheck // only sessions are pushed
	s.place = len(*d)
	*d = append(*d, s)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	s := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return s
}
