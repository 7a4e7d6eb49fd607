package conformance_test

// faults_test.go: the backends of broken_test.go, each a wrapper around a sound one.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

type whimsical struct {
	ports.Backend

	mu    sync.Mutex
	asked int // guarded by mu
}

func (w *whimsical) Info() ports.Info {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	info := w.Backend.Info()
	info.Version = fmt.Sprintf("1.0.%d", w.asked)
	return info
}

type unwell struct{ ports.Backend }

func (unwell) Health(context.Context) error { return fmt.Errorf("no answer: %w", ports.ErrUnavailable) }

type reopening struct{ ports.Backend }

func (r reopening) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	sess, err := r.Backend.OpenSession(ctx, spec)
	if errors.Is(err, ports.ErrSessionGone) {
		return ports.Session{ID: spec.ID, TTL: spec.TTL}, nil
	}
	return sess, err
}

type stingy struct{ ports.Backend }

func (s stingy) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	sess, err := s.Backend.OpenSession(ctx, spec)
	sess.TTL = sess.TTL.Truncate(5 * time.Second)
	return sess, err
}

// ttl promises what was asked and keeps something else.
type ttl struct {
	ports.Backend

	kept func(asked time.Duration) time.Duration
}

func (b ttl) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	asked := spec.TTL
	spec.TTL = b.kept(asked)
	sess, err := b.Backend.OpenSession(ctx, spec)
	sess.TTL = asked
	return sess, err
}

// applying breaks Apply, one item at a time.
func applying(do func(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult) func(ports.Backend) ports.Backend {
	return func(b ports.Backend) ports.Backend { return itemwise{b, do} }
}

type itemwise struct {
	ports.Backend

	do func(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult
}

func (b itemwise) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	var results []ports.MutationResult
	for _, m := range muts {
		res := b.do(ctx, b.Backend, m)
		results = append(results, res)
		if errors.Is(res.Err, errStop) {
			results[len(results)-1].Err = ports.ErrConflict
			for range muts[len(results):] {
				results = append(results, ports.MutationResult{Err: ports.ErrConflict})
			}
			break
		}
	}
	return results, nil
}

var errStop = errors.New("stop")

func one(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	results, err := b.Apply(ctx, []ports.Mutation{m})
	if err != nil {
		return ports.MutationResult{Err: err}
	}
	return results[0]
}

func putting(p ports.Put) ports.Mutation { return ports.Mutation{Put: &p} }

func forgetGeneration(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	if m.Put != nil {
		p := *m.Put
		found, err := b.Get(ctx, []core.Key{p.Record.Key})
		if err != nil {
			return ports.MutationResult{Err: err}
		}
		p.Replaces = core.Generation{}
		if found[0].Record != nil {
			p.Replaces = found[0].Record.Generation
		}
		m = putting(p)
	}
	return one(ctx, b, m)
}

func overwriteState(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.Put == nil || m.Put.Replaces != m.Put.Record.Generation || res.Err != nil {
		return res
	}
	return one(ctx, b, declare(m.Put.Record))
}

func declare(rec ports.Record) ports.Mutation {
	st := rec.State
	return ports.Mutation{SetState: &ports.SetState{
		Key: rec.Key, Generation: rec.Generation, At: st.ChangedAt,
		Declared: &ports.DeclaredState{Declared: st.Declared, ByOperator: st.ByOperator, Actor: st.Actor, Reason: st.Reason},
		Observed: &ports.ObservedState{Observed: st.Observed, Streak: st.Streak},
	}}
}

func endMaintenance(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.Put == nil || m.Put.Replaces.IsZero() || m.Put.Replaces == m.Put.Record.Generation || res.Err != nil {
		return res
	}
	return one(ctx, b, declare(m.Put.Record))
}

func rewriteOnRetry(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	if m.Put != nil {
		found, err := b.Get(ctx, []core.Key{m.Put.Record.Key})
		if err == nil && found[0].Record != nil && found[0].Record.Generation == m.Put.Record.Generation {
			return one(ctx, b, putting(ports.Put{Record: m.Put.Record, Replaces: m.Put.Record.Generation}))
		}
	}
	return one(ctx, b, m)
}

func ignoreRevision(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	switch {
	case m.Put != nil:
		p := *m.Put
		p.IfRevision = core.Revision{}
		m = putting(p)
	case m.SetState != nil:
		c := *m.SetState
		c.IfRevision = core.Revision{}
		m = ports.Mutation{SetState: &c}
	case m.Delete != nil:
		d := *m.Delete
		d.IfRevision = core.Revision{}
		m = ports.Mutation{Delete: &d}
	}
	return one(ctx, b, m)
}

func compactBody(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	if m.Put != nil {
		p := *m.Put
		var buf bytes.Buffer
		if json.Compact(&buf, p.Record.Body) == nil {
			p.Record.Body = buf.Bytes()
		}
		m = putting(p)
	}
	return one(ctx, b, m)
}

func repeatRevision(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.SetState != nil && res.Err == nil {
		res.Record.Revision.N--
	}
	return res
}

func touchOwner(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if m.SetState != nil && res.Err == nil {
		rec := *res.Record
		rec.Owner = "whoever set the status"
		rec.UpdatedAt = m.SetState.At
		return one(ctx, b, putting(ports.Put{Record: rec, Replaces: rec.Generation}))
	}
	if m.Put != nil && m.Put.Replaces == m.Put.Record.Generation && res.Err == nil {
		rec := *res.Record
		rec.Owner = "whoever was there before"
		return one(ctx, b, putting(ports.Put{Record: rec, Replaces: rec.Generation}))
	}
	return res
}

func forgetCause(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	if m.Delete != nil {
		d := *m.Delete
		d.Cause = core.CauseExpired
		m = ports.Mutation{Delete: &d}
	}
	return one(ctx, b, m)
}

func stopAtRefusal(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	res := one(ctx, b, m)
	if res.Err != nil {
		res.Err = errStop
	}
	return res
}

func lowerCase(ctx context.Context, b ports.Backend, m ports.Mutation) ports.MutationResult {
	if m.Put != nil {
		p := *m.Put
		p.Record.Key = core.Key{Service: strings.ToLower(p.Record.Key.Service), ID: strings.ToLower(p.Record.Key.ID)}
		m = putting(p)
	}
	return one(ctx, b, m)
}

// boundless does what is asked in as many calls as it takes.
type boundless struct{ ports.Backend }

func (b boundless) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	var all []ports.MutationResult
	for part := range slices.Chunk(muts, 8) {
		results, err := b.Backend.Apply(ctx, part)
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

type unordered struct{ ports.Backend }

func (b unordered) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	muts = slices.Clone(muts)
	slices.Reverse(muts)
	results, err := b.Backend.Apply(ctx, muts)
	slices.Reverse(results)
	return results, err
}

// lagging answers each Get with what it found at the one before.
type lagging struct {
	ports.Backend

	mu   sync.Mutex
	seen map[core.Key]ports.Found // guarded by mu
}

func (b *lagging) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	found, err := b.Backend.Get(ctx, keys)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range found {
		if before, ok := b.seen[keys[i]]; ok {
			b.seen[keys[i]], found[i] = found[i], before
		} else {
			b.seen[keys[i]] = found[i]
		}
	}
	return found, err
}

