package conformance_test

// fragile_test.go: a store in memory that can be stopped, paused, cut off and wiped, behind a
// backend that takes it well, or in one of several bad manners.

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// manner is how a backend takes the outage of its store.
type manner string

const (
	sound     manner = "sound"
	caching   manner = "caching"   // reads go on
	deaf      manner = "deaf"      // calls wait for the store, whatever their context says
	secretive manner = "secretive" // after a wipe it goes on in the same epoch
	gappy     manner = "gappy"     // after an outage a watch goes on from the latest revision
	oblivious manner = "oblivious" // an outage takes the tombstones
	lossy     manner = "lossy"     // it claims that what it acknowledged lasts, and loses it with each outage
	ticking   manner = "ticking"   // bookmarks come by its own clock, whether there is a store or not
	forgetful manner = "forgetful" // it does not claim that anything lasts, and loses all with each pause or cut
	shameless manner = "shameless" // it does not claim that anything lasts, loses all with each stop, and goes on in the same epoch
	hasting   manner = "hasting"   // short sessions do not live through a change of the leader
	clinging  manner = "clinging"  // short sessions do not end after a change of the leader
	restoring manner = "restoring" // what was lost while the store was stopped is written again
	tardy     manner = "tardy"     // all hosts but the first notice late that the store is back
)

const (
	// electionTime is how long the store has no leader after it lost one.
	electionTime = 300 * time.Millisecond
	// tardyBy is how late a tardy host is.
	tardyBy = time.Second
)

// fragile is a Harness with Faults.
type fragile struct {
	manner manner
	open   openFunc // the store

	mu    sync.Mutex
	hosts []*fragileBackend // guarded by mu
}

func newFragile(m manner) *fragile { return &fragile{manner: m, open: openMemory} }

func (f *fragile) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	inner, err := f.open(ctx, namespace)
	if err != nil {
		return nil, err
	}
	b := &fragileBackend{manner: f.manner, namespace: namespace, up: closed(), outage: make(chan struct{}), over: make(chan struct{})}
	b.inner = b.epoch(inner)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts = append(f.hosts, b)
	return b, nil
}

func (f *fragile) CanInflict(conformance.Fault) bool { return true }

func (f *fragile) Inflict(ctx context.Context, fault conformance.Fault) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.hosts {
		if err := b.inflict(ctx, fault); err != nil {
			return err
		}
	}
	return nil
}

func (f *fragile) Mend(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, b := range f.hosts {
		if i == 0 || f.manner != tardy {
			b.mend()
			continue
		}
		b.working.Go(func() {
			select {
			case <-time.After(tardyBy):
				b.mend()
			case <-b.over:
			}
		})
	}
	return nil
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

type fragileBackend struct {
	manner    manner
	namespace string

	mu     sync.Mutex
	inner  ports.Backend // guarded by mu
	shut   bool          // guarded by mu; Close was called
	fault  conformance.Fault
	up     chan struct{}     // guarded by mu; closed while the store serves
	outage chan struct{}     // guarded by mu; closed when the next outage begins
	mended bool              // guarded by mu; there was an outage
	short  []ports.SessionID // guarded by mu; the sessions with a TTL below a minute

	over    chan struct{} // closed by Close
	working sync.WaitGroup
}

// epoch lets a store of the shameless or the secretive kind be of one epoch, however often it is made anew.
func (b *fragileBackend) epoch(inner ports.Backend) ports.Backend {
	if b.manner != shameless && b.manner != secretive {
		return inner
	}
	return timeless{inner}
}

// losesLocked puts an empty store into the place of the one that there was.
func (b *fragileBackend) losesLocked(ctx context.Context) error {
	fresh, err := openMemory(ctx, b.namespace)
	if err != nil {
		return err
	}
	old := b.inner
	b.inner = b.epoch(fresh)
	close(b.outage)
	b.outage = make(chan struct{})
	return old.Close()
}

// loses reports whether a manner loses all with a fault.
func (m manner) loses(fault conformance.Fault) bool {
	switch m {
	case lossy:
		return true
	case shameless:
		return fault == conformance.FaultStop
	case forgetful:
		return fault == conformance.FaultPause || fault == conformance.FaultCut
	default:
		return false
	}
}

// elects ends the outage by itself, as servers do that are left.
func (b *fragileBackend) elects() {
	timer := time.NewTimer(electionTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.over:
		return
	}
	b.mu.Lock()
	inner, short := b.inner, slices.Clone(b.short)
	b.mu.Unlock()
	if b.manner == hasting {
		for _, id := range short {
			_ = inner.CloseSession(context.Background(), id) // the case sees whether it is gone
		}
	}
	b.mend()
	for b.manner == clinging {
		_, _ = inner.RenewSessions(context.Background(), short) // the case sees whether they are there
		select {
		case <-time.After(electionTime):
		case <-b.over:
			return
		}
	}
}

func (b *fragileBackend) inflict(ctx context.Context, fault conformance.Fault) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return nil
	}
	if fault == conformance.FaultWipe {
		if b.manner == restoring && b.fault != "" {
			return nil
		}
		return b.losesLocked(ctx)
	}
	if b.manner.loses(fault) {
		if err := b.losesLocked(ctx); err != nil {
			return err
		}
	}
	b.fault = fault
	b.up = make(chan struct{})
	if fault != conformance.FaultPause {
		close(b.outage)
		b.outage = make(chan struct{})
	}
	if fault == conformance.FaultLeader {
		b.working.Go(b.elects)
	}
	return nil
}

