package etcd

// watch.go: a stream of records. A snapshot, or a cursor, and from there etcd's own history. A
// bookmark needs two things: a linearizable read says which revision the store has reached,
// and etcd's progress notification, or an event, that everything up to it was sent.

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// bookmarkEvery is half of what the contract allows, so that a busy machine keeps within it.
	bookmarkEvery = ports.MaxBookmarkGap / 2
	// progressEvery is how often progress is asked for while it is missing.
	progressEvery = 100 * time.Millisecond
	// reconnectPause is before a stream that broke is made anew, and up to twice that.
	reconnectPause = 100 * time.Millisecond
)

// watch is one stream, of the goroutine that fills its feed.
type watch struct {
	backend  *Backend
	feed     *backendkit.Feed
	services []string // sorted; empty for all
	follow   bool

	life   *life
	sent   int64 // everything up to here was sent
	synced bool  // a Synced was sent
}

// Watch implements ports.Records.
func (b *Backend) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if err := backendkit.CheckWatch(req); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	services := slices.Clone(req.Services)
	slices.Sort(services)
	w := &watch{backend: b, services: slices.Compact(services), follow: req.Follow}
	a, err := b.read(ctx, w.span().get(clientv3.WithKeysOnly(), clientv3.WithLimit(1)))
	if err != nil {
		return nil, fmt.Errorf("watch: %w", b.closing.Or(err))
	}
	reset := ""
	switch {
	case req.Cursor.IsZero():
		reset = "a watch without a cursor begins with a snapshot"
	case req.Cursor.Epoch != a.life.epoch:
		reset = "the cursor is of another epoch: the store started anew"
	case req.Cursor.N > uint64(a.revision): //nolint:gosec // Revisions of etcd are positive.
		reset = "the store has not reached the cursor"
	default:
		w.life, w.sent = a.life, int64(req.Cursor.N) //nolint:gosec // It is at most a.revision.
	}
	return b.feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
		w.feed = to
		return w.run(ctx, reset)
	})
}

// span covers the services, and what lies between them.
func (w *watch) span() span {
	if len(w.services) == 0 {
		return w.backend.keys.all()
	}
	return span{w.backend.keys.of(w.services[0]).from, w.backend.keys.of(w.services[len(w.services)-1]).to}
}

func (w *watch) wants(key core.Key) bool {
	if len(w.services) == 0 {
		return true
	}
	_, found := slices.BinarySearch(w.services, key.Service)
	return found
}

// run goes on until the reader has enough. A store that is away is waited for.
func (w *watch) run(ctx context.Context, reset string) error {
	for {
		if reset != "" {
			if err := w.snapshot(ctx, reset); err != nil {
				return err
			}
			if !w.follow {
				return io.EOF
			}
		}
		var err error
		if reset, err = w.goOn(ctx); err != nil && !retriable(err) {
			return err
		}
		if reset != "" {
			continue
		}
		timer := time.NewTimer(reconnectPause + rand.N(reconnectPause)) //nolint:gosec // Jitter, not a secret.
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// goOn sends what comes after w.sent until the stream breaks, ends, or says why only a
// snapshot can go on.
func (w *watch) goOn(ctx context.Context) (reset string, err error) {
	up, err := w.backend.connect(ctx, w.span(), w.sent+1)
	if err != nil {
		return "", err
	}
	defer up.close()
	p := newProver(ctx, w.backend)
	defer p.close()
	tick := time.NewTicker(bookmarkEvery)
	defer tick.Stop()
	// The store may have been replaced before this stream was made, and its revisions have passed
	// w.sent since: after etcd accepted it, nothing that it says is believed until the first proof.
	got, accepted := up.got, false
	var needed int64              // a proof waits until everything up to here was sent; 0: none does
	var progress <-chan time.Time // when to ask for progress
	now := make(chan time.Time)
	close(now)
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case resp, ok := <-got:
			if !ok {
				return "", up.err
			}
			if reset, err := w.take(ctx, resp); reset != "" || err != nil {
				return reset, err
			}
			if resp.Created {
				got, accepted = nil, true
				p.start()
			}
		case <-tick.C:
			if accepted {
				p.start()
			}
		case proof := <-p.done:
			p.running = false
			switch {
			case proof.err != nil && !retriable(proof.err):
				return "", proof.err
			case proof.err != nil: // the next tick asks again
			case proof.life.epoch != w.life.epoch:
				return "the store started anew: it has another epoch", nil
			default:
				needed, got, progress = proof.revision, up.got, now
			}
		case <-progress:
			if err := up.requestProgress(); err != nil {
				return "", err
			}
			progress = time.After(progressEvery)
		}
		if needed != 0 && w.sent >= needed {
			needed, progress = 0, nil
			if err := w.prove(ctx); err != nil {
				return "", err
			}
		}
	}
}

