package registry

// view.go: the reader's side. Snapshots are immutable; one a service is swapped in atomically,
// so that readers never wait for writers.

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/marketprism/prism/core"
)

// Snapshot is one service as it was at one moment. It never changes.
type Snapshot struct {
	service   string
	instances []*core.Instance // by id
	memo      sync.Once
	memoized  any
}

// Service returns the name.
func (s *Snapshot) Service() string { return s.service }

// Len returns the number of instances.
func (s *Snapshot) Len() int { return len(s.instances) }

// At returns the i-th instance by id.
func (s *Snapshot) At(i int) core.Instance { return handOut(s.instances[i]) }

// All yields the instances in the order of their ids.
func (s *Snapshot) All() iter.Seq[core.Instance] {
	return func(yield func(core.Instance) bool) {
		for _, in := range s.instances {
			if !yield(handOut(in)) {
				return
			}
		}
	}
}

// Instances returns a copy.
func (s *Snapshot) Instances() []core.Instance { return slices.Collect(s.All()) }

// Get finds an instance by id.
func (s *Snapshot) Get(id string) (core.Instance, bool) {
	i, ok := slices.BinarySearchFunc(s.instances, id, func(in *core.Instance, id string) int {
		switch {
		case in.ID < id:
			return -1
		case in.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return core.Instance{}, false
	}
	return handOut(s.instances[i]), true
}

// handOut copies an instance for a caller, who must not reach the view through it: of its
// fields, the words of a check's command alone can be written to.
func handOut(in *core.Instance) core.Instance {
	out := *in
	out.Check.Command = slices.Clone(in.Check.Command)
	return out
}

// Same reports whether instance i is the very one that another snapshot holds at j.
func (s *Snapshot) Same(i int, other *Snapshot, j int) bool {
	return s.instances[i] == other.instances[j]
}

// Memo builds something from the snapshot once and keeps it as long as the snapshot lives.
// There is one slot, for the adapter that encodes snapshots.
func (s *Snapshot) Memo(build func(*Snapshot) any) any {
	s.memo.Do(func() { s.memoized = build(s) })
	return s.memoized
}

// view is the set of snapshots and a signal that tells waiters of a change.
type view struct {
	index   atomic.Pointer[index]
	changed atomic.Pointer[chan struct{}]
}

type index struct {
	byName map[string]*atomic.Pointer[Snapshot]
	names  []string // sorted
}

func (v *view) init() {
	v.index.Store(&index{byName: map[string]*atomic.Pointer[Snapshot]{}})
	ch := make(chan struct{})
	v.changed.Store(&ch)
}

// publish swaps in new snapshots; an empty one removes its service. It has one caller at a
// time: the writer holds the registry's lock.
func (v *view) publish(snaps []*Snapshot) {
	if len(snaps) == 0 {
		return
	}
	old := v.index.Load()
	next := old
	own := func() {
		if next == old {
			next = &index{byName: maps.Clone(old.byName)}
		}
	}
	for _, s := range snaps {
		cell, known := next.byName[s.service]
		switch {
		case len(s.instances) == 0 && known:
			own()
			delete(next.byName, s.service)
			cell.Store(s) // for readers of the old index
		case len(s.instances) == 0:
		case known:
			cell.Store(s)
		default:
			own()
			cell = new(atomic.Pointer[Snapshot])
			cell.Store(s)
			next.byName[s.service] = cell
		}
	}
	if next != old {
		next.names = slices.Sorted(maps.Keys(next.byName))
		v.index.Store(next)
	}
	v.wake()
}

// wake tells waiters to look again.
func (v *view) wake() {
	ch := make(chan struct{})
	close(*v.changed.Swap(&ch))
}

// Snapshot returns the current snapshot of a service, an empty one for an unknown service.
func (r *Registry) Snapshot(service string) *Snapshot {
	if cell, ok := r.view.index.Load().byName[service]; ok {
		return cell.Load()
	}
	return &Snapshot{service: service}
}

// Services returns the names of the services that have instances, sorted. The caller must
// not change the slice.
func (r *Registry) Services() []string { return r.view.index.Load().names }

// Changed returns a channel that is closed when anything in the view changes. Take it before
// reading what is waited for.
func (r *Registry) Changed() <-chan struct{} { return *r.view.changed.Load() }
