// Package consul keeps records in Consul's KV store, and shows them in its catalog.
//
//   - backend.go: opening, closing, and what every call goes through; options.go and
//     transport.go: where Consul is and how it is spoken to; errors.go: what it refused;
//   - layout.go: which keys there are; kv.go: transactions and reads; epoch.go: the identity
//     of the store;
//   - table.go: records, by compare-and-set; mirror.go: their likeness in the catalog;
//   - sessions.go and ending.go: who is alive, and what goes with who is not; sweeper.go,
//     seats.go and deadlines.go: which process watches over that; tidy.go: what is forgotten;
//   - watch.go, state.go and compare.go: blocking queries, which give states, made into changes;
//     setback.go: states that are of an earlier time;
//   - import.go: what others registered.
//
// README.md shows the records as Consul's own tools do.
package consul

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

const (
	maxExpiryDelay = time.Second
	minSessionTTL  = time.Second
	// openLimit bounds Open, also where the caller waits longer.
	openLimit = 5 * time.Second
	// leaveLimit bounds what Close still says to Consul.
	leaveLimit = 500 * time.Millisecond
)

// Info describes the backend before one is opened.
func Info() ports.Info {
	return ports.Info{
		Name: "consul", Version: "1.0.0",
		Capabilities: ports.Capabilities{Replicated: true, Durable: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: maxExpiryDelay, MinSessionTTL: minSessionTTL},
	}
}

// Backend is one namespace of one Consul. It implements ports.Backend and is safe for
// concurrent use.
type Backend struct {
	options Options
	keys    layout
	mirror  mirror
	client  *api.Client
	way     *transport
	epochs  epochs
	nodes   nodes
	foreign foreign
	feeds   backendkit.Feeds
	log     *slog.Logger

	background context.Context // ends with Close
	stop       context.CancelFunc
	calls      sync.WaitGroup // calls under way, and the goroutines of sweeper.go

	mu     sync.Mutex // guards the rest
	closed bool
	open   map[ports.SessionID]openSession
}

var _ ports.Backend = (*Backend)(nil)

// Open connects, checks the permissions, and makes the namespace where there is none. It fails
// within 5 s with ErrInvalid (an option), ErrUnavailable (Consul does not answer, or knows no
// leader), ErrPermission or ErrUnsupported (too old a server).
func Open(ctx context.Context, o Options) (*Backend, error) { return open(ctx, o, sweepTimes) }

func open(ctx context.Context, o Options, times times) (*Backend, error) {
	urls, err := o.complete()
	if err != nil {
		return nil, fmt.Errorf("open the consul backend: %w", err)
	}
	client, way, err := newClient(o, urls)
	if err != nil {
		return nil, fmt.Errorf("open the consul backend: %w", err)
	}
	b := &Backend{
		options: o, keys: layout{o.Namespace}, mirror: mirror{o.Namespace, o.ConsulNamespace, o.Partition}, client: client, way: way,
		log:  slog.Default(), // pluginrpc.Serve sets it.
		open: make(map[ports.SessionID]openSession),
	}
	b.foreign.b, b.foreign.turn = b, make(chan struct{}, 1)
	b.background, b.stop = context.WithCancel(context.Background())
	if err := b.connect(ctx); err != nil {
		b.stop()
		way.next.CloseIdleConnections()
		return nil, fmt.Errorf("open the consul backend: %w", err)
	}
	s := newSweeper(b, times)
	b.calls.Go(func() { s.run(b.background) })
	return b, nil
}

// connect looks whether everything is as it should be.
func (b *Backend) connect(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	err := b.refuseForeign(bounded)
	if err == nil {
		_, err = b.newEpoch(bounded, 0)
	}
	if err == nil {
		_, err = b.foreign.look(bounded, true)
	}
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		if b.lacksLeader(ctx) {
			return b.leaderless()
		}
		err = fmt.Errorf("consul at %s did not answer within %s; look at %s: %w", b.way.where(), openLimit, backendkit.OptionField("url"), ports.ErrUnavailable)
	}
	return err
}

// lacksLeader asks what an agent answers at once, as it keeps other calls waiting for a leader.
func (b *Backend) lacksLeader(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	leader, err := b.client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	return err == nil && leader == ""
}

// Info implements ports.Backend.
func (b *Backend) Info() ports.Info { return Info() }

// Health implements ports.Backend. It asks for a write, by consensus, that changes nothing: a
// cluster without leader or quorum, or a token without the permission, refuses it.
func (b *Backend) Health(ctx context.Context) error {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer leave()
	if err := b.writable(ctx); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	return nil
}

// writable makes a transaction whose condition never holds. Permissions are looked at before it.
func (b *Backend) writable(ctx context.Context) error {
	ops := api.TxnOps{b.op(api.KVCheckIndex, b.keys.epoch(), nil, math.MaxUint64), b.op(api.KVSet, b.keys.epoch(), nil, 0)}
	if *b.options.Mirror {
		ops = append(ops, b.mirror.nodeSet(b.mirror.nth(0)))
	}
	_, err := b.writeAll(ctx, ops)
	return err
}

// Close implements ports.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.feeds.Close()
	b.calls.Wait()
	b.way.next.CloseIdleConnections()
	return nil
}

// enter begins a call, which ends early when its context does, and otherwise when the backend
// is closed. A nil error asks for leave.
func (b *Backend) enter(ctx context.Context) (context.Context, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, fmt.Errorf("the consul backend is %w", ports.ErrClosed)
	}
	b.calls.Add(1)
	bound, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.background, cancel)
	return bound, func() {
		stop()
		cancel()
		b.calls.Done()
	}, nil
}

// newID is a value that no other write has.
func newID() string { return rand.Text() }
