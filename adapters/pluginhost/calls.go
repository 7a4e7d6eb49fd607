package pluginhost

// calls.go: the methods of ports.Backend, each bound to the process that is current when it
// begins.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Info implements ports.Backend. It is what the latest process said: after a restart it may
// be another version.
func (h *Host) Info() ports.Info { return *h.info.Load() }

// Health implements ports.Backend.
func (h *Host) Health(ctx context.Context) error {
	_, err := call(ctx, h, func(ctx context.Context, l *living) (struct{}, error) { return struct{}{}, l.backend.Health(ctx) })
	return err
}

// OpenSession implements ports.Sessions.
func (h *Host) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	return call(ctx, h, func(ctx context.Context, l *living) (ports.Session, error) { return l.backend.OpenSession(ctx, spec) })
}

// RenewSessions implements ports.Sessions.
func (h *Host) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	return call(ctx, h, func(ctx context.Context, l *living) ([]ports.RenewResult, error) {
		return l.backend.RenewSessions(ctx, ids)
	})
}

// CloseSession implements ports.Sessions.
func (h *Host) CloseSession(ctx context.Context, id ports.SessionID) error {
	_, err := call(ctx, h, func(ctx context.Context, l *living) (struct{}, error) {
		return struct{}{}, l.backend.CloseSession(ctx, id)
	})
	return err
}

// Apply implements ports.Records.
func (h *Host) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	results, err := call(ctx, h, func(ctx context.Context, l *living) ([]ports.MutationResult, error) {
		return l.backend.Apply(ctx, muts)
	})
	mask := h.launcher.sink.mask.Load()
	for i := range results {
		results[i].Err = mask.error(results[i].Err)
	}
	return results, err
}

// Get implements ports.Records.
func (h *Host) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	return call(ctx, h, func(ctx context.Context, l *living) ([]ports.Found, error) { return l.backend.Get(ctx, keys) })
}

// Watch implements ports.Records. The watch ends with ports.ErrUnavailable when its process
// does.
func (h *Host) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	return call(ctx, h, func(ctx context.Context, l *living) (ports.Watcher, error) {
		return h.watch(ctx, l, req)
	})
}

// call runs one call on the current process. When that process ends first, the call has
// failed, whatever it answered.
func call[T any](ctx context.Context, h *Host, do func(context.Context, *living) (T, error)) (T, error) {
	var none T
	l := h.current.Load()
	if l == nil || h.closed.Load() {
		return none, h.away()
	}
	bound, cancel := context.WithCancel(ctx)
	defer cancel()
	_, callersOwn := ctx.Deadline()
	if !callersOwn {
		bound, cancel = context.WithTimeout(bound, h.launcher.CallTimeout)
		defer cancel()
	}
	stop := context.AfterFunc(l.inUse, cancel)
	defer stop()
	result, err := do(bound, l)
	switch {
	case l.inUse.Err() != nil:
		return none, h.away()
	case err == nil:
		l.served.Store(true)
		return result, nil
	case errors.Is(err, context.DeadlineExceeded):
		h.suspect()
		if !callersOwn && ctx.Err() == nil {
			return none, fmt.Errorf("plugin %s did not answer within %s: %w", h.launcher.display(), h.launcher.CallTimeout, ports.ErrUnavailable)
		}
	case ctx.Err() == nil && !errors.Is(err, ports.ErrUnavailable):
		l.served.Store(true) // A refusal is service too.
	}
	return none, h.launcher.sink.mask.Load().error(err)
}

// suspect has the supervisor look at the process now rather than at the next heartbeat.
func (h *Host) suspect() {
	select {
	case h.doubt <- struct{}{}:
	default:
	}
}

// away is the error of every call while there is no process.
func (h *Host) away() error {
	if h.closed.Load() {
		return fmt.Errorf("plugin %s: %w", h.launcher.display(), ports.ErrClosed)
	}
	s := h.Status()
	what := "is being restarted"
	if s.State == StateBroken {
		what = fmt.Sprintf("keeps dying; the next attempt comes within %s", brokenPause.Round(time.Second))
	}
	if s.LastError == "" {
		return fmt.Errorf("plugin %s %s: %w", h.launcher.display(), what, ports.ErrUnavailable)
	}
	return fmt.Errorf("plugin %s %s (%s): %w", h.launcher.display(), what, s.LastError, ports.ErrUnavailable)
}
