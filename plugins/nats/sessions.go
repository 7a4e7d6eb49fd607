package nats

// sessions.go: a session is the message of its subject, with a TTL that NATS counts. A renewal
// writes it again, on the condition that it is still there. Where it ran out NATS leaves a
// marker for a day, and where it was closed a message that says so stands as long: either refuses the id.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

type sessionJSON struct {
	V            int    `json:"v"`
	Host         string `json:"host,omitempty"`
	Program      string `json:"program,omitempty"`
	TTL          int64  `json:"ttl"` // seconds, as granted
	OpenedAt     string `json:"opened_at"`
	OldestFormat int    `json:"oldest_format,omitempty"`
	NewestFormat int    `json:"newest_format,omitempty"`
	Epoch        string `json:"epoch,omitempty"` // in which it was last renewed
	Closed       bool   `json:"closed,omitempty"`
}

// session is what stands at a session's subject.
type session struct {
	open bool
	seq  uint64 // 0: nothing
	doc  sessionJSON
}

// openable reports whether an id could ever have been opened, and so be a part of a subject.
func openable(id ports.SessionID) bool {
	return core.ValidateName("session", string(id)) == nil
}

// ttl is what was granted.
func (s session) ttl() time.Duration { return time.Duration(s.doc.TTL) * time.Second }

func readSession(m *message) session {
	if m == nil {
		return session{}
	}
	s := session{seq: m.seq}
	if m.marker() || json.Unmarshal(m.data, &s.doc) != nil {
		return s
	}
	s.open = !s.doc.Closed && s.doc.TTL > 0
	return s
}

// held are the sessions that this process renewed, as it last wrote them.
type held struct {
	mu   sync.Mutex // guards last
	last map[ports.SessionID]renewal
}

// renewal is a write of a session's message.
type renewal struct {
	session session
	before  time.Time // it was sent after that
	life    *life
}

func (h *held) get(id ports.SessionID) (renewal, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.last[id]
	return r, ok
}

func (h *held) put(id ports.SessionID, r renewal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		h.last = make(map[ports.SessionID]renewal)
	}
	h.last[id] = r
}

func (h *held) drop(id ports.SessionID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, id)
}

// OpenSession implements ports.Sessions.
func (b *Backend) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	if err := backendkit.CheckSession(spec); err != nil {
		return ports.Session{}, fmt.Errorf("open a session: %w", err)
	}
	if err := b.closing.Enter(ctx); err != nil {
		return ports.Session{}, fmt.Errorf("open a session: %w", err)
	}
	granted, err := b.openSession(ctx, spec)
	if err != nil {
		return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, b.closing.Or(err))
	}
	return ports.Session{ID: spec.ID, TTL: granted}, nil
}

func (b *Backend) openSession(ctx context.Context, spec ports.SessionSpec) (time.Duration, error) {
	s := session{open: true, doc: sessionJSON{
		V: 1, Host: spec.Host, Program: spec.Program, TTL: seconds(spec.TTL), OpenedAt: core.FormatTime(time.Now()),
		OldestFormat: spec.OldestFormat, NewestFormat: spec.NewestFormat,
	}}
	now, err := b.current(ctx) // makes the stream where it is gone
	if err != nil {
		return 0, err
	}
	for {
		switch err := b.writeSession(ctx, now, spec.ID, s, rand.Text()); {
		case err == nil:
			return s.ttl(), nil
		case !errors.Is(err, backendkit.ErrStale):
			return 0, err
		}
		if granted, err := b.renew(ctx, spec.ID); err != nil || granted > 0 {
			return granted, err
		}
		var got []*message
		if now, got, err = b.read(ctx, b.names.session(spec.ID)); err != nil {
			return 0, err
		}
		if stands := readSession(got[0]); stands.seq != 0 && !stands.open {
			return 0, fmt.Errorf("it ended: %w", ports.ErrSessionGone)
		}
		// The leader of a replicated stream refuses a second write while the first is on its way to the
		// others, before that can be read.
		if !pause(ctx, settleTime) {
			return 0, fail(ctx.Err())
		}
	}
}

