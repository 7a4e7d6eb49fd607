package client

// registration.go: an instance that stays registered while its program lives.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// Registration is an instance that this program keeps registered: it sends heartbeats at a
// third of the ttl, and registers again when the lease expired or the store lost its data. It
// stops, and says so loudly, when a newer registration owns the instance or somebody removed it.
// It is safe for concurrent use.
type Registration struct {
	c      *Client
	key    core.Key
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine is gone
	done   chan struct{}
	once   sync.Once

	mu       sync.Mutex // guards what follows
	spec     core.Spec
	edition  int // counts changes of spec
	lease    string
	last     core.Instance
	warnings []string
	err      error
}

// Register registers an instance and keeps it so until Close, with heartbeats unless the Spec
// says keepalive auto. ctx is only about the first registration.
func (c *Client) Register(ctx context.Context, spec core.Spec) (*Registration, error) {
	got, err := c.RegisterOnce(ctx, spec)
	if err != nil {
		return nil, err
	}
	r := &Registration{
		c: c, key: got.Instance.Key(), spec: spec, lease: got.Lease, last: got.Instance, warnings: got.Warnings,
		ended: make(chan struct{}), done: make(chan struct{}),
	}
	r.spec.ID = r.key.ID // what the host chose stays
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	if err := c.adopt(r); err != nil {
		cancel()
		return nil, err
	}
	if got.Instance.Keepalive == core.KeepaliveAuto {
		close(r.ended) // the host does all
		return r, nil
	}
	go r.keep(life)
	return r, nil
}

// Instance is the instance as this program last saw it.
func (r *Registration) Instance() core.Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Lease is the current lease, a secret. It changes when the instance is registered again.
func (r *Registration) Lease() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lease
}

// Warnings are what the host had to say about the registration.
func (r *Registration) Warnings() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.warnings...)
}

// Done is closed when the instance is no longer kept: after Close, or for the reason in Err.
func (r *Registration) Done() <-chan struct{} { return r.done }

// Err says why the instance is no longer kept: nil before Done and after Close, else
// core.ErrSuperseded, core.ErrDeregistered, or what the host refused a new registration with.
func (r *Registration) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Update replaces everything that the owner describes; the status stays.
func (r *Registration) Update(ctx context.Context, spec core.Spec) error {
	spec.Service, spec.ID = r.key.Service, r.key.ID
	got, err := r.c.Update(ctx, discovery.UpdateRequest{Lease: r.Lease(), Spec: spec})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	spec.Status, spec.CreateOnly = r.spec.Status, r.spec.CreateOnly
	r.spec, r.last, r.warnings = spec, got.Instance, got.Warnings
	r.edition++
	return nil
}

// SetStatus sets the status as the owner. It is set again when the instance has to be
// registered again.
func (r *Registration) SetStatus(ctx context.Context, status, reason string) error {
	got, err := r.c.SetStatus(ctx, discovery.StatusRequest{Key: r.key, Status: status, Reason: reason, Lease: r.Lease()})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spec.Status, r.last = status, got
	return nil
}

// Drain takes the instance out of traffic; SetStatus with "up" restores it.
func (r *Registration) Drain(ctx context.Context, reason string) error {
	return r.SetStatus(ctx, string(core.StatusMaintenance), reason)
}

// Close ends the heartbeats and deregisters the instance. It is not an error when it is gone
// already, or somebody else's.
func (r *Registration) Close(ctx context.Context) error {
	r.c.forget(r)
	r.abandon()
	var err error
	if r.Err() == nil { // else it was lost, and there is nothing of ours to remove
		err = r.c.Deregister(ctx, discovery.DeregisterRequest{Key: r.key, Lease: r.Lease(), Reason: "closed by its owner"})
	}
	if isAny(err, core.ErrNotFound, core.ErrSuperseded, core.ErrDeregistered, core.ErrLeaseExpired) {
		err = nil
	}
	return err
}

func isAny(err error, kinds ...error) bool {
	return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
}

// abandon implements closer.
func (r *Registration) abandon() {
	r.cancel()
	<-r.ended
	r.finish(nil)
}

func (r *Registration) finish(err error) {
	r.once.Do(func() {
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
		close(r.done)
	})
}

// keep sends heartbeats until its context ends or the instance is lost.
func (r *Registration) keep(ctx context.Context) {
	defer close(r.ended)
	for failures := 0; ; {
		ttl := r.Instance().TTL
		wait := jitter(ttl / 3)
		if failures > 0 {
			wait = jitter(min(ttl/6, minDelay<<min(failures, 16)))
		}
		if !sleep(ctx, wait) {
			return
		}
		err := r.beat(ctx, ttl)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
		case hopeless(err):
			r.c.logger.Error("the instance is no longer kept registered by this program",
				slog.String("service", r.key.Service), slog.String("id", r.key.ID), slog.Any("reason", err))
			r.finish(err)
			return
		default:
			failures++
			r.c.logger.Warn("a heartbeat failed and is tried again",
				slog.String("service", r.key.Service), slog.String("id", r.key.ID), slog.Any("error", err))
		}
	}
}

// hopeless reports whether trying again cannot help, or would be a fight. Missing rights are
// not among it: tokens are renewed.
func hopeless(err error) bool {
	return isAny(err, core.ErrSuperseded, core.ErrDeregistered, core.ErrInvalid, core.ErrTooLarge, core.ErrConflict, core.ErrClosed)
}

// beat sends one heartbeat and does what the answer asks for.
func (r *Registration) beat(ctx context.Context, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(time.Second, ttl/3))
	defer cancel()
	results, err := r.c.Heartbeat(ctx, []string{r.Lease()})
	if err != nil {
		return err
	}
	if len(results) != 1 {
		return fmt.Errorf("%w: %d answers to one heartbeat", core.ErrUnavailable, len(results))
	}
	if err := results[0].State.Err(); !errors.Is(err, core.ErrLeaseExpired) {
		return err
	}
	return r.again(ctx, ttl)
}

// again registers the instance anew, after a random part of a sixth of the ttl, so that a
// store which came back is not run down.
func (r *Registration) again(ctx context.Context, ttl time.Duration) error {
	if !sleep(ctx, rand.N(ttl/6+1)) { //nolint:gosec // spreading load is no secret
		return ctx.Err()
	}
	r.mu.Lock()
	spec, edition := r.spec, r.edition
	r.mu.Unlock()
	got, err := r.c.RegisterOnce(ctx, spec)
	if err != nil {
		return err
	}
	r.c.logger.Info("the lease had expired; the instance is registered again",
		slog.String("service", r.key.Service), slog.String("id", r.key.ID))
	r.mu.Lock()
	r.lease, r.last, r.warnings = got.Lease, got.Instance, got.Warnings
	changed, spec := r.edition != edition, r.spec
	r.mu.Unlock()
	if changed { // an Update that came in between must not be lost
		return r.Update(ctx, spec)
	}
	return nil
}
