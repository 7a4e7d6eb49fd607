package discovery

// wait.go: waiting for instances, woken by changes rather than by polling.

import (
	"context"
	"errors"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/balance"
)

// Wait returns when at least n instances of a service are eligible for traffic and match the
// query, or when the context ends: satisfied is then false, the error nil at a deadline, and
// the instances are those that there are. n below 1 is ErrInvalid.
func (c *Client) Wait(ctx context.Context, service string, n int, q Query) (instances []Instance, satisfied bool, err error) {
	if err := core.ValidateName("service", service); err != nil {
		return nil, false, err
	}
	if n < 1 {
		return nil, false, core.Invalid("min", n, "use 1 or more")
	}
	defer func() { c.discovered(service, "wait", err) }()
	for {
		changed := c.registry.Changed()
		all := c.registry.Snapshot(service).Instances()
		instances = nil
		for i, v := range balance.Judge(all, c.rules(q.Filter, "")) {
			if v.Eligible && q.Match(all[i]) {
				instances = append(instances, all[i])
			}
		}
		if len(instances) >= n {
			return instances, true, nil
		}
		select {
		case <-changed:
		case <-c.closed:
			return instances, false, core.ErrClosed
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return instances, false, nil
			}
			return instances, false, ctx.Err()
		}
	}
}