// writeSession writes an open session where still the same stands as s was read from. backendkit.ErrStale: it does
// not, or the store started anew.
func (b *Backend) writeSession(ctx context.Context, now *life, id ports.SessionID, s session, attempt string) error {
	s.doc.Epoch = now.epoch
	data, err := json.Marshal(s.doc)
	if err != nil {
		return err
	}
	before, floor := time.Now(), now.seen.Load()
	s.seq, err = b.remote.publish(ctx, write{subject: b.names.session(id), data: data, ttl: s.ttl(), expected: s.seq, id: attempt})
	if err == nil && s.seq <= floor {
		if err = b.runsBackwards(ctx, now); errors.Is(err, errMovedOn) {
			return backendkit.ErrStale
		}
	}
	if err != nil {
		return err
	}
	now.note(s.seq)
	b.held.put(id, renewal{session: s, before: before, life: now})
	return nil
}

// RenewSessions implements ports.Sessions.
func (b *Backend) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if err := backendkit.CheckBatch("sessions", len(ids)); err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	results := make([]ports.RenewResult, len(ids))
	err := backendkit.Each(len(ids), inFlight, func(i int) error {
		granted, err := b.renew(ctx, ids[i])
		results[i] = ports.RenewResult{ID: ids[i], TTL: granted, Gone: granted == 0}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("renew sessions: %w", b.closing.Or(err))
	}
	return results, nil
}

const (
	// lateWithin is how close to its end a renewal may come and still be sure: NATS may have written
	// the marker behind it already, which would end the session all the same.
	lateWithin = 500 * time.Millisecond
	// settleTime is for such a marker to arrive.
	settleTime = 50 * time.Millisecond
)

// renew starts a session's TTL anew and returns it; 0 when the session is gone.
func (b *Backend) renew(ctx context.Context, id ports.SessionID) (time.Duration, error) {
	if !openable(id) {
		return 0, nil
	}
	for {
		last, known := b.held.get(id)
		if now := b.life.Load(); !known || last.life != now {
			now, got, err := b.read(ctx, b.names.session(id))
			if err != nil {
				return 0, err
			}
			last = renewal{session: readSession(got[0]), life: now}
		}
		if !last.session.open {
			b.held.drop(id)
			return 0, nil
		}
		err := b.writeSession(ctx, last.life, id, last.session, rand.Text())
		if errors.Is(err, backendkit.ErrStale) {
			b.held.drop(id) // renewed by another process, or gone: read it
			if err := ctx.Err(); err != nil {
				return 0, fail(err)
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		ttl := last.session.ttl()
		if time.Since(last.before) < ttl-lateWithin {
			return ttl, nil
		}
		if !pause(ctx, settleTime) {
			return 0, fail(ctx.Err())
		}
		_, got, err := b.read(ctx, b.names.session(id))
		if err != nil {
			return 0, err
		}
		if !readSession(got[0]).open {
			b.held.drop(id)
			return 0, nil
		}
		return ttl, nil
	}
}

// CloseSession implements ports.Sessions. First the session's message says that it is closed: no
// Put that reads it from then on goes through. Then its records go, until none is left.
func (b *Backend) CloseSession(ctx context.Context, id ports.SessionID) error {
	if err := b.closing.Enter(ctx); err != nil {
		return fmt.Errorf("close session %s: %w", id, err)
	}
	if !openable(id) {
		return nil
	}
	if err := b.closeSession(ctx, id); err != nil {
		return fmt.Errorf("close session %s: %w", id, b.closing.Or(err))
	}
	return nil
}

func (b *Backend) closeSession(ctx context.Context, id ports.SessionID) error {
	for {
		now, got, err := b.read(ctx, b.names.session(id))
		if err != nil {
			return err
		}
		s := readSession(got[0])
		if s.seq == 0 {
			return nil
		}
		if s.open {
			s.doc.Closed = true
			data, err := json.Marshal(s.doc)
			if err != nil {
				return err
			}
			_, err = b.remote.publish(ctx, write{subject: b.names.session(id), data: data, ttl: ports.EndedSessionLife, expected: s.seq, id: rand.Text()})
			if errors.Is(err, backendkit.ErrStale) {
				continue // it was just renewed, or ran out
			}
			if err != nil {
				return err
			}
		}
		b.held.drop(id)
		if err := b.puts.wait(ctx, id); err != nil {
			return err
		}
		cause := core.CauseExpired
		if s.doc.Closed {
			cause = core.CauseDeregistered
		}
		return b.clear(ctx, now, id, cause)
	}
}
