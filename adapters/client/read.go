package client

// read.go: finding instances.

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// freshness is how answers say how far they may lag.
type freshness struct {
	Stale bool  `json:"stale"`
	AgeMS int64 `json:"age_ms"`
}

func (f freshness) decoded() discovery.Freshness {
	return discovery.Freshness{Stale: f.Stale, Age: time.Duration(f.AgeMS) * time.Millisecond}
}

func get(path string, query url.Values) request {
	return request{method: http.MethodGet, path: path, query: query, repeatable: true}
}

// Services lists the services that have instances, by name.
func (c *Client) Services(ctx context.Context) ([]discovery.ServiceSummary, discovery.Freshness, error) {
	var out struct {
		Services []struct {
			Name      string `json:"name"`
			Instances int    `json:"instances"`
			Healthy   int    `json:"healthy"`
		} `json:"services"`
		freshness
	}
	if err := c.call(ctx, get("/v1/services", nil), &out); err != nil {
		return nil, discovery.Freshness{}, err
	}
	list := make([]discovery.ServiceSummary, 0, len(out.Services))
	for _, s := range out.Services {
		list = append(list, discovery.ServiceSummary{Name: s.Name, Instances: s.Instances, Healthy: s.Healthy})
	}
	return list, out.decoded(), nil
}

// Instances lists the instances of a service that a query selects, by id; none for an unknown
// service.
func (c *Client) Instances(ctx context.Context, service string, q discovery.Query) ([]core.Instance, discovery.Freshness, error) {
	query := url.Values{}
	for _, s := range q.Status {
		query.Add("status", string(s))
	}
	for _, t := range q.Tags {
		query.Add("tag", t)
	}
	filter, err := allOf(anyTag(q.AnyTags), noTag(q.NoTags), q.Filter.String())
	if err != nil {
		return nil, discovery.Freshness{}, err
	}
	if filter != "" {
		query.Set("filter", filter)
	}
	var out struct {
		Instances []core.Instance `json:"instances"`
		freshness
	}
	if err := c.call(ctx, get(servicePath(service, "/instances"), query), &out); err != nil {
		return nil, discovery.Freshness{}, err
	}
	return out.Instances, out.decoded(), nil
}

// Instance shows one instance; core.ErrNotFound when there is none.
func (c *Client) Instance(ctx context.Context, key core.Key) (in core.Instance, err error) {
	err = c.call(ctx, get(instancePath(key, ""), nil), &in)
	return in, err
}

// Pick chooses an instance to call. Errors: core.ErrNotFound (no such service),
// core.ErrNoEligible, core.ErrUnavailable.
func (c *Client) Pick(ctx context.Context, service string, o discovery.PickOptions) (discovery.Picked, error) {
	query, err := pickQuery(o)
	if err != nil {
		return discovery.Picked{}, err
	}
	var out struct {
		Instance core.Instance `json:"instance"`
		URL      string        `json:"url"`
		freshness
	}
	if err := c.call(ctx, get(servicePath(service, "/pick"), query), &out); err != nil {
		return discovery.Picked{}, err
	}
	return discovery.Picked{Instance: out.Instance, URL: out.URL, Freshness: out.decoded()}, nil
}

// URL is the URL of Pick.
func (c *Client) URL(ctx context.Context, service string, o discovery.PickOptions) (string, error) {
	p, err := c.Pick(ctx, service, o)
	return p.URL, err
}

// Explain says of each instance whether it may be picked, why, and its share.
func (c *Client) Explain(ctx context.Context, service string, o discovery.PickOptions) ([]discovery.Explanation, error) {
	query, err := pickQuery(o)
	if err != nil {
		return nil, err
	}
	var out struct {
		Instances []struct {
			ID       string  `json:"id"`
			Eligible bool    `json:"eligible"`
			Reason   string  `json:"reason"`
			Share    float64 `json:"share"`
		} `json:"instances"`
	}
	if err := c.call(ctx, get(servicePath(service, "/explain"), query), &out); err != nil {
		return nil, err
	}
	list := make([]discovery.Explanation, 0, len(out.Instances))
	for _, e := range out.Instances {
		list = append(list, discovery.Explanation{ID: e.ID, Eligible: e.Eligible, Reason: e.Reason, Share: e.Share})
	}
	return list, nil
}

func pickQuery(o discovery.PickOptions) (url.Values, error) {
	query := url.Values{}
	if o.Policy != "" {
		query.Set("policy", o.Policy)
	}
	if o.Key != "" {
		query.Set("key", o.Key)
	}
	if o.Endpoint != "" {
		query.Set("endpoint", o.Endpoint)
	}
	var not string
	if len(o.Exclude) > 0 {
		not = "not (id in [" + quoteAll(o.Exclude) + "])"
	}
	filter, err := allOf(not, o.Filter.String())
	if filter != "" {
		query.Set("filter", filter)
	}
	return query, err
}

// maxWait is what one request may wait; Wait asks again for longer.
const maxWait = 60 * time.Second

// waitSlack is how much longer than it was asked to wait a host may take to answer.
const waitSlack = 5 * time.Second

// Wait waits until n instances are eligible, or ctx ends: at its deadline satisfied is false
// and err nil.
func (c *Client) Wait(ctx context.Context, service string, n int) (instances []core.Instance, satisfied bool, err error) {
	longest := maxWait
	if len(c.addresses) > 1 {
		longest = impatience
	}
	for {
		timeout, last := longest, false
		if deadline, has := ctx.Deadline(); has {
			timeout = min(timeout, max(0, time.Until(deadline)))
			last = timeout < longest
		}
		var out struct {
			Satisfied bool            `json:"satisfied"`
			Instances []core.Instance `json:"instances"`
		}
		req := get(servicePath(service, "/wait"), url.Values{
			"min": {strconv.Itoa(n)}, "timeout": {strconv.FormatFloat(timeout.Seconds(), 'f', 3, 64)},
		})
		req.patience = timeout + waitSlack
		call, cancel := context.WithTimeout(ctx, time.Duration(len(c.addresses))*req.patience+waitSlack)
		err := c.call(call, req, &out)
		cancel()
		switch {
		case err == nil && out.Satisfied:
			return out.Instances, true, nil
		case err == nil:
			instances = out.Instances
		}
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded), err == nil && last:
			return instances, false, nil
		case err != nil:
			return instances, false, err
		}
	}
}

// allOf joins expressions of the filter language that must all hold.
func allOf(parts ...string) (string, error) {
	kept := parts[:0]
	for _, p := range parts {
		if strings.TrimSpace(p) != "" {
			kept = append(kept, "("+p+")")
		}
	}
	joined := strings.Join(kept, " && ")
	if len(joined) > core.MaxFilterBytes {
		return "", core.TooLarge("filter", strconv.Itoa(len(joined))+" bytes", "together with tags and excluded ids at most 4,096 bytes")
	}
	return joined, nil
}

func anyTag(tags []string) string {
	parts := make([]string, 0, len(tags))
	for _, t := range tags {
		parts = append(parts, strconv.Quote(t)+" in tags")
	}
	return strings.Join(parts, " || ")
}

func noTag(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return "not (" + anyTag(tags) + ")"
}

func quoteAll(list []string) string {
	quoted := make([]string, 0, len(list))
	for _, s := range list {
		quoted = append(quoted, strconv.Quote(s))
	}
	return strings.Join(quoted, ", ")
}
