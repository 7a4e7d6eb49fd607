package conformance_test

// sweeping_test.go: more backends of broken_test.go: those that end sessions in several steps,
// as over a store that has no sessions, and leave a gap between two of them.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// gap is what a sweeping backend leaves open between two steps.
type gap string

const (
	stale   gap = "stale"   // it removes what it found a while ago, whosever it is by then
	hopeful gap = "hopeful" // a Put asks whether its session is open, and is done a while later
	rigid   gap = "rigid"   // a record belongs to the session that created it
)

// sweeping removes the records of a session one by one. Expiry is its own, too.
type sweeping struct {
	ports.Backend

	gap gap

	rest    sync.WaitGroup
	mu      sync.Mutex // guards the rest
	shut    bool
	over    map[ports.SessionID]bool
	timers  map[ports.SessionID]*time.Timer
	granted map[ports.SessionID]time.Duration
	created map[core.Key]ports.SessionID // by whom, first
}

func sweepingWith(g gap) func(ports.Backend) ports.Backend {
	return func(b ports.Backend) ports.Backend {
		return &sweeping{
			Backend: b, gap: g, over: make(map[ports.SessionID]bool), timers: make(map[ports.SessionID]*time.Timer),
			granted: make(map[ports.SessionID]time.Duration), created: make(map[core.Key]ports.SessionID),
		}
	}
}

func (b *sweeping) Close() error {
	b.mu.Lock()
	b.shut = true
	for _, timer := range b.timers {
		timer.Stop()
	}
	b.mu.Unlock()
	b.rest.Wait()
	return b.Backend.Close()
}

func (b *sweeping) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over[spec.ID] {
		return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, ports.ErrSessionGone)
	}
	asked := spec.TTL
	if asked >= time.Second {
		spec.TTL = time.Hour
	}
	sess, err := b.Backend.OpenSession(ctx, spec)
	if err != nil {
		return sess, err
	}
	sess.TTL = max(asked, b.granted[spec.ID])
	b.granted[spec.ID] = sess.TTL
	if timer := b.timers[spec.ID]; timer != nil {
		timer.Reset(sess.TTL)
		return sess, nil
	}
	b.timers[spec.ID] = time.AfterFunc(sess.TTL, func() {
		b.mu.Lock()
		if b.shut {
			b.mu.Unlock()
			return
		}
		b.rest.Add(1)
		b.mu.Unlock()
		defer b.rest.Done()
		_ = b.end(context.Background(), spec.ID, core.CauseExpired) // nobody waits for the answer
	})
	return sess, nil
}

func (b *sweeping) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	results, err := b.Backend.RenewSessions(ctx, ids)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, res := range results {
		if b.over[res.ID] {
			results[i] = ports.RenewResult{ID: res.ID, Gone: true}
		} else if !res.Gone {
			results[i].TTL = b.granted[res.ID]
			b.timers[res.ID].Reset(b.granted[res.ID])
		}
	}
	return results, err
}

func (b *sweeping) CloseSession(ctx context.Context, id ports.SessionID) error {
	b.mu.Lock()
	timer := b.timers[id]
	b.mu.Unlock()
	if timer == nil {
		return b.Backend.CloseSession(ctx, id)
	}
	timer.Stop()
	return b.end(ctx, id, core.CauseDeregistered)
}

func (b *sweeping) end(ctx context.Context, id ports.SessionID, cause core.Cause) error {
	b.mu.Lock()
	b.over[id] = true
	b.mu.Unlock()
	found, err := b.under(ctx, id)
	if err != nil {
		return err
	}
	if b.gap == stale {
		<-time.After(100 * time.Millisecond)
	}
	for _, rec := range found {
		d := ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: cause}
		if b.gap == hopeful {
			d.Session = id
		}
		one(ctx, b.Backend, ports.Mutation{Delete: &d})
	}
	if b.gap == hopeful {
		return nil // the Puts that asked before still find it open
	}
	return b.Backend.CloseSession(ctx, id)
}

// under lists what belongs to a session.
func (b *sweeping) under(ctx context.Context, id ports.SessionID) ([]*ports.Record, error) {
	all, err := listed(ctx, b.Backend)
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(all, func(rec *ports.Record) bool {
		return rec.Session != id && (b.gap != rigid || b.created[rec.Key] != id)
	}), err
}

// listed is every record.
func listed(ctx context.Context, b ports.Backend) ([]*ports.Record, error) {
	w, err := b.Watch(ctx, ports.WatchRequest{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }() // it was read to its end
	var all []*ports.Record
	for {
		ev, err := w.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		case ev.Record != nil:
			all = append(all, ev.Record)
		}
	}
}

func (b *sweeping) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	results := make([]ports.MutationResult, len(muts))
	for i, m := range muts {
		if m.Put == nil {
			results[i] = one(ctx, b.Backend, m)
			continue
		}
		b.mu.Lock()
		over := b.over[m.Put.Record.Session]
		if b.created[m.Put.Record.Key] == "" {
			b.created[m.Put.Record.Key] = m.Put.Record.Session
		}
		b.mu.Unlock()
		if over {
			results[i].Err = fmt.Errorf("put %s: %w", m.Key(), ports.ErrSessionGone)
			continue
		}
		if b.gap == hopeful {
			<-time.After(time.Millisecond)
		}
		results[i] = one(ctx, b.Backend, m)
	}
	return results, nil
}
