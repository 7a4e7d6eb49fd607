package conformance_test

// oddities_test.go: what the backends of odd_test.go do in their own way.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func openOnPut(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.Put == nil || !errors.Is(res.Err, ports.ErrSessionGone) {
		return res
	}
	if _, err := b.OpenSession(ctx, ports.SessionSpec{ID: m.Put.Record.Session, TTL: time.Hour}); err != nil {
		return res
	}
	return one(ctx, b, m)
}

// stands is what is stored where a mutation goes; nil for nothing.
func stands(ctx context.Context, b ports.Backend, m ports.Mutation) *ports.Record {
	found, err := b.Get(ctx, []core.Key{m.Key()})
	if err != nil {
		return nil
	}
	return found[0].Record
}

func keepOwner(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	if before := stands(ctx, b, m); before != nil && m.Put != nil && takeover(*m.Put) {
		p := *m.Put
		p.Record.Owner = before.Owner
		m = putting(p)
	}
	return one(ctx, b, m)
}

func positiveStreak(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	if m.Put != nil {
		p := *m.Put
		p.Record.State.Streak = max(0, p.Record.State.Streak)
		m = putting(p)
	}
	return one(ctx, b, m)
}

func keepDeclared(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	if before := stands(ctx, b, m); before != nil && m.Put != nil && takeover(*m.Put) {
		p := *m.Put
		p.Record.State.Declared, p.Record.State.ByOperator = before.State.Declared, before.State.ByOperator
		p.Record.State.Actor, p.Record.State.Reason = before.State.Actor, before.State.Reason
		m = putting(p)
	}
	return one(ctx, b, m)
}

func anyRetry(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.Put != nil && errors.Is(res.Err, ports.ErrConflict) && res.Record != nil && res.Record.Generation == m.Put.Record.Generation {
		res.Err = nil
	}
	return res
}

func conflictOnAbsent(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.SetState != nil && errors.Is(res.Err, ports.ErrNotFound) {
		res.Err = ports.ErrConflict
	}
	return res
}

func alwaysChanged(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.SetState != nil && res.Err == nil {
		res.Record.State.ChangedAt = m.SetState.At
	}
	return res
}

// admitting lets a creation pass where a tombstone of some kind stands.
func admitting(passes func(t ports.Tombstone) bool) func(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	return func(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
		res := one(ctx, b, m)
		if m.Put == nil || res.Tombstone == nil || !errors.Is(res.Err, ports.ErrConflict) || !passes(*res.Tombstone) {
			return res
		}
		p := *m.Put
		p.Record.Generation = res.Tombstone.Generation.Next()
		return one(ctx, b, putting(p))
	}
}

func neverBack(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	found, err := b.Get(ctx, []core.Key{m.Key()})
	if m.Put != nil && err == nil && found[0].Tombstone != nil && found[0].Tombstone.Generation == m.Put.Record.Generation {
		return ports.MutationResult{Tombstone: found[0].Tombstone, Err: ports.ErrConflict}
	}
	return one(ctx, b, m)
}

func deletePrefix(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.Delete == nil || res.Err != nil {
		return res
	}
	all, err := listed(ctx, b)
	if err != nil {
		return ports.MutationResult{Err: err}
	}
	for _, rec := range all {
		if rec.Key.Service == m.Key().Service && strings.HasPrefix(rec.Key.ID, m.Key().ID) {
			one(ctx, b, ports.Mutation{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: m.Delete.Cause}})
		}
	}
	return res
}

func retaining() odd {
	var mu sync.Mutex
	kept := make(map[core.Key][]byte)
	return odd{
		apply: func(ctx context.Context, inner ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range muts {
				if m.Put != nil {
					kept[m.Key()] = m.Put.Record.Body
				}
			}
			return inner.Apply(ctx, muts)
		},
		get: func(ctx context.Context, inner ports.Backend, keys []core.Key) ([]ports.Found, error) {
			mu.Lock()
			defer mu.Unlock()
			found, err := inner.Get(ctx, keys)
			for i, f := range found {
				if f.Record != nil {
					f.Record.Body = kept[keys[i]]
				}
			}
			return found, err
		},
	}
}

func noEmptyCall() odd {
	return odd{apply: func(ctx context.Context, inner ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error) {
		if len(muts) == 0 {
			return nil, fmt.Errorf("nothing to do: %w", ports.ErrInvalid)
		}
		return inner.Apply(ctx, muts)
	}}
}

func swapped() odd {
	return odd{apply: func(ctx context.Context, inner ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error) {
		results, err := inner.Apply(ctx, muts)
		if n := len(results); n > 200 {
			results[n-1], results[n-2] = results[n-2], results[n-1]
		}
		return results, err
	}}
}