// prove says that everything up to w.sent was sent. A list ends with it.
func (w *watch) prove(ctx context.Context) error {
	if w.synced {
		return w.feed.Bookmark(ctx, w.life.revision(w.sent))
	}
	w.synced = true
	if err := w.feed.Synced(ctx, w.life.revision(w.sent)); err != nil || w.follow {
		return err
	}
	return io.EOF
}

// take hands over one response of etcd.
func (w *watch) take(ctx context.Context, resp *etcdserverpb.WatchResponse) (reset string, err error) {
	switch {
	case resp.CompactRevision != 0:
		return fmt.Sprintf("the history up to revision %d was compacted", resp.CompactRevision), nil
	case resp.Canceled:
		return "", refusal(resp)
	case resp.Created:
		return "", nil
	case len(resp.Events) == 0:
		w.sent = max(w.sent, resp.Header.Revision)
		return "", nil
	}
	upTo := w.sent
	for _, ev := range resp.Events {
		if ev.Kv.ModRevision <= w.sent {
			continue
		}
		if err := w.send(ctx, ev); err != nil {
			return "", err
		}
		upTo = max(upTo, ev.Kv.ModRevision)
	}
	w.sent = upTo
	return "", nil
}

// send hands over one change.
func (w *watch) send(ctx context.Context, ev *mvccpb.Event) error {
	if key, ok := w.backend.keys.key(string(ev.Kv.Key)); ok && !w.wants(key) {
		return nil
	}
	if ev.Type == mvccpb.Event_DELETE {
		return w.sendRemoval(ctx, ev)
	}
	key, doc, err := w.decode(ev.Kv)
	switch {
	case err != nil:
		return w.feed.Skipped(ctx, key, err)
	case doc.Record != nil:
		return w.feed.Put(ctx, doc.Record)
	default:
		return w.feed.Delete(ctx, doc.Tombstone)
	}
}

// sendRemoval hands over that a key is gone: a record ran out with its session, or a tombstone
// faded, which is none of the reader's business.
func (w *watch) sendRemoval(ctx context.Context, ev *mvccpb.Event) error {
	key, ok := w.backend.keys.key(string(ev.Kv.Key))
	if !ok {
		return nil
	}
	tomb := &ports.Tombstone{Key: key, Cause: core.CauseExpired}
	if ev.PrevKv != nil {
		if _, doc, err := w.decode(ev.PrevKv); err == nil && doc.Tombstone != nil {
			return nil
		} else if err == nil {
			tomb.Generation, tomb.Session = doc.Record.Generation, doc.Record.Session
		}
	}
	if tomb.Generation.IsZero() { // compacted, or corrupt; its will may know
		loaded, err := w.backend.load(ctx, []core.Key{key})
		if err != nil {
			return err
		}
		if will := loaded[0].Tombstone; will != nil {
			tomb.Generation, tomb.Session = will.Generation, will.Session
		} else {
			tomb.Cause = core.CauseUnknown
		}
	}
	tomb.Revision = w.life.revision(ev.Kv.ModRevision)
	return w.feed.Delete(ctx, tomb)
}

// prover reads the store's revision in a goroutine of its own, one read at a time.
type prover struct {
	backend *Backend
	ctx     context.Context //nolint:containedctx // Of the stream that it belongs to.
	cancel  context.CancelFunc
	done    chan proof
	running bool
	group   sync.WaitGroup
}

type proof struct {
	life     *life
	revision int64
	err      error
}

func newProver(ctx context.Context, b *Backend) *prover {
	ctx, cancel := context.WithCancel(ctx)
	return &prover{backend: b, ctx: ctx, cancel: cancel, done: make(chan proof, 1)}
}

// start begins a read unless one is running.
func (p *prover) start() {
	if p.running {
		return
	}
	p.running = true
	p.group.Go(func() {
		a, err := p.backend.read(p.ctx)
		if err != nil {
			p.done <- proof{err: err}
			return
		}
		p.done <- proof{life: a.life, revision: a.revision}
	})
}

func (p *prover) close() {
	p.cancel()
	p.group.Wait()
}
