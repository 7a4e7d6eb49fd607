// Package redis keeps records in Redis 6.2 or later, or Valkey: one server, one with replicas
// that sentinels watch, or a cluster.
//
// Scripts make every operation atomic, number the writes and append each to a stream, which is
// the history that watches go on from. Each file is one part of the contract of package ports:
//
//   - backend.go, options.go, connect.go: opening, closing, and what is checked before;
//   - layout.go: which key holds what;
//   - scripts.go and lua/: the scripts, and what they answer;
//   - life.go: every call of a script, and which life of the store its answer belongs to;
//   - sessions.go: who is alive;
//   - table.go: reads of records, and compare-and-set; package backendkit decides;
//   - tail.go: the one reader of the log, and the one who sees to expiries and proofs;
//   - watch.go and snapshot.go: streams;
//   - errors.go: what to say when Redis says no.
//
// README.md has the layout for people with redis-cli, the permissions, and what happens on failover.
package redis

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

const (
	maxExpiryDelay = 500 * time.Millisecond
	minSessionTTL  = time.Second
	// openTimeout bounds Open where its context does not.
	openTimeout = 5 * time.Second
	// healthTimeout bounds Health where its context does not.
	healthTimeout = 5 * time.Second
)

// Info describes the backend before one is opened.
func Info() ports.Info {
	return ports.Info{
		Name: "redis", Version: "1.0.0",
		Capabilities: ports.Capabilities{History: true, Resume: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: maxExpiryDelay, MinSessionTTL: minSessionTTL},
	}
}

// Backend is one namespace of a Redis. It implements ports.Backend and is safe for concurrent use.
type Backend struct {
	keys      layout
	store     *store
	logLength int
	log       *slog.Logger
	life      atomic.Pointer[life]
	joining   chan struct{} // capacity 1; who has put into it may replace life
	tail      *tail

	feeds   backendkit.Feeds
	closing *backendkit.Closing
	stop    context.CancelFunc // ends the tail
	running sync.WaitGroup     // of the tail

	waiting sync.Mutex // guards the two below
	closed  bool
	calls   sync.WaitGroup // of await
}

var _ ports.Backend = (*Backend)(nil)

func logger() *slog.Logger { return slog.Default().With("backend", "redis") }

// Open connects, checks server, login, permissions and namespace, and returns the backend.
// It fails within 5 s, or when the context ends, with one sentence that names the option to
// look at. Errors: ErrInvalid, ErrPermission, ErrUnavailable, ErrUnsupported (too old a server).
func Open(ctx context.Context, o Options) (*Backend, error) {
	b, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open the redis backend: %w", err)
	}
	return b, nil
}

func open(ctx context.Context, o Options) (*Backend, error) {
	s, err := o.settings()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	st, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	lasting, stop := context.WithCancel(context.Background())
	b := &Backend{
		keys: s.keys, store: st, logLength: s.log, log: logger(), joining: make(chan struct{}, 1), closing: backendkit.NewClosing("redis"), stop: stop,
	}
	b.tail = newTail(b)
	none := &life{}
	b.life.Store(none)
	if err = b.join(ctx, none); err == nil {
		err = b.writable(ctx)
	}
	if err == nil {
		err = b.readable(ctx)
	}
	if err != nil {
		_ = b.Close() // the reason matters more
		return nil, err
	}
	b.running.Go(func() { b.tail.read(lasting) })
	b.running.Go(func() { b.tail.prove(lasting) })
	return b, nil
}

// Info implements ports.Backend.
func (b *Backend) Info() ports.Info { return Info() }

// Health implements ports.Backend. It writes what stands there already: a replica, a server
// whose memory or disk is full, or one that lacks the permission refuses it.
func (b *Backend) Health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if err := b.closing.Enter(ctx); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	if err := b.writable(ctx); err != nil {
		return fmt.Errorf("health: %w", b.closing.Or(err))
	}
	return nil
}

func (b *Backend) writable(ctx context.Context) error {
	_, err := b.run(ctx, healthScript)
	return err
}

// readable uses the commands that no script does, so that a permission that is lacking shows as
// the backend is opened.
func (b *Backend) readable(ctx context.Context) error {
	l := b.life.Load()
	if _, err := b.rangeLog(ctx, l, l.seen.Load()); err != nil {
		return err
	}
	if _, err := b.readLog(ctx, l, l.seen.Load(), -1); err != nil {
		return err
	}
	return b.scanPage(ctx, 0, "", func([]string, uint64) {})
}

// Close implements ports.Backend.
func (b *Backend) Close() error {
	b.closing.Close(func() {
		b.stop()
		b.feeds.Close()
		b.store.close() // what waits for an answer gets an error
		b.running.Wait()
		b.waiting.Lock()
		b.closed = true
		b.waiting.Unlock()
		b.calls.Wait()
	})
	return nil
}

// await lets do wait for Redis, and returns when it does or when the context ends, which a
// connection that waits for an answer does not notice. do then ends by the client's timeout, and
// its results must not be read.
func (b *Backend) await(ctx context.Context, do func(ctx context.Context) error) error {
	if ctx.Done() == nil {
		return do(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	b.waiting.Lock()
	if b.closed {
		b.waiting.Unlock()
		return b.closing.Err()
	}
	b.calls.Go(func() { done <- do(ctx) })
	b.waiting.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
