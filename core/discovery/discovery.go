// Package discovery is the facade of Prism's core: it registers, discovers, picks, watches
// and checks over any ports.Backend.
//
// Reads are answered from a local view and never wait for the store. Writes go through to it.
// A Client is safe for concurrent use and owns every goroutine that it starts; Close waits
// for them.
package discovery

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/balance"
	"github.com/marketprism/prism/core/events"
	"github.com/marketprism/prism/core/health"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

// Client is one process's access to one namespace of one store.
type Client struct {
	backend  ports.Backend
	registry *registry.Registry
	bus      *events.Bus
	checks   *health.Scheduler // nil without a prober
	prober   ports.Prober
	opt      options
	live     atomic.Pointer[options] // what Reload changes: policy, healthRequired, defaults
	pickers  pickers

	mu     sync.Mutex // guards own
	own    map[*Registration]struct{}
	closed chan struct{}
	once   sync.Once
	err    error
}

type options struct {
	defaults        core.Defaults
	serviceDefaults map[string]core.Spec
	sessionTTL      time.Duration
	cleanup         time.Duration
	prober          ports.Prober
	policy          balance.Policy
	healthRequired  bool
	protect         float64
	history         int
	log             *slog.Logger
	drain           time.Duration
	program         string
	keep            bool
	wait            bool
	observer        Observer
	journal         ports.Journal
	err             error
}

// Option changes a default of Open.
type Option func(*options)

// WithNamespace sets the namespace that instances show. The backend's own namespace decides
// where records are; give both the same name. Default "prism".
func WithNamespace(name string) Option { return func(o *options) { o.defaults.Namespace = name } }

// WithSessionTTL sets within what time the store notices that this process died. Default 15 s.
func WithSessionTTL(d time.Duration) Option { return func(o *options) { o.sessionTTL = d } }

// WithCleanupInterval sets how often the view is audited against the store. Default 60 s.
func WithCleanupInterval(d time.Duration) Option { return func(o *options) { o.cleanup = d } }

// WithDefaults replaces what a registration leaves open. Default core.StandardDefaults.
func WithDefaults(d core.Defaults) Option { return func(o *options) { o.defaults = d } }

// WithServiceDefaults sets defaults for services by name.
func WithServiceDefaults(m map[string]Spec) Option { return func(o *options) { o.serviceDefaults = m } }

// WithProber has instances that this process holds checked. Without it nobody checks, and
// observed stays "unknown".
func WithProber(p ports.Prober) Option { return func(o *options) { o.prober = p } }

// WithPolicy sets the load balancing policy. Default "weighted_round_robin".
func WithPolicy(name string) Option {
	return func(o *options) {
		p, err := balance.ParsePolicy("load_balancing.strategy", name)
		o.policy, o.err = p, errors.Join(o.err, err)
	}
}

// WithHealthCheckRequired chooses by health: true (default) picks healthy instances, unknown ones only where
// none is healthy; false ignores what checks observed.
func WithHealthCheckRequired(required bool) Option {
	return func(o *options) { o.healthRequired = required }
}

// WithProtectThreshold sets when to doubt the store: when more than this part of a service's instances expires at once,
// they are kept for a while. Default 0.5; 0 turns it off.
func WithProtectThreshold(part float64) Option { return func(o *options) { o.protect = part } }

// WithHistory sets how many events are kept. Default 4,096.
func WithHistory(n int) Option { return func(o *options) { o.history = n } }

// WithLogger sets the logger. Default: nothing is logged.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithDrainTimeout sets how long Close shows this process's own instances as stopping before
// it removes them. Default 5 s; 0 removes them at once.
func WithDrainTimeout(d time.Duration) Option { return func(o *options) { o.drain = d } }

// WithProgram names the program in the store, for people. Default the executable's name.
func WithProgram(name string) Option { return func(o *options) { o.program = name } }

// WithAutoDeregister chooses what Close does: false leaves this process's own instances to run out when it ends.
func WithAutoDeregister(remove bool) Option { return func(o *options) { o.keep = !remove } }

// WithoutWaiting lets Open return before the store has answered; reads are stale until then.
func WithoutWaiting() Option { return func(o *options) { o.wait = false } }

// WithJournal lets the client go on, after a restart, with what it held: see ports.Journal. The
// caller closes the journal, after the client. Default: what it held goes with the process.
func WithJournal(j ports.Journal) Option { return func(o *options) { o.journal = j } }

// WithObserver reports what happens, for metrics.
func WithObserver(ob Observer) Option { return func(o *options) { o.observer = ob } }

