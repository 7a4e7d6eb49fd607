package discovery

// read.go: reads, all of them from the local view.

import (
	"context"
	"fmt"
	"slices"

	"github.com/marketprism/prism/core"
)

// Query narrows a read. Zero fields do not narrow.
type Query struct {
	Status  []InstanceStatus // any of these
	Tags    []string         // all of these
	AnyTags []string         // at least one of these
	NoTags  []string         // none of these
	Filter  Filter
}

// IsZero reports whether the query selects everything.
func (q Query) IsZero() bool {
	return len(q.Status)+len(q.Tags)+len(q.AnyTags)+len(q.NoTags) == 0 && q.Filter.IsZero()
}

// Match reports whether an instance is selected.
func (q Query) Match(in Instance) bool {
	if len(q.Status) > 0 && !slices.Contains(q.Status, in.Status()) {
		return false
	}
	for _, t := range q.Tags {
		if !in.Tags.Has(t) {
			return false
		}
	}
	if len(q.AnyTags) > 0 && !slices.ContainsFunc(q.AnyTags, in.Tags.Has) {
		return false
	}
	return !slices.ContainsFunc(q.NoTags, in.Tags.Has) && q.Filter.Match(in)
}

// ServiceSummary is one line of a list of services.
type ServiceSummary struct {
	Name      string
	Instances int
	Healthy   int
}

// Services lists the services that have instances, by name. A store that has never answered is
// ErrUnavailable: nobody knows what there is. Afterwards an outage is no error, see Freshness.
func (c *Client) Services(_ context.Context) ([]ServiceSummary, Freshness, error) {
	fresh := c.registry.Freshness()
	if err := c.known("", "services"); err != nil {
		return nil, fresh, err
	}
	names := c.registry.Services()
	out := make([]ServiceSummary, 0, len(names))
	for _, name := range names {
		snap := c.registry.Snapshot(name)
		s := ServiceSummary{Name: name, Instances: snap.Len()}
		for in := range snap.All() {
			if in.Status() == core.StatusHealthy {
				s.Healthy++
			}
		}
		if s.Instances > 0 {
			out = append(out, s)
		}
	}
	return out, fresh, nil
}

// known counts a discovery, which fails while the view was never filled: an outage must not
// look like "no instances".
func (c *Client) known(service, operation string) error {
	var err error
	if !c.registry.Synced() {
		err = c.neverSynced()
	}
	c.discovered(service, operation, err)
	return err
}

func (c *Client) discovered(service, operation string, err error) {
	if f := c.opt.observer.Discovery; f != nil {
		f(service, operation, core.Kind(err))
	}
}

// Snapshot returns a service as it is now, for adapters that encode it; it never changes. An
// unknown service is empty; ErrUnavailable where the store has never answered. It counts as a
// discovery.
func (c *Client) Snapshot(service string) (*Snapshot, Freshness, error) {
	fresh := c.registry.Freshness()
	if err := c.known(service, "instances"); err != nil {
		return nil, fresh, err
	}
	return c.registry.Snapshot(service), fresh, nil
}

// Instances lists instances of a service by id. An unknown service is empty; a name that no
// service can have is ErrInvalid; ErrUnavailable is as for Services. A filter may take long over many
// instances; it ends with the context.
func (c *Client) Instances(ctx context.Context, service string, q Query) ([]Instance, Freshness, error) {
	if err := core.ValidateName("service", service); err != nil {
		return nil, Freshness{}, err
	}
	snap, fresh, err := c.Snapshot(service)
	if err != nil {
		return nil, fresh, err
	}
	out := make([]Instance, 0, snap.Len())
	for in := range snap.All() {
		if err := ctx.Err(); err != nil {
			return nil, fresh, err
		}
		if q.Match(in) {
			out = append(out, in)
		}
	}
	return out, fresh, nil
}

// Instance finds one instance. Errors: ErrInvalid, ErrNotFound, ErrUnavailable (the store has
// never answered).
func (c *Client) Instance(key Key) (Instance, Freshness, error) {
	if err := key.Validate(); err != nil {
		return Instance{}, Freshness{}, err
	}
	snap, fresh, err := c.Snapshot(key.Service)
	if err != nil {
		return Instance{}, fresh, err
	}
	in, ok := snap.Get(key.ID)
	if !ok {
		return Instance{}, fresh, fmt.Errorf("%w: there is no instance %s of service %s", core.ErrNotFound, key.ID, key.Service)
	}
	return in, fresh, nil
}
