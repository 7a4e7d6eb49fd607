package conformance_test

// lives_test.go: more backends of broken_test.go: slips about the life of a process. For some of
// them several hosts share the store in memory.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// keeping says which sessions a shared store keeps, though nobody renews them.
type keeping string

const (
	nothing   keeping = "nothing"
	orphans   keeping = "orphans"   // those whose host was closed: their timer went with it
	untouched keeping = "untouched" // all, while no host is there
	headless  keeping = "headless"  // all, while the host is gone that was to end them
)

// shared is a Harness of stores in memory, each of which any number of hosts share.
type shared struct {
	keeping    keeping
	unattended bool // is claimed

	mu     sync.Mutex
	stores map[string]*sharedStore // guarded by mu
}

func newShared(t *testing.T, k keeping, unattended bool) *shared {
	t.Helper()
	h := &shared{keeping: k, unattended: unattended, stores: make(map[string]*sharedStore)}
	t.Cleanup(func() {
		for _, store := range h.stores {
			close(store.end)
			store.keeper.Wait()
			assert.NoError(t, store.Close())
		}
	})
	return h
}

func (h *shared) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	store := h.stores[namespace]
	if store == nil {
		inner, err := openMemory(ctx, namespace)
		if err != nil {
			return nil, err
		}
		store = &sharedStore{Backend: inner, harness: h, end: make(chan struct{}), openers: make(map[ports.SessionID]*sharedHandle)}
		store.keeper.Go(store.keep)
		h.stores[namespace] = store
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	handle := &sharedHandle{sharedStore: store}
	if store.handles++; store.handles == 1 {
		store.first = handle
	}
	return handle, nil
}

type sharedStore struct {
	ports.Backend

	harness *shared
	keeper  sync.WaitGroup
	end     chan struct{}

	mu      sync.Mutex
	handles int                               // guarded by mu; those that are open
	first   *sharedHandle                     // guarded by mu; that found no other open
	openers map[ports.SessionID]*sharedHandle // guarded by mu
}

// keep renews what shall not end.
func (s *sharedStore) keep() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.end:
			return
		}
		s.mu.Lock()
		var ids []ports.SessionID
		for id, opener := range s.openers {
			if s.harness.keeping == orphans && opener.closed || s.harness.keeping == untouched && s.handles == 0 || s.harness.keeping == headless && s.first.closed {
				ids = append(ids, id)
			}
		}
		s.mu.Unlock()
		_, _ = s.RenewSessions(context.Background(), ids) // who is gone is gone
	}
}

func (s *sharedStore) Info() ports.Info {
	info := s.Backend.Info()
	info.Capabilities.MultiHost, info.Capabilities.ExpiryUnattended = true, s.harness.unattended
	return info
}

type sharedHandle struct {
	*sharedStore

	closed bool // guarded by the store's mu
}

func (h *sharedHandle) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	h.mu.Lock()
	h.openers[spec.ID] = h
	h.mu.Unlock()
	return h.Backend.OpenSession(ctx, spec)
}

func (h *sharedHandle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		h.handles--
	}
	return nil
}

// A store that hosts share passes what its faults are caught by, whether somebody has to be there
// for an expiry or not.
func TestSharedStoresPass(t *testing.T) {
	t.Parallel()
	for _, unattended := range []bool{true, false} {
		h := newShared(t, nothing, unattended)
		for _, r := range conformance.Run(t.Context(), only(t, "expiry/owner-gone", "expiry/unattended", "expiry/racing-put", "expiry/open-until-then"), h, nil).Results {
			assert.Equal(t, conformance.Passed, r.Outcome, "%s: %v", r.ID, r.Failures)
		}
	}
}

// impatient says that a session is gone, long before its records go.
type impatient struct {
	ports.Backend

	puts, renewals bool // what it says so of

	mu   sync.Mutex
	ends map[ports.SessionID]time.Time // guarded by mu
}

func (b *impatient) over(id ports.SessionID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, known := b.ends[id]
	return known && time.Now().After(at)
}

func (b *impatient) renewed(sess ports.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ends[sess.ID] = time.Now().Add(sess.TTL * 6 / 10)
}

