package discovery

// watch.go: following the view. A watcher compares what it last showed with what there is,
// so that it needs no queue, misses nothing in the end, and slows nobody.

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/marketprism/prism/core"
)

// WatchKind says what a WatchItem is.
type WatchKind string

// The kinds of WatchItem.
const (
	WatchReset  WatchKind = "reset"  // a snapshot follows
	WatchPut    WatchKind = "put"    // Instance is new or changed
	WatchDelete WatchKind = "delete" // Key is gone
	WatchSynced WatchKind = "synced" // the snapshot is complete
)

// WatchItem is one message of a Watch.
type WatchItem struct {
	Kind     WatchKind
	Instance Instance // of a put; of a delete, as it was last seen
	Key      Key
}

// Watch follows services. It is used by one goroutine at a time.
type Watch struct {
	c        *Client
	services []string // nil: all
	seen     map[string]*Snapshot
	pending  []WatchItem
	started  bool
	once     sync.Once
	closed   chan struct{}
}

// Watch follows the named services, or all where none is named: reset, every instance as a
// put, synced, then changes. Changes that follow fast on one another may merge; the last
// state always arrives.
func (c *Client) Watch(services ...string) (*Watch, error) {
	for _, s := range services {
		if err := core.ValidateName("service", s); err != nil {
			return nil, err
		}
	}
	return &Watch{c: c, services: services, seen: map[string]*Snapshot{}, closed: make(chan struct{})}, nil
}

// Next blocks for the next item. Errors: the context's, ErrClosed.
func (w *Watch) Next(ctx context.Context) (WatchItem, error) {
	for len(w.pending) == 0 {
		changed := w.c.registry.Changed()
		w.compare()
		if len(w.pending) > 0 {
			break
		}
		select {
		case <-changed:
		case <-w.closed:
			return WatchItem{}, core.ErrClosed
		case <-w.c.closed:
			return WatchItem{}, core.ErrClosed
		case <-ctx.Done():
			return WatchItem{}, ctx.Err()
		}
	}
	item := w.pending[0]
	w.pending = w.pending[1:]
	return item, nil
}

// Close makes a blocked Next return.
func (w *Watch) Close() { w.once.Do(func() { close(w.closed) }) }

// compare queues the differences between what was shown and what there is.
func (w *Watch) compare() {
	if !w.c.registry.Synced() {
		return // what is not known yet is no empty snapshot
	}
	if !w.started {
		w.pending = append(w.pending, WatchItem{Kind: WatchReset})
	}
	for _, name := range w.names() {
		w.compareService(name)
	}
	if !w.started {
		w.started = true
		w.pending = append(w.pending, WatchItem{Kind: WatchSynced})
	}
}

// names lists the services to look at: those watched, or all there are and all there were.
func (w *Watch) names() []string {
	if w.services != nil {
		return w.services
	}
	current := w.c.registry.Services()
	if len(w.seen) == 0 {
		return current
	}
	all := slices.AppendSeq(slices.Clone(current), maps.Keys(w.seen))
	slices.Sort(all)
	return slices.Compact(all)
}

func (w *Watch) compareService(name string) {
	next := w.c.registry.Snapshot(name)
	prev := w.seen[name]
	if prev == next {
		return
	}
	if prev == nil {
		prev = &Snapshot{}
	}
	i, j := 0, 0
	for i < prev.Len() || j < next.Len() {
		switch {
		case j == next.Len() || i < prev.Len() && prev.At(i).ID < next.At(j).ID:
			old := prev.At(i)
			w.pending = append(w.pending, WatchItem{Kind: WatchDelete, Instance: old, Key: old.Key()})
			i++
		case i == prev.Len() || next.At(j).ID < prev.At(i).ID:
			w.put(next.At(j))
			j++
		default:
			if !next.Same(j, prev, i) {
				w.put(next.At(j))
			}
			i++
			j++
		}
	}
	if next.Len() == 0 {
		delete(w.seen, name)
		return
	}
	w.seen[name] = next
}

func (w *Watch) put(in Instance) {
	w.pending = append(w.pending, WatchItem{Kind: WatchPut, Instance: in, Key: in.Key()})
}
