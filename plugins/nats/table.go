package nats

// table.go: records as package backendkit reads and writes them: a load is one round trip of
// reads, a change one message that says what must stand at its subject.

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Apply implements ports.Records.
func (b *Backend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	defer b.puts.begin(muts)()
	results, err := backendkit.Apply(ctx, &table{b, hoped(muts)}, muts)
	if err != nil {
		return nil, b.closing.Or(err)
	}
	return results, nil
}

// Get implements ports.Records.
func (b *Backend) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	found, err := backendkit.Get(ctx, &table{Backend: b}, keys)
	if err != nil {
		return nil, b.closing.Or(err)
	}
	return found, nil
}

// table implements backendkit.Table for one call.
type table struct {
	*Backend

	first map[core.Key]ports.Mutation // see hope.go; nil once it was used
}

// Load implements backendkit.Table.
func (t *table) Load(ctx context.Context, wanted []backendkit.Wanted) ([]backendkit.Loaded, error) {
	if loaded, ok := t.hope(ctx, wanted); ok {
		return loaded, nil
	}
	var subjects []string
	sessions := make(map[ports.SessionID]int) // where its answer stands
	for _, w := range wanted {
		subjects = append(subjects, t.names.record(w.Key))
	}
	for _, w := range wanted {
		if _, asked := sessions[w.Session]; openable(w.Session) && !asked {
			sessions[w.Session] = len(subjects)
			subjects = append(subjects, t.names.session(w.Session))
		}
	}
	now, got, err := t.read(ctx, subjects...)
	if err != nil {
		return nil, t.closing.Or(err)
	}
	loaded := make([]backendkit.Loaded, len(wanted))
	for i, w := range wanted {
		loaded[i] = now.interpret(w.Key, got[i])
		if at, asked := sessions[w.Session]; asked {
			loaded[i].SessionOpen = readSession(got[at]).open
		}
	}
	return loaded, nil
}

// interpret reads what stands at a record's subject.
func (l *life) interpret(key core.Key, m *message) backendkit.Loaded {
	if m == nil {
		return backendkit.Loaded{}
	}
	loaded := backendkit.Loaded{Version: m.seq}
	if m.marker() { // a tombstone that faded
		return loaded
	}
	doc, err := backendkit.DecodeFor(key, m.data)
	if _, newer := errors.AsType[*backendkit.FormatError](err); newer {
		loaded.Err = fmt.Errorf("%s: %w", key, err)
	}
	if err != nil { // corrupt: overwritten
		return loaded
	}
	l.stamp(doc, m.seq)
	loaded.Document = doc
	return loaded
}

// stamp sets a document's revision.
func (l *life) stamp(doc backendkit.Document, seq uint64) {
	switch {
	case doc.Record != nil:
		doc.Record.Revision = l.revision(seq)
	case doc.Tombstone != nil:
		doc.Tombstone.Revision = l.revision(seq)
	}
}

// Commit implements backendkit.Table. That a Put's session is open was read before and is not
// part of the write: a record that comes after its session's end is swept, see sweep.go.
func (t *table) Commit(ctx context.Context, changes []backendkit.Change) []backendkit.Committed {
	committed := make([]backendkit.Committed, len(changes))
	now := t.life.Load()
	_ = backendkit.Each(len(changes), inFlight, func(i int) error {
		committed[i].Revision, committed[i].Err = t.commit(ctx, now, changes[i])
		return nil
	})
	return committed
}

func (t *table) commit(ctx context.Context, now *life, c backendkit.Change) (core.Revision, error) {
	data, err := backendkit.Encode(c.Document)
	if err != nil {
		return core.Revision{}, err
	}
	w := write{subject: t.names.record(c.Key), data: data, expected: c.Was.Version, id: c.ID}
	if c.Tombstone != nil {
		w.ttl = tombstoneLife
	}
	floor := now.seen.Load()
	seq, err := t.remote.publish(ctx, w)
	switch {
	case errors.Is(err, errOvertaken):
		err = fmt.Errorf("nats: the first answer was lost and others have written there since, so whether it was carried out is unknown: %w", ports.ErrUnavailable)
	case errors.Is(err, backendkit.ErrStale):
		return core.Revision{}, backendkit.ErrStale
	case err == nil && seq <= floor:
		err = t.runsBackwards(ctx, now)
	case err == nil && t.life.Load() != now:
		err = errMovedOn
	}
	if err != nil {
		return core.Revision{}, fmt.Errorf("write %s: %w", c.Key, t.closing.Or(err))
	}
	now.note(seq)
	t.mirror.noteOwn(now, c.Key, seq)
	return now.revision(seq), nil
}

// puts are the calls of Apply that are under way, by the sessions that they put under: the end
// of a session waits for those that read it as open.
type puts struct {
	mu      sync.Mutex // guards running
	running map[ports.SessionID]map[chan struct{}]struct{}
}

// begin notes a call; what it returns ends that.
func (p *puts) begin(muts []ports.Mutation) (end func()) {
	done := make(chan struct{})
	var under []ports.SessionID
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range muts {
		if m.Put == nil {
			continue
		}
		id := m.Put.Record.Session
		if p.running == nil {
			p.running = make(map[ports.SessionID]map[chan struct{}]struct{})
		}
		if p.running[id] == nil {
			p.running[id] = make(map[chan struct{}]struct{})
		}
		p.running[id][done] = struct{}{}
		under = append(under, id)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, id := range under {
			if delete(p.running[id], done); len(p.running[id]) == 0 {
				delete(p.running, id)
			}
		}
		close(done)
	}
}

// wait returns when the calls that run now, and put under a session, have ended.
func (p *puts) wait(ctx context.Context, id ports.SessionID) error {
	p.mu.Lock()
	calls := make([]chan struct{}, 0, len(p.running[id]))
	for done := range p.running[id] {
		calls = append(calls, done)
	}
	p.mu.Unlock()
	for _, done := range calls {
		select {
		case <-done:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
	return nil
}
