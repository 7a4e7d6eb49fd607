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

	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// Registration is an instance that this program keeps registered: it sends heartbeats at a
// third of the ttl, and registers again when the lease expired or the store lost its data, until
// it knows that it is registered. It stops, and says so loudly, when a newer registration owns
// the instance or somebody removed it. It is safe for concurrent use.
type Registration struct {
	c     *Client
	key   core.Key
	stop  context.CancelFunc // ends the heartbeats
	abort context.CancelFunc // ends a registration that is under way, too
	ended chan struct{}      // closed when the goroutine is gone
	done  chan struct{}
	once  sync.Once

	mu        sync.Mutex // guards what follows
	spec      core.Spec
	edition   int // counts changes of spec
	lease     string
	unsettled bool // a registration may have been carried out whose lease did not come
	last      core.Instance
	warnings  []string
	err       error
}

// registerTime is the least that registering again may take: a host gives its store 5 s.
const registerTime = 6 * time.Second

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
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	life, stop := context.WithCancel(work)
	r.stop, r.abort = stop, abort
	if err := c.adopt(r); err != nil {
		abort()
		return nil, err
	}
	if got.Instance.Keepalive == core.KeepaliveAuto {
		close(r.ended) // the host does all
		return r, nil
	}
	go r.keep(life, work)
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
// already, or somebody else's. When it is just being registered again, that may take up to half of
// the time first. core.ErrUnavailable, also when nobody knows whether it was registered again: if it
// was, it stays until its ttl ends.
func (r *Registration) Close(ctx context.Context) error {
	ctx, cancel := r.c.bounded(ctx)
	defer cancel()
	r.rest(ctx)
	r.abandon()
	r.c.forget(r)
	if r.Err() != nil {
		return nil // it was lost, and there is nothing of ours to remove
	}
	r.mu.Lock()
	lease, unsettled := r.lease, r.unsettled
	r.mu.Unlock()
	err := r.c.Deregister(ctx, discovery.DeregisterRequest{Key: r.key, Lease: lease, Reason: "closed by its owner"})
	switch {
	case err != nil && !isAny(err, core.ErrNotFound, core.ErrSuperseded, core.ErrDeregistered, core.ErrLeaseExpired):
		return err
	case unsettled:
		return fmt.Errorf("%w: whether %s was registered again is not known; if it was, it stays until its ttl ends", core.ErrUnavailable, r.key)
	}
	return nil
}

// rest ends the heartbeats. A registration that is under way may come to its end in half of
// ctx's time: only its lease can remove what it leaves.
func (r *Registration) rest(ctx context.Context) {
	r.stop()
	deadline, _ := ctx.Deadline()
	t := time.NewTimer(time.Until(deadline) / 2)
	defer t.Stop()
	select {
	case <-r.ended:
	case <-t.C:
	case <-ctx.Done():
	}
}

func isAny(err error, kinds ...error) bool {
	return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
}

// abandon implements closer.
func (r *Registration) abandon() {
	r.abort()
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

// keep sends heartbeats until life ends or the instance is lost. What must come to its end even
// then lasts as long as work.
func (r *Registration) keep(life, work context.Context) {
	defer close(r.ended)
	for failures := 0; ; {
		ttl := r.Instance().TTL
		wait := jitter(ttl / 3)
		if failures > 0 {
			wait = jitter(min(ttl/6, minDelay<<min(failures, 16)))
		}
		if !sleep(life, wait) {
			return
		}
		err := r.beat(life, work, ttl)
		switch {
		case life.Err() != nil:
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

// uncertain reports whether a registration that failed in this way may have been carried out.
func uncertain(err error) bool {
	d, answered := errors.AsType[*problem.Error](err)
	return !hopeless(err) && (!answered || failing(d))
}

// beat sends one heartbeat and does what the answer asks for. After a registration of which
// nobody knows whether it was carried out, the lease may have been superseded by it: there is no
// use in asking, and only another registration gives one that is in force.
func (r *Registration) beat(life, work context.Context, ttl time.Duration) error {
	r.mu.Lock()
	lease, unsettled := r.lease, r.unsettled
	r.mu.Unlock()
	if !unsettled {
		if err := r.renew(life, lease, ttl); !errors.Is(err, core.ErrLeaseExpired) {
			return err
		}
	}
	return r.again(life, work, ttl)
}

// renew sends one heartbeat.
func (r *Registration) renew(ctx context.Context, lease string, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(time.Second, ttl/3))
	defer cancel()
	results, err := r.c.Heartbeat(ctx, []string{lease})
	if err != nil {
		return err
	}
	if len(results) != 1 {
		return fmt.Errorf("%w: %d answers to one heartbeat", core.ErrUnavailable, len(results))
	}
	return results[0].State.Err()
}

// again registers the instance anew, after a random part of a sixth of the ttl, so that a
// store which came back is not run down.
func (r *Registration) again(life, work context.Context, ttl time.Duration) error {
	if !sleep(life, rand.N(ttl/6+1)) { //nolint:gosec // spreading load is no secret
		return life.Err()
	}
	ctx, cancel := context.WithTimeout(work, max(registerTime, ttl/3))
	defer cancel()
	r.mu.Lock()
	spec, edition := r.spec, r.edition
	if r.unsettled {
		spec.CreateOnly = false // what is there may be ours
	}
	r.mu.Unlock()
	got, err := r.c.RegisterOnce(ctx, spec)
	r.mu.Lock()
	if err != nil {
		r.unsettled = r.unsettled || uncertain(err)
		r.mu.Unlock()
		return err
	}
	r.lease, r.last, r.warnings, r.unsettled = got.Lease, got.Instance, got.Warnings, false
	changed, spec := r.edition != edition, r.spec
	r.mu.Unlock()
	r.c.logger.Info("the lease had expired; the instance is registered again",
		slog.String("service", r.key.Service), slog.String("id", r.key.ID))
	if changed { // an Update that came in between must not be lost
		return r.Update(ctx, spec)
	}
	return nil
}
