package discovery

// observe.go: events, live checks and reported outcomes.

import (
	"context"
	"time"

	"github.com/marketprism/prism/core"
)

// Subscribe follows events; see events.Bus.
func (c *Client) Subscribe(o SubscribeOptions) (*Subscription, error) { return c.bus.Subscribe(o) }

// Events reads the history in ascending order; see events.Bus.
func (c *Client) Events(q HistoryQuery) (list []Event, next string, reset bool, err error) {
	return c.bus.History(q)
}

// Handle calls a function for each event of the given types (none: all), one at a time and
// in order, until remove is called or the client closes. An unknown type is ErrInvalid.
func (c *Client) Handle(types []EventType, handle func(Event)) (remove func(), err error) {
	return c.bus.Handle(types, handle)
}

// Check probes an instance now. It changes nothing. Errors: ErrNotFound, ErrUnsupported
// (opened without a prober).
func (c *Client) Check(ctx context.Context, key Key) (ProbeResult, error) {
	in, _, err := c.Instance(key)
	if err != nil {
		return ProbeResult{}, err
	}
	if c.prober == nil {
		return ProbeResult{}, core.ErrUnsupported
	}
	return c.prober.Probe(ctx, in)
}

// ReportOutcome tells how a request to an instance went. No policy of this version looks at
// outcomes; the instance must exist.
func (c *Client) ReportOutcome(key Key, _ bool, latency time.Duration) error {
	if latency < 0 {
		return core.Invalid("latency_ms", latency, "use 0 or more")
	}
	_, _, err := c.Instance(key)
	return err
}
