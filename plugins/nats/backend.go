// Package nats keeps records in a JetStream stream of NATS.
//
// A stream holds one namespace: a subject for each record and each session, with one message
// each, its latest. Writes are compare-and-set on that message's sequence. A session's message has a
// TTL; NATS leaves a marker where it ran out, and whoever sees that removes what was under it.
// Each file is one part of the contract of package ports:
//
//   - backend.go, options.go, connect.go: opening, closing, and what is checked before;
//   - layout.go: the stream, and which subject holds what;
//   - remote.go: the requests that all else is made of;
//   - epoch.go: reads, and which life of the stream their answers belong to;
//   - sessions.go: who is alive;
//   - table.go and hope.go: reads and compare-and-set of records; package backendkit decides;
//   - mirror.go and pump.go: the copy of the namespace that the stream is followed into;
//   - reach.go: how far the stream is, and that the copy is as far;
//   - watch.go: streams of records out of that copy, and the proof that they are complete;
//   - seats.go: which processes follow sessions, for all others;
//   - endings.go and sweep.go: what is removed after its session ended;
//   - errors.go: what to say when NATS says no.
//
// README.md has the layout for people with the nats tool, the permissions, and what happens on failover.
package nats

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

const (
	// maxExpiryDelay: NATS looks for what ran out every 0.25 s and may repeat that after 2 s; then
	// one of the hosts removes what was under the session.
	maxExpiryDelay = 2500 * time.Millisecond
	// minSessionTTL is the least TTL of a message.
	minSessionTTL = time.Second
	// openTimeout bounds Open where its context does not.
	openTimeout = 5 * time.Second
	// healthTimeout bounds Health where its context does not.
	healthTimeout = 5 * time.Second
)

// Info describes the backend before one is opened.
func Info() ports.Info {
	return ports.Info{
		Name: "nats", Version: "1.0.0",
		Capabilities: ports.Capabilities{Replicated: true, Durable: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: maxExpiryDelay, MinSessionTTL: minSessionTTL},
	}
}

// Backend is one namespace of a NATS cluster. It implements ports.Backend and is safe for
// concurrent use.
type Backend struct {
	names  layout
	remote *remote
	log    *slog.Logger
	life   atomic.Pointer[life] // nil until the first read
	mirror *mirror
	seats  *seats
	held   held
	puts   puts

	interrupt   atomic.Pointer[context.CancelFunc] // makes the pump begin anew
	pumpProblem atomic.Pointer[error]              // why it last did

	feeds   backendkit.Feeds
	closing *backendkit.Closing
	stop    context.CancelFunc // ends what runs
	running sync.WaitGroup
}

var _ ports.Backend = (*Backend)(nil)

// Open connects, checks server, login, permissions and namespace, makes the stream where there
// is none, and returns the backend. It fails within 5 s, or when the context ends, with one sentence that
// names the option to look at. Errors: ErrInvalid, ErrPermission, ErrUnavailable, ErrUnsupported
// (too old a server).
func Open(ctx context.Context, o Options) (*Backend, error) {
	b, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open the NATS backend: %w", err)
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
	log := slog.Default().With("backend", "nats")
	conn, err := s.connect(ctx, log)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn.Conn)
	if err != nil {
		conn.close()
		return nil, fail(err)
	}
	living, stop := context.WithCancel(context.Background())
	b := &Backend{
		names: s.names, remote: &remote{conn: conn, js: js, names: s.names, replicas: s.replicas}, log: log,
		mirror: newMirror(), seats: newSeats(), closing: backendkit.NewClosing("NATS"), stop: stop,
	}
	b.running.Go(func() { b.sit(living) })
	b.running.Go(func() { b.pump(living) })
	b.running.Go(func() { b.prove(living) })
	b.running.Go(func() { b.sweep(living) })
	if err := b.check(ctx); err != nil {
		_ = b.Close() // the reason matters more
		return nil, err
	}
	return b, nil
}

// check asks what Open promises: everything that the backend will do is done once.
func (b *Backend) check(ctx context.Context) error {
	now, err := b.current(ctx)
	if err != nil {
		return err
	}
	if err := b.writable(ctx); err != nil {
		return err
	}
	if err := b.remote.answerable(ctx); err != nil {
		return err
	}
	info, err := b.remote.info(ctx)
	if err != nil {
		return err
	}
	if has := info.Config.Replicas; has != b.remote.replicas {
		b.log.Warn("the stream lies on another number of servers than backend_config.replicas says; change it with nats stream edit", "stream", b.names.stream, "has", has, "replicas", b.remote.replicas)
	}
	floor := info.State.LastSeq
	// That the stream can be followed is enough: watches wait until it was.
	if err := b.mirror.await(ctx, now, func() bool { return b.mirror.position > 0 }); err != nil {
		if why := b.pumpProblem.Load(); why != nil {
			return fail(*why)
		}
		return err
	}
	b.mirror.setFloor(floor)
	return nil
}

// Info implements ports.Backend.
func (b *Backend) Info() ports.Info { return Info() }

// Health implements ports.Backend. It writes: a stream without leader or quorum, with full
// storage or without the permission refuses it.
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
	if _, err := b.current(ctx); err != nil {
		return err
	}
	_, err := b.remote.publish(ctx, write{subject: b.names.probe(), data: []byte("{}"), anyway: true, id: rand.Text()})
	if err != nil {
		return fail(err)
	}
	return nil
}

// Close implements ports.Backend.
func (b *Backend) Close() error {
	b.closing.Close(func() {
		b.stop()
		b.feeds.Close()
		b.running.Wait()
		b.remote.conn.close()
	})
	return nil
}