func (b *fragileBackend) mend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != "" {
		b.fault, b.mended = "", true
		close(b.up)
	}
}

// store is the way to the store: at once, after a wait, or not at all.
func (b *fragileBackend) store(ctx context.Context) (ports.Backend, error) {
	b.mu.Lock()
	up, fault, inner := b.up, b.fault, b.inner
	b.mu.Unlock()
	if fault != "" && fault != conformance.FaultPause {
		return nil, fmt.Errorf("the store does not answer: %w", ports.ErrUnavailable)
	}
	if b.manner == deaf {
		<-up
		return inner, nil
	}
	select {
	case <-up:
		return inner, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *fragileBackend) Info() ports.Info {
	b.mu.Lock()
	defer b.mu.Unlock()
	info := b.inner.Info()
	info.Capabilities.Durable = b.manner != forgetful && b.manner != shameless // what is in the store outlasts its outages
	info.Capabilities.Replicated = true
	return info
}

func (b *fragileBackend) Close() error {
	b.mu.Lock()
	if !b.shut {
		b.shut = true
		close(b.over)
	}
	inner := b.inner
	b.mu.Unlock()
	b.working.Wait()
	return inner.Close()
}

func (b *fragileBackend) Health(ctx context.Context) error {
	inner, err := b.store(ctx)
	if err != nil {
		return err
	}
	return inner.Health(ctx)
}

func (b *fragileBackend) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	inner, err := b.store(ctx)
	if err != nil {
		return ports.Session{}, err
	}
	if spec.TTL < time.Minute {
		b.mu.Lock()
		b.short = append(b.short, spec.ID)
		b.mu.Unlock()
	}
	return inner.OpenSession(ctx, spec)
}

func (b *fragileBackend) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	inner, err := b.store(ctx)
	if err != nil {
		return nil, err
	}
	return inner.RenewSessions(ctx, ids)
}

func (b *fragileBackend) CloseSession(ctx context.Context, id ports.SessionID) error {
	inner, err := b.store(ctx)
	if err != nil {
		return err
	}
	return inner.CloseSession(ctx, id)
}

func (b *fragileBackend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	inner, err := b.store(ctx)
	if err != nil {
		return nil, err
	}
	return inner.Apply(ctx, muts)
}

func (b *fragileBackend) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if b.manner == caching {
		b.mu.Lock()
		inner := b.inner
		b.mu.Unlock()
		return inner.Get(ctx, keys)
	}
	inner, err := b.store(ctx)
	if err != nil {
		return nil, err
	}
	found, err := inner.Get(ctx, keys)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range found {
		if b.manner == oblivious && b.mended {
			found[i].Tombstone = nil
		}
	}
	return found, err
}

func (b *fragileBackend) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	inner, err := b.store(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	outage := b.outage
	b.mu.Unlock()
	w, err := inner.Watch(ctx, req)
	if err != nil {
		return nil, err
	}
	return &fragileWatcher{Watcher: w, backend: b, outage: outage}, nil
}

// fragileWatcher ends with ErrUnavailable when an outage begins, and says nothing while the store
// hangs; the gappy one waits for the outage's end and goes on from there, the ticking one goes on.
type fragileWatcher struct {
	ports.Watcher

	backend *fragileBackend
	outage  chan struct{}
	gap     bool // swallow the changes up to the next bookmark
}

func (w *fragileWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.backend.manner != gappy && w.backend.manner != ticking {
		stop := make(chan struct{})
		var watching sync.WaitGroup
		defer watching.Wait()
		defer close(stop)
		watching.Go(func() {
			select {
			case <-w.outage:
				cancel()
			case <-stop:
			}
		})
	}
	for {
		ev, err := w.Watcher.Next(inner)
		if w.backend.manner == ticking {
			return ev, err
		}
		if err == nil {
			w.backend.mu.Lock()
			up := w.backend.up
			w.backend.mu.Unlock()
			select {
			case <-up:
			case <-inner.Done():
				err = inner.Err()
			}
		}
		select {
		case <-w.outage:
			if w.backend.manner != gappy {
				return ports.WatchEvent{}, fmt.Errorf("the connection was lost: %w", ports.ErrUnavailable)
			}
			w.gap = true
		default:
		}
		if err != nil {
			return ports.WatchEvent{}, err
		}
		if !w.gap || ev.Record == nil && ev.Tombstone == nil {
			return ev, nil
		}
	}
}

// timeless is a store that has one and the same epoch each time that it begins anew.
type timeless struct{ ports.Backend }

func (b timeless) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	results, err := b.Backend.Apply(ctx, muts)
	for _, res := range results {
		inOneEpoch(res.Record, res.Tombstone)
	}
	return results, err
}

func (b timeless) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	found, err := b.Backend.Get(ctx, keys)
	for _, f := range found {
		inOneEpoch(f.Record, f.Tombstone)
	}
	return found, err
}

func (b timeless) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	req.Cursor = core.Revision{} // all of it each time
	w, err := b.Backend.Watch(ctx, req)
	return &stream{Watcher: w, do: func(ev ports.WatchEvent) []ports.WatchEvent {
		inOneEpoch(ev.Record, ev.Tombstone)
		if !ev.Cursor.IsZero() {
			ev.Cursor.Epoch = "the-same"
		}
		return []ports.WatchEvent{ev}
	}}, err
}

func inOneEpoch(rec *ports.Record, tomb *ports.Tombstone) {
	if rec != nil {
		rec.Revision.Epoch = "the-same"
	}
	if tomb != nil {
		tomb.Revision.Epoch = "the-same"
	}
}
