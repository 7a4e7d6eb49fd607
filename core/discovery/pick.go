package discovery

// pick.go: which instance gets the next request. What is worked out once for each snapshot
// (who is eligible, in what order) is kept, so that a pick is a few loads and an addition.

import (
	"context"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/balance"
)

// PickOptions narrow and steer a pick.
type PickOptions struct {
	Policy   string // default the client's
	Key      string // for policies that go by a key
	Endpoint string // the name of a further endpoint: one that has it is picked, for its URL; default the primary one
	Filter   Filter
	Exclude  []string // ids not to pick, such as those that just failed
}

// Picked is the instance that gets the next request.
type Picked struct {
	Instance  Instance
	URL       string // scheme://host:port of the endpoint
	Freshness Freshness
}

// Explanation says whether an instance gets traffic, how much, and why not.
type Explanation struct {
	ID       string
	Eligible bool
	Reason   string
	Share    float64 // expected part of the picks, 0 to 1
}

// pickers keeps what was worked out, by what was asked.
type pickers struct {
	mu    sync.Mutex // serialises changes of the map
	cells atomic.Pointer[map[pickKey]*pickCell]
}

type pickKey struct {
	service, policy, filter, endpoint string
	healthRequired                    bool
}

type pickCell struct {
	mu  sync.Mutex // serialises rebuilding
	now atomic.Pointer[rotation]
}

// rotation is what one snapshot comes to under one policy and filter. It never changes, but
// its picker may be that of the rotation before it.
type rotation struct {
	snap     *Snapshot
	picker   balance.Picker
	cands    []balance.Candidate
	eligible []int32 // index into snap, for each candidate
	urls     []string
}

// What is kept at the most: answers to as many questions, and about as much memory in all of them. People
// who invent filters begin anew rather than fill it.
const (
	maxPickers     = 4096
	maxPickerBytes = 128 << 20
	candidateBytes = 100 // of each candidate, its place in the snapshot and its URL
)

func (p *pickers) init() { p.cells.Store(&map[pickKey]*pickCell{}) }