// Open starts a Client over a backend, which it owns from then on: Close closes it, and so
// does a failing Open. It waits for the first snapshot of the store, for 10 s where the
// context has no deadline. Errors: ErrInvalid, ErrPermission, ErrUnavailable.
func Open(ctx context.Context, backend ports.Backend, opts ...Option) (*Client, error) {
	o := options{
		defaults: core.StandardDefaults(), sessionTTL: 15 * time.Second, cleanup: time.Minute, policy: balance.WeightedRoundRobin,
		healthRequired: true, protect: 0.5, history: 4096, log: slog.New(slog.DiscardHandler), drain: 5 * time.Second, wait: true,
		program: filepath.Base(os.Args[0]),
	}
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.validate(); err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	c := &Client{
		backend: backend, prober: o.prober, opt: o, own: map[*Registration]struct{}{}, closed: make(chan struct{}),
		bus: events.New(events.Options{History: o.history, Life: rand.Text(), Logger: o.log}),
	}
	c.pickers.init()
	c.live.Store(&c.opt)
	ro := registry.Options{
		Defaults: o.defaults, ServiceDefaults: o.serviceDefaults, SessionTTL: o.sessionTTL, CleanupInterval: o.cleanup,
		ProtectThreshold: o.protect, Program: o.program, Logger: o.log, Publish: c.publish, Journal: o.journal,
	}
	if o.prober != nil {
		c.checks = health.NewScheduler(health.Options{Prober: o.prober, Report: c.checked, Logger: o.log})
		ro.Track, ro.Untrack = c.checks.Track, c.checks.Untrack
	}
	c.registry = registry.New(backend, ro)
	if !o.wait {
		return c, nil
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
	}
	if err := c.registry.Start(ctx); err != nil {
		return nil, errors.Join(err, c.Close(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// Reload changes what a running client can take over: WithPolicy, WithHealthCheckRequired,
// WithDefaults and WithServiceDefaults. Other options are ignored, and what the options leave
// open stays. Instances that are registered keep what was in force then. Errors: ErrInvalid,
// and nothing is changed.
func (c *Client) Reload(opts ...Option) error {
	next := *c.live.Load()
	for _, opt := range opts {
		opt(&next)
	}
	if err := next.validate(); err != nil {
		return err
	}
	c.live.Store(&next)
	c.registry.SetDefaults(next.defaults, next.serviceDefaults)
	return nil
}

func (o *options) validate() error {
	switch {
	case o.err != nil:
		return o.err
	case o.sessionTTL < time.Second || o.sessionTTL > core.MaxTTL:
		return core.Invalid("session_ttl", o.sessionTTL, "use 1 s to 86,400 s")
	case o.cleanup < time.Second:
		return core.Invalid("cleanup_interval", o.cleanup, "use 1 s or more")
	case o.protect < 0 || o.protect > 1:
		return core.Invalid("protect_threshold", o.protect, "use 0 (off) to 1")
	case o.history < 1:
		return core.Invalid("events.history", o.history, "use 1 or more")
	case o.drain < 0:
		return core.Invalid("server.drain_timeout", o.drain, "use 0 s or more")
	}
	return core.ValidateName("namespace", o.defaults.Namespace)
}

func (c *Client) publish(e core.Event) {
	e.Namespace = c.opt.defaults.Namespace
	c.bus.Publish(e)
}

// checked takes in the result of a scheduled check.
func (c *Client) checked(ctx context.Context, in core.Instance, res ports.ProbeResult) (settled bool) {
	if c.opt.observer.HealthCheck != nil {
		c.opt.observer.HealthCheck(in, res.Healthy, res.Latency)
	}
	return c.registry.Observe(ctx, in, res)
}

// Status describes the client for people.
func (c *Client) Status() Status { return c.registry.Status() }

// Backend describes the store's implementation.
func (c *Client) Backend() ports.Info { return c.backend.Info() }

// Ready reports whether the store answers and the view is current.
func (c *Client) Ready(ctx context.Context) error {
	st := c.registry.Status()
	current := st.Synced && !st.Freshness.Stale
	if !current && st.LastFailure != "" {
		return &unavailable{reason: st.LastFailure}
	}
	// Also of a view that is not current the store knows best why.
	if err := c.backend.Health(ctx); err != nil || current {
		return err
	}
	return &unavailable{reason: "the view is not current yet"}
}

type unavailable struct{ reason string }

func (u *unavailable) Error() string {
	prefix := core.ErrUnavailable.Error() + ": "
	return prefix + strings.TrimPrefix(u.reason, prefix)
}
func (u *unavailable) Unwrap() error { return core.ErrUnavailable }

// Close shows this process's own instances as stopping, waits the drain timeout, removes
// them, and ends everything that Open started. When the context ends it stops waiting and
// goes on. What clients registered through this process stays in the store.
func (c *Client) Close(ctx context.Context) error {
	c.once.Do(func() { c.err = c.close(ctx) })
	return c.err
}

func (c *Client) close(ctx context.Context) error {
	close(c.closed)
	if !c.opt.keep {
		c.drainOwn(ctx)
	}
	if c.checks != nil {
		c.checks.Close()
	}
	c.letOwnGo()
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := c.registry.Close(final, !c.opt.keep)
	c.endOwn()
	return errors.Join(err, c.bus.Close(final), c.backend.Close())
}

// drained reports whether an operator has taken an instance out of traffic. Nobody has to move on
// from it, and the owner's word would take the place of his, which is to outlive a restart.
func (c *Client) drained(r *Registration) bool {
	in, ok := c.registry.Snapshot(r.key.Service).Get(r.key.ID)
	return ok && in.State.Drained()
}

// drainOwn shows own instances as stopping for the drain timeout.
func (c *Client) drainOwn(ctx context.Context) {
	c.mu.Lock()
	own := make([]*Registration, 0, len(c.own))
	for r := range c.own {
		own = append(own, r)
	}
	c.mu.Unlock()
	own = slices.DeleteFunc(own, c.drained)
	if len(own) == 0 || c.opt.drain == 0 || ctx.Err() != nil {
		return
	}
	shown := 0
	for _, r := range own {
		err := r.SetStatus(ctx, string(core.StatusStopping), "the process is ending")
		if err == nil {
			shown++
			continue
		}
		c.opt.log.Debug("an instance could not be shown as stopping", slog.Any("error", err))
		if errors.Is(err, core.ErrUnavailable) { // the store is away, and each of the others would wait for it too
			break
		}
	}
	if shown == 0 { // nobody moves on for what nobody sees
		return
	}
	t := time.NewTimer(c.opt.drain)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
