package conformance_test

// damage_test.go: a store of documents in memory, into which the suite can write past the
// backend, in good order and with slips.

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// slip is what a backend of documents gets wrong.
type slip string

const (
	none        slip = ""
	fussy       slip = "fussy"       // a corrupt record ends the stream
	brittle     slip = "brittle"     // a record that becomes corrupt ends a watch that runs
	silent      slip = "silent"      // a corrupt record is left out without a word
	blind       slip = "blind"       // a corrupt record is an error of all that are read with it
	rewriter    slip = "rewriter"    // a rewrite loses the fields that it does not know
	sticking    slip = "clinging"    // what is of a newer format outlives its session
	overwriting slip = "overwriting" // what cannot be read is in nobody's way, whatever its format
)

// documents is a Harness and a Vandal.
type documents struct {
	slip slip

	mu     sync.Mutex
	opened map[string]*documented // guarded by mu
}

func newDocuments(s slip) *documents {
	return &documents{slip: s, opened: make(map[string]*documented)}
}

func (d *documents) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	inner, err := openMemory(ctx, namespace)
	if err != nil {
		return nil, err
	}
	b := &documented{Backend: inner, slip: d.slip, corrupt: make(map[core.Key]bool), newer: make(map[core.Key]bool), fields: make(map[core.Key]map[string]json.RawMessage)}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened[namespace] = b
	return b, nil
}

func (d *documents) in(namespace string) *documented {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opened[namespace]
}

func (d *documents) Corrupt(ctx context.Context, namespace string, k core.Key) error {
	b := d.in(namespace)
	b.mu.Lock()
	b.corrupt[k] = true
	b.mu.Unlock()
	return b.touch(ctx, k)
}

func (d *documents) NewerFormat(ctx context.Context, namespace string, k core.Key) error {
	b := d.in(namespace)
	b.mu.Lock()
	b.newer[k] = true
	b.mu.Unlock()
	return b.touch(ctx, k)
}

func (d *documents) AddField(_ context.Context, namespace string, k core.Key, field string, value json.RawMessage) error {
	b := d.in(namespace)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fields[k] = map[string]json.RawMessage{field: value}
	return nil
}

func (d *documents) Field(_ context.Context, namespace string, k core.Key, field string) (json.RawMessage, error) {
	b := d.in(namespace)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fields[k][field], nil
}

type documented struct {
	ports.Backend

	slip slip

	mu      sync.Mutex
	corrupt map[core.Key]bool                       // guarded by mu
	newer   map[core.Key]bool                       // guarded by mu; those of a newer format
	fields  map[core.Key]map[string]json.RawMessage // guarded by mu; those that the backend does not know
}

func (b *documented) unreadable(k core.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.corrupt[k] || b.newer[k]
}

// touch lets watches tell of a document.
func (b *documented) touch(ctx context.Context, k core.Key) error {
	found, err := b.Backend.Get(ctx, []core.Key{k})
	if err != nil {
		return err
	}
	return one(ctx, b.Backend, putting(ports.Put{Record: *found[0].Record, Replaces: found[0].Record.Generation})).Err
}

func (b *documented) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	results := make([]ports.MutationResult, len(muts))
	for i, m := range muts {
		found, err := b.Backend.Get(ctx, []core.Key{m.Key()})
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		if found[0].Record == nil && b.slip != sticking {
			delete(b.newer, m.Key())
		}
		refused := b.newer[m.Key()] && b.slip != overwriting
		if b.slip == rewriter || b.newer[m.Key()] && b.slip == overwriting {
			delete(b.fields, m.Key())
		}
		b.mu.Unlock()
		if refused {
			results[i].Err = fmt.Errorf("%s is of a newer format: %w", m.Key(), ports.ErrUnsupported)
			continue
		}
		results[i] = one(ctx, b.Backend, m)
	}
	return results, nil
}

func (b *documented) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	found, err := b.Backend.Get(ctx, keys)
	for i := range found {
		if b.unreadable(keys[i]) {
			found[i] = ports.Found{}
			if b.slip == blind {
				return nil, fmt.Errorf("%s cannot be read: %w", keys[i], ports.ErrUnavailable)
			}
		}
	}
	return found, err
}

func (b *documented) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := b.Backend.Watch(ctx, req)
	return &documentWatcher{Watcher: w, backend: b}, err
}

type documentWatcher struct {
	ports.Watcher

	backend *documented
	synced  bool
}

func (w *documentWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	for {
		ev, err := w.Watcher.Next(ctx)
		w.synced = w.synced || ev.Kind == ports.WatchSynced
		if err != nil || ev.Record == nil || !w.backend.unreadable(ev.Record.Key) {
			return ev, err
		}
		switch slip := w.backend.slip; {
		case slip == fussy, slip == brittle && w.synced:
			return ports.WatchEvent{}, fmt.Errorf("%s cannot be read: %w", ev.Record.Key, ports.ErrUnavailable)
		case slip != silent:
			return ports.WatchEvent{Kind: ports.WatchSkipped, Key: ev.Record.Key, Reason: "it is no JSON"}, nil
		}
	}
}