func (p *pickers) cell(key pickKey) *pickCell {
	if cell, ok := (*p.cells.Load())[key]; ok {
		return cell
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.cells.Load()
	if cell, ok := old[key]; ok {
		return cell
	}
	next := maps.Clone(old)
	if len(next) >= maxPickers || kept(next) >= maxPickerBytes {
		next = map[pickKey]*pickCell{}
	}
	cell := &pickCell{}
	next[key] = cell
	p.cells.Store(&next)
	return cell
}

func kept(cells map[pickKey]*pickCell) (bytes int) {
	for _, cell := range cells {
		if r := cell.now.Load(); r != nil {
			bytes += len(r.cands)*candidateBytes + r.picker.Bytes()
		}
	}
	return bytes
}

func (c *Client) rules(f Filter, endpoint string) balance.Rules {
	return balance.Rules{HealthRequired: c.live.Load().healthRequired, Filter: f, Endpoint: endpoint}
}

// picking checks what is asked for, and gives the policy to pick by.
func (c *Client) picking(o PickOptions) (balance.Policy, error) {
	if o.Endpoint != "" {
		if err := core.ValidateName("endpoint", o.Endpoint); err != nil {
			return "", err
		}
	}
	if o.Policy == "" {
		return c.live.Load().policy, nil
	}
	return balance.ParsePolicy("policy", o.Policy)
}

// rotation returns what the current snapshot comes to.
func (c *Client) rotation(service string, policy balance.Policy, f Filter, endpoint string) (*rotation, error) {
	snap := c.registry.Snapshot(service)
	if snap.Len() == 0 { // it has no place among those that are kept: anybody can invent names
		p, err := balance.New(policy, nil, nil)
		return &rotation{snap: snap, picker: p}, err
	}
	rules := c.rules(f, endpoint)
	cell := c.pickers.cell(pickKey{service, string(policy), f.String(), endpoint, rules.HealthRequired})
	if r := cell.now.Load(); r != nil && r.snap == snap {
		return r, nil
	}
	cell.mu.Lock()
	defer cell.mu.Unlock()
	snap = c.registry.Snapshot(service)
	old := cell.now.Load()
	if old != nil && old.snap == snap {
		return old, nil
	}
	r := &rotation{snap: snap}
	instances := snap.Instances()
	for i, v := range balance.Judge(instances, rules) {
		if v.Eligible {
			in := &instances[i]
			r.cands = append(r.cands, balance.Candidate{ID: in.ID, Weight: in.Weight, Zone: in.Zone})
			r.eligible = append(r.eligible, int32(i)) //nolint:gosec // a service has fewer than 2^31 instances
			url := in.BaseURL()
			if ep, ok := in.Endpoints.Get(endpoint); ok {
				url = ep.URL()
			}
			r.urls = append(r.urls, url)
		}
	}
	if old != nil && old.picker.Same(r.cands) {
		r.picker = old.picker
	} else {
		p, err := balance.New(policy, r.cands, mathrand.Uint64)
		if err != nil {
			return nil, err
		}
		r.picker = p
	}
	cell.now.Store(r)
	return r, nil
}

// Pick chooses an eligible instance. Errors: ErrNotFound (no such service, or no instance with
// that endpoint), ErrNoEligible (none of its instances may receive traffic), ErrUnavailable (the store has
// never answered), ErrInvalid.
func (c *Client) Pick(_ context.Context, service string, o PickOptions) (Picked, error) {
	p, err := c.pick(service, o)
	c.discovered(service, "pick", err)
	return p, err
}

func (c *Client) pick(service string, o PickOptions) (Picked, error) {
	policy, err := c.picking(o)
	if err != nil {
		return Picked{}, err
	}
	r, err := c.rotation(service, policy, o.Filter, o.Endpoint)
	if err != nil {
		return Picked{}, err
	}
	i := r.pick(o)
	if i < 0 {
		return Picked{}, c.whyNone(service, r, o)
	}
	return Picked{Instance: r.snap.At(int(r.eligible[i])), URL: r.urls[i], Freshness: c.registry.Freshness()}, nil
}

// pick returns the index of a candidate, −1 for none.
func (r *rotation) pick(o PickOptions) int {
	if len(o.Exclude) == 0 {
		return r.picker.Pick(o.Key)
	}
	allowed := func(i int) bool { return !slices.Contains(o.Exclude, r.cands[i].ID) }
	for range len(o.Exclude) + 1 {
		if i := r.picker.Pick(o.Key); i < 0 || allowed(i) {
			return i
		}
	}
	start := mathrand.IntN(len(r.cands))
	for n := range r.cands {
		if i := (start + n) % len(r.cands); allowed(i) {
			return i
		}
	}
	return -1
}

func (c *Client) whyNone(service string, r *rotation, o PickOptions) error {
	if err := core.ValidateName("service", service); err != nil {
		return err
	}
	switch {
	case !c.registry.Synced():
		return c.neverSynced()
	case r.snap.Len() == 0:
		return fmt.Errorf("%w: there is no service %s", core.ErrNotFound, service)
	case len(o.Exclude) > 0 && len(r.cands) > 0:
		return fmt.Errorf("%w: all %d eligible instances of service %s are excluded", core.ErrNoEligible, len(r.cands), service)
	}
	if o.Endpoint != "" && c.lacksEndpoint(r.snap, o) {
		return fmt.Errorf("%w: no instance of service %s has an endpoint %q", core.ErrNotFound, service, o.Endpoint)
	}
	return fmt.Errorf("%w: none of the instances of service %s, %d in all, may receive traffic", core.ErrNoEligible, service, r.snap.Len())
}

// lacksEndpoint reports whether the endpoint is all that is missing: no instance has it, and
// without it one would be picked.
func (c *Client) lacksEndpoint(snap *Snapshot, o PickOptions) bool {
	instances := snap.Instances()
	for i := range instances {
		if _, has := instances[i].Endpoints.Get(o.Endpoint); has {
			return false
		}
	}
	return slices.ContainsFunc(balance.Judge(instances, c.rules(o.Filter, "")), func(v balance.Verdict) bool { return v.Eligible })
}

func (c *Client) neverSynced() error {
	reason := c.registry.Status().LastFailure
	if reason == "" {
		reason = "the store has not answered yet"
	}
	return &unavailable{reason: reason}
}

// URL picks an instance and returns where to reach it.
func (c *Client) URL(ctx context.Context, service string, o PickOptions) (string, error) {
	p, err := c.Pick(ctx, service, o)
	return p.URL, err
}

// Explain says of each instance whether it gets traffic, how much, and why not.
func (c *Client) Explain(_ context.Context, service string, o PickOptions) ([]Explanation, error) {
	if err := core.ValidateName("service", service); err != nil {
		return nil, err
	}
	policy, err := c.picking(o)
	if err != nil {
		return nil, err
	}
	snap := c.registry.Snapshot(service)
	if snap.Len() == 0 {
		if !c.registry.Synced() {
			return nil, c.neverSynced()
		}
		return nil, fmt.Errorf("%w: there is no service %s", core.ErrNotFound, service)
	}
	instances := snap.Instances()
	out := make([]Explanation, len(instances))
	var cands []balance.Candidate
	var at []int
	for i, v := range balance.Judge(instances, c.rules(o.Filter, o.Endpoint)) {
		in := &instances[i]
		out[i] = Explanation{ID: in.ID, Eligible: v.Eligible, Reason: v.Reason}
		if v.Eligible {
			cands = append(cands, balance.Candidate{ID: in.ID, Weight: in.Weight, Zone: in.Zone})
			at = append(at, i)
		}
	}
	for i, share := range balance.Shares(cands, policy) {
		out[at[i]].Share = share
	}
	return out, nil
}