func answeringOnce() odd {
	return odd{get: func(ctx context.Context, inner ports.Backend, keys []core.Key) ([]ports.Found, error) {
		found, err := inner.Get(ctx, keys)
		for i := range found {
			if slices.Contains(keys[:i], keys[i]) {
				found[i] = ports.Found{}
			}
		}
		return found, err
	}}
}

// oneMessage answers in a message of gRPC's usual limit.
func oneMessage() odd {
	return odd{get: func(ctx context.Context, inner ports.Backend, keys []core.Key) ([]ports.Found, error) {
		found, err := inner.Get(ctx, keys)
		size := 0
		for _, f := range found {
			if f.Record != nil {
				size += len(f.Record.Body)
			}
		}
		if size > 4<<20 {
			return nil, fmt.Errorf("the message is larger than max (%d vs. %d): %w", size, 4<<20, ports.ErrUnavailable)
		}
		return found, err
	}}
}

func listBehind() odd {
	var mu sync.Mutex
	var last core.Key
	return odd{
		apply: func(ctx context.Context, inner ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error) {
			mu.Lock()
			defer mu.Unlock()
			if len(muts) > 0 {
				last = muts[len(muts)-1].Key()
			}
			return inner.Apply(ctx, muts)
		},
		watch: func(ctx context.Context, inner ports.Backend, req ports.WatchRequest) (ports.Watcher, error) {
			mu.Lock()
			behind := last
			mu.Unlock()
			w, err := inner.Watch(ctx, req)
			return &stream{Watcher: w, do: func(ev ports.WatchEvent) []ports.WatchEvent {
				if !req.Follow && ev.Record != nil && ev.Record.Key == behind {
					return nil
				}
				return []ports.WatchEvent{ev}
			}}, err
		},
	}
}

func oneWriter() odd {
	var mu sync.Mutex
	return odd{apply: func(ctx context.Context, inner ports.Backend, muts []ports.Mutation) ([]ports.MutationResult, error) {
		if !mu.TryLock() {
			return nil, fmt.Errorf("busy: %w", ports.ErrUnavailable)
		}
		defer mu.Unlock()
		<-time.After(time.Millisecond)
		return inner.Apply(ctx, muts)
	}}
}

func reversed() odd {
	return odd{renew: func(ctx context.Context, inner ports.Backend, ids []ports.SessionID) ([]ports.RenewResult, error) {
		results, err := inner.RenewSessions(ctx, ids)
		slices.Reverse(results)
		return results, err
	}}
}

func cachedRenewals() odd {
	var mu sync.Mutex
	granted := make(map[ports.SessionID]time.Duration)
	return odd{
		open: func(ctx context.Context, inner ports.Backend, spec ports.SessionSpec) (ports.Session, error) {
			mu.Lock()
			defer mu.Unlock()
			sess, err := inner.OpenSession(ctx, spec)
			granted[sess.ID] = sess.TTL
			return sess, err
		},
		renew: func(_ context.Context, _ ports.Backend, ids []ports.SessionID) ([]ports.RenewResult, error) {
			mu.Lock()
			defer mu.Unlock()
			var results []ports.RenewResult
			for _, id := range ids {
				results = append(results, ports.RenewResult{ID: id, TTL: granted[id], Gone: granted[id] == 0})
			}
			return results, nil
		},
	}
}

// cutRenewals renews the first sessions of a call, and looks whether the others are there.
func cutRenewals() odd {
	const most = 64
	granted := cachedRenewals()
	return odd{open: granted.open, renew: func(ctx context.Context, inner ports.Backend, ids []ports.SessionID) ([]ports.RenewResult, error) {
		if len(ids) > ports.MaxBatch {
			return inner.RenewSessions(ctx, ids)
		}
		results, err := inner.RenewSessions(ctx, ids[:min(len(ids), most)])
		if err != nil || len(ids) <= most {
			return results, err
		}
		others, err := granted.renew(ctx, inner, ids[most:])
		return append(results, others...), err
	}}
}

