package discovery

// write.go: the operations that change the store, by lease or as an operator. Servers call
// these; Go programs use Register (registration.go).

import (
	"context"
	"time"

	"github.com/marketprism/prism/core"
)

// RegisterInstance registers an instance that a client keeps alive with heartbeats (keepalive
// "client", the default) or that this process keeps alive for it ("auto"). The newest
// registration of an id wins. Errors: ErrInvalid, ErrConflict (create_only), ErrUnavailable.
func (c *Client) RegisterInstance(ctx context.Context, req RegisterRequest) (Registered, error) {
	started := time.Now()
	got, err := c.registry.Register(ctx, req)
	c.registered(req.Spec.Service, err, started)
	return got, err
}

func (c *Client) registered(service string, err error, started time.Time) {
	if f := c.opt.observer.Registration; f != nil {
		f(service, core.Kind(err), time.Since(started))
	}
}

// UpdateInstance replaces everything that the owner describes; the status stays.
func (c *Client) UpdateInstance(ctx context.Context, req UpdateRequest) (Registered, error) {
	return c.registry.Update(ctx, req)
}

// Deregister removes an instance. One that is not there is ErrNotFound.
func (c *Client) Deregister(ctx context.Context, req DeregisterRequest) error {
	return c.registry.Deregister(ctx, req)
}

// SetStatus sets a status: up, healthy, unhealthy, starting, maintenance or stopping.
func (c *Client) SetStatus(ctx context.Context, req StatusRequest) (Instance, error) {
	return c.registry.SetStatus(ctx, req)
}

// Heartbeat renews leases, in order. It never fails as a whole.
func (c *Client) Heartbeat(ctx context.Context, leases []string) []HeartbeatResult {
	return c.registry.Heartbeat(ctx, leases)
}
