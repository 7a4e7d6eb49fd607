package conformance_test

// damage_test.go: a store of documents in memory, into which the suite can write past the
// backend, in good order and with slips.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// slip is what a backend of documents gets wrong.
type slip string

const (
	none     slip = ""
	fussy    slip = "fussy"    // a corrupt record ends the stream
	silent   slip = "silent"   // a corrupt record is left out without a word
	rewriter slip = "rewriter" // a rewrite loses the fields that it does not know
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
	b := &documented{Backend: inner, slip: d.slip, corrupt: make(map[core.Key]bool), fields: make(map[core.Key]map[string]json.RawMessage)}
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

func (d *documents) Corrupt(_ context.Context, namespace string, k core.Key) error {
	b := d.in(namespace)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.corrupt[k] = true
	return nil
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
	fields  map[core.Key]map[string]json.RawMessage // guarded by mu; those that the backend does not know
}

func (b *documented) isCorrupt(k core.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.corrupt[k]
}

func (b *documented) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if b.slip == rewriter {
		b.mu.Lock()
		maps.DeleteFunc(b.fields, func(k core.Key, _ map[string]json.RawMessage) bool { return k == muts[0].Key() })
		b.mu.Unlock()
	}
	return b.Backend.Apply(ctx, muts)
}

func (b *documented) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	found, err := b.Backend.Get(ctx, keys)
	for i := range found {
		if b.isCorrupt(keys[i]) {
			found[i] = ports.Found{}
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
}

func (w *documentWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	for {
		ev, err := w.Watcher.Next(ctx)
		if err != nil || ev.Record == nil || !w.backend.isCorrupt(ev.Record.Key) {
			return ev, err
		}
		switch w.backend.slip {
		case fussy:
			return ports.WatchEvent{}, fmt.Errorf("%s cannot be read: %w", ev.Record.Key, ports.ErrUnavailable)
		case silent:
		case none, rewriter:
			return ports.WatchEvent{Kind: ports.WatchSkipped, Key: ev.Record.Key, Reason: "it is no JSON"}, nil
		}
	}
}
