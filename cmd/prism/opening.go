package main

// opening.go: a backend that is still being opened. The listeners, the view and the API start
// with it at once; what needs the store waits for the first attempt, and fails as unavailable
// while the store stays away.

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Pauses between two attempts to open a backend whose store does not answer.
const (
	firstPause   = time.Second
	longestPause = 15 * time.Second
)

// opening implements ports.Backend.
type opening struct {
	name string
	open func(context.Context) (*pluginhost.Host, error)
	log  *slog.Logger

	host  atomic.Pointer[pluginhost.Host]
	last  atomic.Pointer[error] // why the latest attempt failed
	tried chan struct{}         // closed after the first attempt
	// opened is closed when the backend is open.
	opened chan struct{}
	// refused holds one error that no further attempt can mend.
	refused chan error

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	once   sync.Once
	done   chan struct{}
}

// startOpening begins to open a backend. Close waits for what it started.
func startOpening(name string, open func(context.Context) (*pluginhost.Host, error), log *slog.Logger) *opening {
	o := &opening{
		name: name, open: open, log: log,
		tried: make(chan struct{}), opened: make(chan struct{}), refused: make(chan error, 1), done: make(chan struct{}),
	}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	go o.try()
	return o
}

func (o *opening) try() {
	defer close(o.done)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		host, err := o.open(o.ctx)
		if err == nil {
			o.host.Store(host)
			close(o.opened)
		} else {
			o.last.Store(&err)
		}
		if pause == firstPause {
			close(o.tried)
		}
		if err == nil || o.ctx.Err() != nil {
			return
		}
		if !errors.Is(err, core.ErrUnavailable) {
			o.refused <- err
			return
		}
		o.log.Error("the backend could not be opened; trying again", slog.Any("error", err), slog.Duration("pause", pause))
		if !wait(o.ctx, pause) {
			return
		}
	}
}

// wait waits, or returns false when ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// backend returns the backend as soon as it is open.
func (o *opening) backend(ctx context.Context) (ports.Backend, error) {
	if host := o.host.Load(); host != nil {
		return host, nil
	}
	select {
	case <-o.tried:
	case <-o.ctx.Done():
		return nil, core.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if host := o.host.Load(); host != nil {
		return host, nil
	}
	if o.ctx.Err() != nil {
		return nil, core.ErrClosed
	}
	return nil, *o.last.Load()
}

// Info implements ports.Backend; before the backend is open only its name is known.
func (o *opening) Info() ports.Info {
	if host := o.host.Load(); host != nil {
		return host.Info()
	}
	return ports.Info{Name: o.name}
}

// Close implements ports.Backend.
func (o *opening) Close() error {
	var err error
	o.once.Do(func() {
		o.cancel()
		<-o.done
		if host := o.host.Load(); host != nil {
			err = host.Close()
		}
	})
	return err
}

// Health implements ports.Backend.
func (o *opening) Health(ctx context.Context) error {
	b, err := o.backend(ctx)
	if err != nil {
		return err
	}
	return b.Health(ctx)
}

// OpenSession implements ports.Backend.
func (o *opening) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	b, err := o.backend(ctx)
	if err != nil {
		return ports.Session{}, err
	}
	return b.OpenSession(ctx, spec)
}

// RenewSessions implements ports.Backend.
func (o *opening) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	b, err := o.backend(ctx)
	if err != nil {
		return nil, err
	}
	return b.RenewSessions(ctx, ids)
}

// CloseSession implements ports.Backend.
func (o *opening) CloseSession(ctx context.Context, id ports.SessionID) error {
	b, err := o.backend(ctx)
	if err != nil {
		return err
	}
	return b.CloseSession(ctx, id)
}

// Apply implements ports.Backend.
func (o *opening) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	b, err := o.backend(ctx)
	if err != nil {
		return nil, err
	}
	return b.Apply(ctx, muts)
}

// Get implements ports.Backend.
func (o *opening) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	b, err := o.backend(ctx)
	if err != nil {
		return nil, err
	}
	return b.Get(ctx, keys)
}

// Watch implements ports.Backend.
func (o *opening) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	b, err := o.backend(ctx)
	if err != nil {
		return nil, err
	}
	return b.Watch(ctx, req)
}
