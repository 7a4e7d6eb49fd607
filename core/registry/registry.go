// Package registry keeps the local view of one namespace and everything that this process
// keeps alive in it: sessions and their renewal, leases, take-over, adoption, recovery after
// an outage, the protect threshold.
//
// Reads never touch the backend: they come from immutable snapshots (view.go). One lock
// guards the writer's side; it is never held across I/O. Every change, whether it comes back
// from a write of our own or through the watch, passes apply.go, which alone decides what is
// newer and which events people see.
package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Options configure a Registry. Zero fields get the documented defaults.
type Options struct {
	Defaults        core.Defaults        // what a registration leaves open
	ServiceDefaults map[string]core.Spec // by service name: defaults for that service
	SessionTTL      time.Duration        // 15 s
	CleanupInterval time.Duration        // 60 s
	// ProtectThreshold: when more than this share of a service's instances (of four or more)
	// expires within 30 s, they are kept as suspect for 60 s. 0.5 is usual; 0 turns it off.
	ProtectThreshold float64
	Program          string // written into sessions, for people
	Logger           *slog.Logger
	// Journal remembers what this process holds beyond its end. nil: it goes with the process.
	Journal ports.Journal

	// Publish receives events in order, each after the view shows what it tells of. It is called
	// with the registry's lock held and must return at once. nil: events are dropped.
	Publish func(core.Event)
	// Track and Untrack tell a checker which instances this process holds. They are called with
	// the registry's lock held and must return at once. nil: nobody checks.
	Track   func(core.Instance)
	Untrack func(core.Key)
}

// Registry is safe for concurrent use.
type Registry struct {
	backend ports.Backend
	opt     Options
	log     *slog.Logger
	owner   string
	host    string
	view    view

	defaults atomic.Pointer[defaults]

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	loops  sync.WaitGroup // the registry's own goroutines
	calls  sync.WaitGroup // calls in flight; added to under mu

	renewKick   chan struct{}
	recoverKick chan struct{}
	timerKick   chan struct{}
	firstSync   chan struct{}
	firstFail   chan error // what the first watches failed with, for Start

	mu        sync.Mutex // guards what follows; never held across I/O
	closed    bool
	services  map[string]*service
	dirty     map[string]*service // changed since the last flush
	news      []core.Event        // to be published by the next one
	held      map[core.Key]*holding
	inflight  map[core.Key]int // registrations and adoptions that are being written
	sessions  map[ports.SessionID]*session
	timers    timerHeap
	lastTimer uint64
	link      link
	skipped   map[core.Key]string // records that could not be read, and why
	recalled  *recalled
	lag       lag
	refusals  refusals
}

// New starts a registry over a backend, which it does not own. It does not wait for the
// store; see Start.
func New(backend ports.Backend, opt Options) *Registry {
	if opt.SessionTTL == 0 {
		opt.SessionTTL = 15 * time.Second
	}
	if opt.CleanupInterval == 0 {
		opt.CleanupInterval = 60 * time.Second
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Journal == nil {
		opt.Journal = noJournal{}
	}
	if opt.Publish == nil {
		opt.Publish = func(core.Event) {}
	}
	if opt.Track == nil {
		opt.Track = func(core.Instance) {}
	}
	if opt.Untrack == nil {
		opt.Untrack = func(core.Key) {}
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	r := &Registry{
		backend: backend, opt: opt, log: opt.Logger, owner: rand.Text(), host: hostname,
		renewKick: make(chan struct{}, 1), recoverKick: make(chan struct{}, 1), timerKick: make(chan struct{}, 1),
		firstSync: make(chan struct{}), firstFail: make(chan error, 1),
		services: map[string]*service{}, dirty: map[string]*service{}, held: map[core.Key]*holding{}, inflight: map[core.Key]int{},
		sessions: map[ports.SessionID]*session{}, skipped: map[core.Key]string{},
	}
	r.SetDefaults(opt.Defaults, opt.ServiceDefaults)
	r.view.init()
	r.link.retired, r.link.restart = map[string]bool{}, func() {}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.recall()
	for _, loop := range []func(){r.watchLoop, r.renewLoop, r.recoverLoop, r.timerLoop, r.auditLoop} {
		r.loops.Go(loop)
	}
	return r
}

// Start waits until the first snapshot has been seen. It fails with the store's own error
// when the store refuses (ErrPermission, ErrInvalid), and with ErrUnavailable and the last
// reason when the context ends first; the registry goes on trying in both cases.
func (r *Registry) Start(ctx context.Context) error {
	var last error
	for {
		select {
		case <-r.firstSync:
			return nil
		case err := <-r.firstFail:
			if errors.Is(err, ports.ErrPermission) || errors.Is(err, ports.ErrInvalid) || errors.Is(err, ports.ErrUnsupported) {
				return err
			}
			last = err
		case <-ctx.Done():
			if last == nil {
				last = ctx.Err()
			}
			if errors.Is(last, core.ErrUnavailable) {
				return last
			}
			return fmt.Errorf("%w: %w", core.ErrUnavailable, last)
		case <-r.ctx.Done():
			return core.ErrClosed
		}
	}
}

// Owner is the random identifier of this process, as instances show it.
func (r *Registry) Owner() string { return r.owner }

// Close waits for writes in flight, removes what this process registered for itself (see
// RegisterOwn) when remove is true, closes sessions that hold nothing, and ends the loops.
// What clients registered through this process stays in the store.
func (r *Registry) Close(ctx context.Context, remove bool) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.calls.Wait()

	var err error
	if remove {
		err = r.removeOwn(ctx)
	}
	r.cancel()
	r.loops.Wait()
	r.closeEmptySessions(ctx)
	return err
}

// begin admits a call, unless the registry is closed.
func (r *Registry) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return core.ErrClosed
	}
	r.calls.Add(1)
	return nil
}

func (r *Registry) end() { r.calls.Done() }

func kick(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Status describes the registry for people.
func (r *Registry) Status() Status {
	info := r.backend.Info()
	fresh := r.Freshness()
	r.mu.Lock()
	defer r.mu.Unlock()
	st := Status{
		Namespace: r.opt.Defaults.Namespace, Backend: info.Name, Connected: r.link.connected, Synced: r.link.synced,
		Epoch: r.link.cursor.Epoch, Cursor: r.link.cursor, Freshness: fresh, Services: len(r.services),
		Held: len(r.held), Sessions: len(r.sessions), Skipped: len(r.skipped), LastFailure: r.link.lastFailure,
		WatchLag: r.lag.value(time.Now()),
	}
	for _, s := range r.services {
		st.Instances += len(s.entries)
	}
	return st
}