// closedAtOnce takes a session for closed when it begins to close it, and removes its records one
// by one.
func closedAtOnce() odd {
	var mu sync.Mutex
	closed := make(map[ports.SessionID]bool)
	return odd{end: func(ctx context.Context, inner ports.Backend, id ports.SessionID) error {
		mu.Lock()
		before := closed[id]
		closed[id] = true
		mu.Unlock()
		if before {
			return nil
		}
		all, err := listed(ctx, inner)
		if err != nil {
			return err
		}
		for _, rec := range all {
			if rec.Session != id {
				continue
			}
			one(ctx, inner, ports.Mutation{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Session: id, Cause: core.CauseDeregistered}})
			select {
			case <-time.After(100 * time.Microsecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return inner.CloseSession(ctx, id)
	}}
}

func immortal() odd {
	return odd{renew: func(ctx context.Context, inner ports.Backend, ids []ports.SessionID) ([]ports.RenewResult, error) {
		results, err := inner.RenewSessions(ctx, ids)
		for i := range results {
			results[i].Gone = false
		}
		return results, err
	}}
}

func unchecked() odd {
	return odd{open: func(ctx context.Context, inner ports.Backend, spec ports.SessionSpec) (ports.Session, error) {
		sess, err := inner.OpenSession(ctx, spec)
		if errors.Is(err, ports.ErrInvalid) {
			return ports.Session{ID: spec.ID, TTL: time.Hour}, nil
		}
		return sess, err
	}}
}

func exclusive() odd {
	var mu sync.Mutex
	opened := make(map[ports.SessionID]bool)
	return odd{open: func(ctx context.Context, inner ports.Backend, spec ports.SessionSpec) (ports.Session, error) {
		mu.Lock()
		defer mu.Unlock()
		if opened[spec.ID] {
			return ports.Session{}, fmt.Errorf("somebody has it: %w", ports.ErrInvalid)
		}
		opened[spec.ID] = true
		return inner.OpenSession(ctx, spec)
	}}
}

func endPrefix() odd {
	var mu sync.Mutex
	opened := make(map[ports.SessionID]bool)
	return odd{
		open: func(ctx context.Context, inner ports.Backend, spec ports.SessionSpec) (ports.Session, error) {
			mu.Lock()
			defer mu.Unlock()
			opened[spec.ID] = true
			return inner.OpenSession(ctx, spec)
		},
		end: func(ctx context.Context, inner ports.Backend, id ports.SessionID) error {
			mu.Lock()
			defer mu.Unlock()
			for other := range opened {
				if strings.HasPrefix(string(other), string(id)) {
					if err := inner.CloseSession(ctx, other); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
}

// watchers breaks each watcher by itself.
func watchers(do func(w ports.Watcher) ports.Watcher) odd {
	return odd{watch: func(ctx context.Context, inner ports.Backend, req ports.WatchRequest) (ports.Watcher, error) {
		w, err := inner.Watch(ctx, req)
		if err != nil {
			return nil, err
		}
		return do(w), nil
	}}
}

func endsOnce() odd {
	return watchers(func(w ports.Watcher) ports.Watcher {
		ended := false
		return oddWatcher{Watcher: w, next: func(ctx context.Context, inner ports.Watcher) (ports.WatchEvent, error) {
			ev, err := inner.Next(ctx)
			if ended {
				return ev, ports.ErrClosed
			}
			ended = errors.Is(err, io.EOF)
			return ev, err
		}}
	})
}

func closedAtEnd() odd {
	return watchers(func(w ports.Watcher) ports.Watcher {
		return oddWatcher{Watcher: w, next: func(ctx context.Context, inner ports.Watcher) (ports.WatchEvent, error) {
			ev, err := inner.Next(ctx)
			if errors.Is(err, ports.ErrClosed) {
				err = io.EOF
			}
			return ev, err
		}}
	})
}

func revived() odd {
	return watchers(func(w ports.Watcher) ports.Watcher {
		var cursor core.Revision
		dead := false
		return oddWatcher{Watcher: w, next: func(ctx context.Context, inner ports.Watcher) (ports.WatchEvent, error) {
			if dead && ctx.Err() == nil {
				return ports.WatchEvent{Kind: ports.WatchBookmark, Cursor: cursor}, nil
			}
			ev, err := inner.Next(ctx)
			dead = err != nil
			if !ev.Cursor.IsZero() {
				cursor = ev.Cursor
			}
			return ev, err
		}}
	})
}

func entangled() odd {
	var mu sync.Mutex
	var first ports.Watcher
	return watchers(func(w ports.Watcher) ports.Watcher {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = w
		}
		return oddWatcher{Watcher: w, end: func(inner ports.Watcher) error { return errors.Join(inner.Close(), first.Close()) }}
	})
}

func overlapping() odd {
	return odd{watch: func(ctx context.Context, inner ports.Backend, req ports.WatchRequest) (ports.Watcher, error) {
		if req.Cursor.N > 0 {
			req.Cursor.N--
		}
		return inner.Watch(ctx, req)
	}}
}
