package client

// write.go: registering once, and acting on instances.

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/ports"
)

// registered is the answer to a registration.
type registered struct {
	Instance core.Instance `json:"instance"`
	Lease    struct {
		ID string `json:"id"`
	} `json:"lease"`
	Warnings []string `json:"warnings"`
}

func (r registered) decoded() discovery.Registered {
	return discovery.Registered{Instance: r.Instance, Lease: r.Lease.ID, Warnings: r.Warnings}
}

// RegisterOnce registers an instance and leaves the heartbeats to the caller; Register sends
// them. Whether an earlier registration was taken over is not told: Created stays false. When the
// answer got lost the error is core.ErrUnavailable, and the instance may be there until its ttl ends.
func (c *Client) RegisterOnce(ctx context.Context, spec core.Spec) (discovery.Registered, error) {
	req := request{method: http.MethodPost, path: servicePath(spec.Service, "/instances"), body: spec}
	if spec.ID != "" {
		req.method, req.path = http.MethodPut, instancePath(core.Key{Service: spec.Service, ID: spec.ID}, "")
	}
	var out registered
	if err := c.call(ctx, req, &out); err != nil {
		return discovery.Registered{}, err
	}
	return out.decoded(), nil
}

// Update replaces everything that the owner describes; the status stays. The Spec may leave
// service and id to the lease. CallerHost is the host's to find out.
func (c *Client) Update(ctx context.Context, u discovery.UpdateRequest) (discovery.Registered, error) {
	lease, err := core.ParseLease(u.Lease)
	if err != nil {
		return discovery.Registered{}, err
	}
	u.Spec.CreateOnly, u.Spec.Status = false, "" // both are of a first registration
	var out registered
	err = c.call(ctx, request{
		method: http.MethodPut, path: instancePath(lease.Key, ""), body: u.Spec,
		header: guard(u.Lease, u.IfMatch), repeatable: u.IfMatch.IsZero(),
	}, &out)
	return out.decoded(), err
}

// Deregister removes an instance, by its lease or as an operator. The Actor is the host's to
// know. core.ErrNotFound when there is none.
func (c *Client) Deregister(ctx context.Context, d discovery.DeregisterRequest) error {
	query := url.Values{}
	if d.Reason != "" {
		query.Set("reason", d.Reason)
	}
	return c.call(ctx, request{
		method: http.MethodDelete, path: instancePath(d.Key, ""), query: query, header: guard(d.Lease, d.IfMatch),
	}, nil)
}

// SetStatus sets a status, by the instance's lease or as an operator. The Actor is the host's
// to know.
func (c *Client) SetStatus(ctx context.Context, s discovery.StatusRequest) (in core.Instance, err error) {
	err = c.call(ctx, request{
		method: http.MethodPut, path: instancePath(s.Key, "/status"), header: guard(s.Lease, s.IfMatch), repeatable: s.IfMatch.IsZero(),
		body: struct {
			Status string `json:"status"`
			Reason string `json:"reason,omitempty"`
		}{s.Status, s.Reason},
	}, &in)
	return in, err
}

// guard gives the headers that make a write conditional.
func guard(lease string, rev core.Revision) http.Header {
	h := http.Header{}
	if lease != "" {
		h.Set("Prism-Lease", lease)
	}
	if !rev.IsZero() {
		h.Set("If-Match", `"`+rev.String()+`"`)
	}
	return h
}

// Heartbeat renews leases, at most 1,000. Results are in their order; an error is of the
// whole call, and nothing is known of any lease then.
func (c *Client) Heartbeat(ctx context.Context, leases []string) ([]discovery.HeartbeatResult, error) {
	var out struct {
		Results []struct {
			Lease string              `json:"lease"`
			State core.HeartbeatState `json:"state"`
		} `json:"results"`
	}
	at, err := c.ask(ctx, request{method: http.MethodPost, path: "/v1/heartbeats", repeatable: true, body: struct {
		Leases []string `json:"leases"`
	}{leases}}, &out)
	if err != nil {
		return nil, err
	}
	list := make([]discovery.HeartbeatResult, 0, len(out.Results))
	cutOff := len(out.Results) > 0
	for _, r := range out.Results {
		cutOff = cutOff && r.State == core.HeartbeatUnavailable
		list = append(list, discovery.HeartbeatResult{Lease: r.Lease, State: r.State})
	}
	if cutOff {
		c.leave(at) // it has no store; another host may
	}
	return list, nil
}

// checkPatience is longer than a check on demand takes at the most: a host that waits for an instance is
// not to be blamed for it.
const checkPatience = 27 * time.Second

// Check checks an instance's health now, by its host; this changes nothing.
func (c *Client) Check(ctx context.Context, key core.Key) (ports.ProbeResult, error) {
	var out struct {
		Healthy    bool    `json:"healthy"`
		StatusCode int     `json:"status_code"`
		LatencyMS  float64 `json:"latency_ms"`
		Detail     string  `json:"detail"`
	}
	if err := c.call(ctx, request{method: http.MethodPost, path: instancePath(key, "/check"), repeatable: true, patience: checkPatience}, &out); err != nil {
		return ports.ProbeResult{}, err
	}
	return ports.ProbeResult{
		Healthy: out.Healthy, StatusCode: out.StatusCode, Detail: out.Detail,
		Latency: time.Duration(out.LatencyMS * float64(time.Millisecond)),
	}, nil
}

// ReportOutcome tells how a call to an instance went.
func (c *Client) ReportOutcome(ctx context.Context, key core.Key, ok bool, latency time.Duration) error {
	return c.call(ctx, request{method: http.MethodPost, path: instancePath(key, "/outcome"), body: struct {
		OK        bool    `json:"ok"`
		LatencyMS float64 `json:"latency_ms"`
	}{ok, float64(latency) / float64(time.Millisecond)}}, nil)
}
