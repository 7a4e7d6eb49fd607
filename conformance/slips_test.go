package conformance_test

// slips_test.go: more backends of broken_test.go: slips that show under cancelled contexts,
// retries and sharing.

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// hasty answers CloseSession before it is done.
type hasty struct {
	ports.Backend

	rest sync.WaitGroup
}

func (b *hasty) CloseSession(_ context.Context, id ports.SessionID) error {
	b.rest.Go(func() {
		<-time.After(20 * time.Millisecond)
		_ = b.Backend.CloseSession(context.Background(), id) // nobody waits for the answer
	})
	return nil
}

func (b *hasty) Close() error {
	b.rest.Wait()
	return b.Backend.Close()
}

// signing puts its own name on what the end of a session leaves.
type signing struct{ ports.Backend }

func (b signing) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	found, err := b.Backend.Get(ctx, keys)
	for _, f := range found {
		if f.Tombstone != nil && f.Tombstone.Actor == "" {
			f.Tombstone.Actor = "store"
		}
	}
	return found, err
}

// wholesale refuses a call for one bad item.
type wholesale struct{ ports.Backend }

func (b wholesale) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	results, err := b.Backend.Apply(ctx, muts)
	for _, res := range results {
		if errors.Is(res.Err, ports.ErrInvalid) || errors.Is(res.Err, ports.ErrTooLarge) {
			return nil, res.Err
		}
	}
	return results, err
}

// unread watches services of any name.
type unread struct{ ports.Backend }

func (b unread) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	for i, service := range req.Services {
		if core.ValidateName("services", service) != nil {
			req.Services[i] = "none"
		}
	}
	return b.Backend.Watch(ctx, req)
}

func (b unread) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	return b.Backend.Get(ctx, keys[:min(len(keys), ports.MaxBatch)])
}

// sharingRecords hands out one and the same record to all who ask.
type sharingRecords struct {
	ports.Backend

	mu    sync.Mutex
	known map[core.Key]*ports.Record // guarded by mu
}

func (b *sharingRecords) share(r *ports.Record) *ports.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r == nil {
		return nil
	}
	if known := b.known[r.Key]; known != nil && known.Revision == r.Revision {
		return known
	}
	b.known[r.Key] = r
	return r
}

func (b *sharingRecords) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	found, err := b.Backend.Get(ctx, keys)
	for i := range found {
		found[i].Record = b.share(found[i].Record)
	}
	return found, err
}

// forgetRetries tells who deletes again that somebody else stands in the way.
func forgetRetries(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.Delete != nil && errors.Is(res.Err, ports.ErrNotFound) {
		res.Err = ports.ErrConflict
	}
	return res
}

// wholeState reads a status, changes a part of it, and writes all of it.
func wholeState(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	c := m.SetState
	if c == nil {
		return one(ctx, b, m)
	}
	found, err := b.Get(ctx, []core.Key{c.Key})
	if err != nil || found[0].Record == nil {
		return one(ctx, b, m)
	}
	<-time.After(time.Millisecond)
	rec := *found[0].Record
	rec.Generation, rec.State = c.Generation, c.Apply(rec.State)
	whole := declare(rec)
	whole.SetState.At, whole.SetState.Session, whole.SetState.IfRevision = c.At, c.Session, c.IfRevision
	return one(ctx, b, whole)
}

// halving writes half of a record when its caller gave up on the way.
type halving struct {
	ports.Backend

	which func(p ports.Put) bool
}

func creation(p ports.Put) bool { return p.Replaces.IsZero() }

func takeover(p ports.Put) bool { return !p.Replaces.IsZero() && p.Replaces != p.Record.Generation }

func adoption(p ports.Put) bool { return p.Replaces == p.Record.Generation }

func (b halving) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	timer := time.NewTimer(2 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return b.Backend.Apply(ctx, muts)
	case <-ctx.Done():
	}
	for _, m := range muts {
		if m.Put != nil && b.which(*m.Put) {
			half := *m.Put
			half.Record.Owner, half.Record.LeaseHash = "", ""
			one(context.WithoutCancel(ctx), b.Backend, putting(half))
		}
	}
	return nil, ctx.Err()
}