// watching breaks streams: what one event becomes.
func watching(do func(ev ports.WatchEvent) []ports.WatchEvent) func(ports.Backend) ports.Backend {
	return func(b ports.Backend) ports.Backend { return watched{b, do} }
}

type watched struct {
	ports.Backend

	do func(ev ports.WatchEvent) []ports.WatchEvent
}

func (b watched) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := b.Backend.Watch(ctx, req)
	return &stream{Watcher: w, do: b.do}, err
}

type stream struct {
	ports.Watcher

	do      func(ev ports.WatchEvent) []ports.WatchEvent
	pending []ports.WatchEvent
}

func (s *stream) Next(ctx context.Context) (ports.WatchEvent, error) {
	for len(s.pending) == 0 {
		ev, err := s.Watcher.Next(ctx)
		if err != nil {
			return ev, err
		}
		s.pending = s.do(ev)
	}
	ev := s.pending[0]
	s.pending = s.pending[1:]
	return ev, nil
}

func everyOther() func(ev ports.WatchEvent) []ports.WatchEvent {
	var mu sync.Mutex
	puts := 0
	return func(ev ports.WatchEvent) []ports.WatchEvent {
		mu.Lock()
		defer mu.Unlock()
		if ev.Kind == ports.WatchPut {
			if puts++; puts%2 == 0 {
				return nil
			}
		}
		return []ports.WatchEvent{ev}
	}
}

func firstPage() func(ev ports.WatchEvent) []ports.WatchEvent {
	var mu sync.Mutex
	puts := 0
	return func(ev ports.WatchEvent) []ports.WatchEvent {
		mu.Lock()
		defer mu.Unlock()
		switch ev.Kind {
		case ports.WatchReset:
			puts = 0
		case ports.WatchPut:
			if puts++; puts > 1000 {
				return nil
			}
		case ports.WatchDelete, ports.WatchSynced, ports.WatchBookmark, ports.WatchSkipped:
		}
		return []ports.WatchEvent{ev}
	}
}

// prefixed watches by prefix, as a store would that has no separator after the service.
type prefixed struct{ ports.Backend }

func (b prefixed) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	prefixes := req.Services
	req.Services = nil
	w, err := b.Backend.Watch(ctx, req)
	return &stream{Watcher: w, do: func(ev ports.WatchEvent) []ports.WatchEvent {
		service := ""
		if ev.Record != nil {
			service = ev.Record.Key.Service
		}
		if ev.Tombstone != nil {
			service = ev.Tombstone.Key.Service
		}
		if service == "" || len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(service, p) }) {
			return []ports.WatchEvent{ev}
		}
		return nil
	}}, err
}

// tied ends a watch with the context that it was opened with.
type tied struct{ ports.Backend }

func (b tied) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := b.Backend.Watch(ctx, req)
	return tiedWatcher{Watcher: w, opened: ctx}, err
}

type tiedWatcher struct {
	ports.Watcher

	opened context.Context
}

func (w tiedWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	if err := w.opened.Err(); err != nil {
		return ports.WatchEvent{}, err
	}
	return w.Watcher.Next(ctx)
}

type skipping struct{ ports.Backend }

func (b skipping) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if !req.Cursor.IsZero() {
		req.Cursor.N++
	}
	return b.Backend.Watch(ctx, req)
}

// credulous takes a cursor that it cannot resume for the latest revision.
type credulous struct{ ports.Backend }

func (b credulous) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := b.Backend.Watch(ctx, req)
	if err != nil || req.Cursor.IsZero() {
		return w, err
	}
	quiet := false
	return &stream{Watcher: w, do: func(ev ports.WatchEvent) []ports.WatchEvent {
		switch ev.Kind {
		case ports.WatchReset:
			quiet = true
			return nil
		case ports.WatchSynced:
			quiet = false
		case ports.WatchPut, ports.WatchDelete, ports.WatchBookmark, ports.WatchSkipped:
		}
		if quiet {
			return nil
		}
		return []ports.WatchEvent{ev}
	}}, nil
}

type endless struct{ ports.Backend }

func (endless) Close() error { return nil }

type stubborn struct{ ports.Backend }

func (b stubborn) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	return b.Backend.Get(context.WithoutCancel(ctx), keys)
}
