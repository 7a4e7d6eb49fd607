package conformance_test

// fragile_test.go: a store in memory that can be stopped, paused, cut off and wiped, behind a
// backend that takes it well, or in one of several bad manners.

import (
	"context"
	"fmt"
	"sync"

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
	secretive manner = "secretive" // a wipe ends no watch and shows no new epoch
	gappy     manner = "gappy"     // after an outage a watch goes on from the latest revision
	lossy     manner = "lossy"     // it claims that what it acknowledged lasts, and loses it with each stop
)

// fragile is a Harness with Faults.
type fragile struct {
	manner manner

	mu    sync.Mutex
	hosts []*fragileBackend // guarded by mu
}

func newFragile(m manner) *fragile { return &fragile{manner: m} }

func (f *fragile) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	inner, err := openMemory(ctx, namespace)
	if err != nil {
		return nil, err
	}
	b := &fragileBackend{manner: f.manner, namespace: namespace, inner: inner, up: closed(), outage: make(chan struct{})}
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
	for _, b := range f.hosts {
		b.mend()
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
	up     chan struct{} // guarded by mu; closed while the store serves
	outage chan struct{} // guarded by mu; closed when the next outage begins
}

func (b *fragileBackend) inflict(ctx context.Context, fault conformance.Fault) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return nil
	}
	if fault == conformance.FaultWipe {
		if b.manner == secretive {
			return nil
		}
		fresh, err := openMemory(ctx, b.namespace)
		if err != nil {
			return err
		}
		old := b.inner
		b.inner = fresh
		close(b.outage)
		b.outage = make(chan struct{})
		return old.Close()
	}
	if b.manner == lossy && fault == conformance.FaultStop {
		fresh, err := openMemory(ctx, b.namespace)
		if err != nil {
			return err
		}
		if err := b.inner.Close(); err != nil {
			return err
		}
		b.inner = fresh
	}
	b.fault = fault
	b.up = make(chan struct{})
	if fault != conformance.FaultPause {
		close(b.outage)
		b.outage = make(chan struct{})
	}
	return nil
}

func (b *fragileBackend) mend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != "" {
		b.fault = ""
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
	info.Capabilities.Durable = true // what is in the store outlasts its outages
	return info
}

func (b *fragileBackend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = true
	return b.inner.Close()
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
	return inner.Get(ctx, keys)
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

// fragileWatcher ends with ErrUnavailable when an outage begins; the gappy one waits for its
// end and goes on from there.
type fragileWatcher struct {
	ports.Watcher

	backend *fragileBackend
	outage  chan struct{}
	gap     bool // swallow the changes up to the next bookmark
}

func (w *fragileWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	if w.backend.manner != gappy {
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
		select {
		case <-w.outage:
			if w.backend.manner != gappy {
				return ports.WatchEvent{}, fmt.Errorf("the connection was lost: %w", ports.ErrUnavailable)
			}
			w.gap = true
		default:
		}
		if err != nil || !w.gap || ev.Record == nil && ev.Tombstone == nil {
			return ev, err
		}
	}
}