func (b *impatient) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	sess, err := b.Backend.OpenSession(ctx, spec)
	if err == nil {
		b.renewed(sess)
	}
	return sess, err
}

func (b *impatient) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	results, err := b.Backend.RenewSessions(ctx, ids)
	for i, res := range results {
		if b.renewals && b.over(res.ID) {
			results[i] = ports.RenewResult{ID: res.ID, Gone: true}
		} else if !res.Gone {
			b.renewed(ports.Session{ID: res.ID, TTL: res.TTL})
		}
	}
	return results, err
}

func (b *impatient) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if p := muts[0].Put; p != nil && b.puts && b.over(p.Record.Session) {
		return []ports.MutationResult{{Err: fmt.Errorf("it is late: %w", ports.ErrSessionGone)}}, nil
	}
	return b.Backend.Apply(ctx, muts)
}

// blinking cannot tell, every fifth time it is asked, whether a record is still there.
type blinking struct {
	ports.Backend

	asked atomic.Int64
}

func (b *blinking) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if b.asked.Add(1)%5 == 0 {
		return nil, fmt.Errorf("not now: %w", ports.ErrUnavailable)
	}
	return b.Backend.Get(ctx, keys)
}

// harbouring takes a Put that comes too late under a session of its own.
func harbouring(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if !errors.Is(res.Err, ports.ErrSessionGone) {
		return res
	}
	p := *m.Put
	p.Record.Session = "harbour-" + p.Record.Session
	if _, err := b.OpenSession(ctx, ports.SessionSpec{ID: p.Record.Session, TTL: time.Hour}); err != nil {
		return ports.MutationResult{Err: err}
	}
	res = one(ctx, b, putting(p))
	if res.Err == nil {
		res.Record.Session = m.Put.Record.Session
	}
	return res
}

// crowded ends no session whose records do not go in one batch.
type crowded struct {
	ports.Backend

	mu   sync.Mutex
	puts map[ports.SessionID]int // guarded by mu
	once sync.Once
	end  chan struct{}
	kept sync.WaitGroup
}

func newCrowded(b ports.Backend) ports.Backend {
	c := &crowded{Backend: b, puts: make(map[ports.SessionID]int), end: make(chan struct{})}
	c.kept.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-c.end:
				return
			}
			_, _ = c.RenewSessions(context.Background(), c.large()) // who is gone is gone
		}
	})
	return c
}

func (c *crowded) large() (ids []ports.SessionID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.puts {
		if n > ports.MaxBatch {
			ids = append(ids, id)
		}
	}
	return ids
}

func (c *crowded) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	c.mu.Lock()
	for _, m := range muts {
		if m.Put != nil {
			c.puts[m.Put.Record.Session]++
		}
	}
	c.mu.Unlock()
	return c.Backend.Apply(ctx, muts)
}

func (c *crowded) CloseSession(ctx context.Context, id ports.SessionID) error {
	if slices.Contains(c.large(), id) {
		return nil
	}
	return c.Backend.CloseSession(ctx, id)
}

func (c *crowded) Close() error {
	c.once.Do(func() { close(c.end) })
	c.kept.Wait()
	return c.Backend.Close()
}

// asking opens another session than was asked for, and does not say so.
type asking struct {
	ports.Backend

	as func(spec ports.SessionSpec) ports.SessionSpec
}

func (b asking) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	sess, err := b.Backend.OpenSession(ctx, b.as(spec))
	sess.ID = spec.ID
	return sess, err
}

// roundedTTL takes parts of a second for a whole one.
func roundedTTL(spec ports.SessionSpec) ports.SessionSpec {
	spec.TTL = spec.TTL.Round(time.Second)
	return spec
}

// shortenedID cuts ids to what the store takes.
func shortenedID(spec ports.SessionSpec) ports.SessionSpec {
	spec.ID = spec.ID[:min(len(spec.ID), core.MaxName)]
	return spec
}

// generousTTL grants an hour to whoever asks for more than a few seconds.
func generousTTL(spec ports.SessionSpec) ports.SessionSpec {
	if spec.TTL > 10*time.Second {
		spec.TTL = max(spec.TTL, time.Hour)
	}
	return spec
}
