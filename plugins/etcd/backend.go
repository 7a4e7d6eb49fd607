// Package etcd keeps records in etcd v3.
//
// A session is a lease, with its records attached, so that they go when it runs out though no
// process of Prism is alive. Each file is one part of the contract of package ports:
//
//   - backend.go, options.go, connect.go: opening, closing, and what is checked before;
//   - layout.go: which key holds what;
//   - epoch.go: every read, and which life of the store its answer belongs to;
//   - sessions.go and renewals.go: who is alive;
//   - table.go: reads of records, and compare-and-set; package backendkit decides;
//   - fading.go and audit.go: what is remembered for a while and then forgotten;
//   - watch.go, snapshot.go and upstream.go: streams, and the proof that they are complete;
//   - errors.go: what to say when etcd says no.
//
// README.md has the layout for people with etcdctl, the permissions, and what happens on failover.
package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

const (
	// maxExpiryDelay: etcd looks for leases that ran out every 0.5 s, and revokes them by consensus.
	maxExpiryDelay = 1500 * time.Millisecond
	// minSessionTTL is etcd's least TTL, 1.5 times the election timeout in whole seconds, for the
	// election timeout that it has by default. A session of less is granted more.
	minSessionTTL = 2 * time.Second
	// openTimeout bounds Open where its context does not.
	openTimeout = 5 * time.Second
	// healthTimeout bounds Health where its context does not.
	healthTimeout = 5 * time.Second
)

// Info describes the backend before one is opened.
func Info() ports.Info {
	return ports.Info{
		Name: "etcd", Version: "1.0.0",
		Capabilities: ports.Capabilities{History: true, Resume: true, Replicated: true, ExpiryUnattended: true, Durable: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: maxExpiryDelay, MinSessionTTL: minSessionTTL},
	}
}

// Backend is one namespace of an etcd cluster. It implements ports.Backend and is safe for
// concurrent use.
type Backend struct {
	keys     layout
	client   *clientv3.Client
	log      *slog.Logger
	life     atomic.Pointer[life] // nil until the first read
	renewals *renewals
	tombs    *fading // leases of tombstones
	ended    *fading // leases of the ids of ended sessions

	feeds   backendkit.Feeds
	closing *backendkit.Closing
	stop    context.CancelFunc // ends the audits
	audits  sync.WaitGroup
}

var _ ports.Backend = (*Backend)(nil)

// Open connects, checks server, login, permissions and namespace, and returns the backend.
// It fails within 5 s, or when the context ends, with one sentence that names the option to
// look at. Errors: ErrInvalid, ErrPermission, ErrUnavailable, ErrUnsupported (too old a server).
func Open(ctx context.Context, o Options) (*Backend, error) {
	b, err := open(ctx, o, auditEvery)
	if err != nil {
		return nil, fmt.Errorf("open the etcd backend: %w", err)
	}
	return b, nil
}

func open(ctx context.Context, o Options, auditEvery time.Duration) (*Backend, error) {
	s, err := o.settings()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := s.reachable(ctx); err != nil {
		return nil, err
	}
	client, err := s.client(ctx)
	if err != nil {
		return nil, s.explain(err)
	}
	audits, stop := context.WithCancel(context.Background())
	b := &Backend{
		keys: s.keys, client: client, log: slog.Default().With("backend", "etcd"), stop: stop, closing: backendkit.NewClosing("etcd"),
		tombs: newFading(client, ports.TombstoneLife), ended: newFading(client, ports.EndedSessionLife),
	}
	b.renewals = newRenewals(client, b.closing.Begun())
	if err := b.check(ctx); err != nil {
		_ = b.Close() // the reason matters more
		return nil, s.explain(err)
	}
	b.audits.Go(func() { b.auditForever(audits, auditEvery) })
	return b, nil
}

// check asks what Open promises.
func (b *Backend) check(ctx context.Context) error {
	if err := checkVersions(ctx, b.client); err != nil {
		return err
	}
	// The whole namespace is asked for, so that a permission for a part of it does not do.
	if _, err := b.read(ctx, under(string(b.keys)).get(clientv3.WithKeysOnly(), clientv3.WithLimit(1))); err != nil {
		return err
	}
	return b.writable(ctx)
}

// Info implements ports.Backend.
func (b *Backend) Info() ports.Info { return Info() }

// Health implements ports.Backend. It asks for a write, by consensus, that changes nothing: a
// cluster without quorum, with a full quota or without the permission refuses it.
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

// writable commits a transaction whose condition never holds.
func (b *Backend) writable(ctx context.Context) error {
	never := clientv3.Compare(clientv3.Version(b.keys.epoch()), "<", 0)
	if _, err := b.client.Txn(ctx).If(never).Then(clientv3.OpPut(b.keys.epoch(), "")).Commit(); err != nil {
		return fail(err)
	}
	return nil
}

// Close implements ports.Backend.
func (b *Backend) Close() error {
	b.closing.Close(func() {
		b.stop()
		b.feeds.Close()
		b.audits.Wait()
		_ = b.client.Close() // it says that its own context was cancelled
		b.renewals.close()
	})
	return nil
}
