package discovery

// registration.go: the handle of a Go program on an instance of its own.

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
)

// Registration is one instance that this process registered for itself. Prism keeps it alive
// until Close, or until somebody else takes it over or removes it.
type Registration struct {
	c        *Client
	warnings []string
	lease    string
	key      Key

	once sync.Once
	done chan struct{}

	mu   sync.Mutex // guards what follows
	last Instance
	err  error
	gone bool // nothing is left to deregister
}

// Register registers an instance of this process and keeps it alive. Registering the same
// service and id again takes over: the earlier Registration ends with ErrSuperseded. Errors:
// ErrInvalid (a FieldError), ErrConflict (CreateOnly), ErrUnavailable, ErrPermission.
func (c *Client) Register(ctx context.Context, spec Spec) (*Registration, error) {
	started := time.Now()
	r := &Registration{c: c, done: make(chan struct{})}
	got, err := c.registry.RegisterOwn(ctx, RegisterRequest{Spec: spec, CallerHost: c.opt.defaults.CallerHost}, func(s HeartbeatState) {
		r.finish(s.Err())
		c.disown(r)
	})
	c.registered(spec.Service, err, started)
	if err != nil {
		return nil, err
	}
	r.lease, r.warnings, r.key, r.last = got.Lease, got.Warnings, got.Instance.Key(), got.Instance
	c.mu.Lock()
	c.own[r] = struct{}{}
	c.mu.Unlock()
	if r.over() {
		c.disown(r) // it was lost before it was listed
	}
	return r, nil
}

func (c *Client) disown(r *Registration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.own, r)
}

// finish ends the registration for good. It takes no lock that is held while the store is asked.
func (r *Registration) finish(err error) {
	r.mu.Lock()
	r.gone = true
	r.mu.Unlock()
	r.end(err)
}

// end closes Done, the first time with a reason.
func (r *Registration) end(err error) {
	r.once.Do(func() {
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
		close(r.done)
	})
}

func (r *Registration) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// Instance returns the instance as the view shows it now, or as it was last.
func (r *Registration) Instance() Instance {
	in, _, err := r.c.Instance(r.key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && in.Generation == r.last.Generation {
		r.last = in
	}
	return r.last
}

// Lease is the opaque token that proves ownership. It is a secret.
func (r *Registration) Lease() string { return r.lease }

// Warnings are remarks on what was registered, for people.
func (r *Registration) Warnings() []string { return append([]string(nil), r.warnings...) }

// Done is closed when the registration has ended: by Close, because a newer one took over, or
// because somebody removed it. Err says which.
func (r *Registration) Done() <-chan struct{} { return r.done }

// Err is nil while registered and after Close, else ErrSuperseded, ErrDeregistered or
// ErrLeaseExpired.
func (r *Registration) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Update replaces everything that was described; the status stays.
func (r *Registration) Update(ctx context.Context, spec Spec) error {
	_, err := r.c.registry.Update(ctx, UpdateRequest{Lease: r.lease, Spec: spec, CallerHost: r.c.opt.defaults.CallerHost})
	return err
}

// SetStatus sets the status as the owner.
func (r *Registration) SetStatus(ctx context.Context, status, reason string) error {
	_, err := r.c.registry.SetStatus(ctx, StatusRequest{Key: r.key, Status: status, Reason: reason, Lease: r.lease})
	return err
}

// Drain takes the instance out of traffic; SetStatus "up" brings it back.
func (r *Registration) Drain(ctx context.Context, reason string) error {
	return r.SetStatus(ctx, string(core.StatusMaintenance), reason)
}

// Close deregisters. Closing what has ended already does nothing; after an error the instance
// may be there still, and Close can be called again.
func (r *Registration) Close(ctx context.Context) error {
	if r.over() {
		return nil
	}
	r.end(nil) // first, so that our own deletion is not reported as somebody else's
	err := r.c.registry.Deregister(ctx, DeregisterRequest{Key: r.key, Lease: r.lease, Reason: "closed by its owner"})
	if err != nil && !errors.Is(err, core.ErrNotFound) && !errors.Is(err, core.ErrSuperseded) {
		return err
	}
	r.finish(nil)
	r.c.disown(r)
	return nil
}

// letOwnGo says that the handles end, first, so that what the client removes as it closes is not
// reported as somebody else's deed.
func (c *Client) letOwnGo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.own {
		r.end(nil)
	}
}

// endOwn ends the handles when the client closes.
func (c *Client) endOwn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.own {
		r.finish(nil)
	}
	clear(c.own)
}
