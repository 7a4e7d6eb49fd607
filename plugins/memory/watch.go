package memory

// watch.go: the stream of records. A watcher is a place in the history, filled from there a
// few changes at a time; it has no goroutine and no timer while nobody waits in Next.

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// bookmarkEvery is half of what the contract allows, so that a busy machine keeps within it.
	bookmarkEvery = ports.MaxBookmarkGap / 2
	// fillAtMost bounds how many changes a watcher takes from the history at once.
	fillAtMost = 256
)

type watcher struct {
	backend   *Backend
	services  map[string]struct{} // empty: all
	follow    bool
	closeOnce sync.Once
	closing   chan struct{} // closed by Close

	// The rest belongs to the goroutine that calls Next.
	pending []ports.WatchEvent // to be handed out; records are still the store's own
	at      uint64             // everything up to here was handed out or is pending
	reset   string             // why a snapshot is due; "" when none is
	synced  bool               // a Synced was handed out or is pending
	proved  time.Time          // when a Synced or Bookmark was last handed out
	err     error              // of the end
}

// Watch implements ports.Records. The context is for opening alone; Close ends the stream.
func (b *Backend) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if err := backendkit.CheckWatch(req); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	if err := b.enter(ctx); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	defer b.leave()
	w := &watcher{
		backend: b, services: make(map[string]struct{}, len(req.Services)), follow: req.Follow,
		closing: make(chan struct{}), at: req.Cursor.N,
	}
	for _, service := range req.Services {
		w.services[service] = struct{}{}
	}
	switch {
	case req.Cursor.IsZero():
		w.reset = "a watch without a cursor begins with a snapshot"
	case req.Cursor.Epoch != b.epoch:
		w.reset = "the cursor is of another epoch: the store started anew"
	case !b.history.follows(req.Cursor.N):
		w.reset = "the history does not reach back to the cursor"
	}
	return w, nil
}

// Next implements ports.Watcher.
func (w *watcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	for w.err == nil {
		if w.err = w.ended(ctx); w.err != nil {
			break
		}
		if len(w.pending) > 0 {
			return w.take(), nil
		}
		if w.synced && !w.follow {
			w.err = io.EOF
			break
		}
		changed, err := w.fill(ctx)
		if err != nil {
			w.err = err
			break
		}
		if len(w.pending) == 0 {
			w.wait(ctx, changed)
		}
	}
	return ports.WatchEvent{}, w.err
}

// Close implements ports.Watcher.
func (w *watcher) Close() error {
	w.closeOnce.Do(func() { close(w.closing) })
	return nil
}

// ended says why the stream is over: its own end, the store's, or the caller's.
func (w *watcher) ended(ctx context.Context) error {
	select {
	case <-w.closing:
		return fmt.Errorf("the watch is %w", ports.ErrClosed)
	case <-w.backend.closing:
		return fmt.Errorf("the memory backend is %w", ports.ErrClosed)
	case <-ctx.Done():
		return ctx.Err()
	default:
		return nil
	}
}

// wait returns when there may be something to hand out, or the stream may be over.
func (w *watcher) wait(ctx context.Context, changed <-chan struct{}) {
	bookmark := time.NewTimer(time.Until(w.proved.Add(bookmarkEvery)))
	defer bookmark.Stop()
	select {
	case <-changed:
	case <-bookmark.C:
	case <-ctx.Done():
	case <-w.closing:
	case <-w.backend.closing:
	}
}

// fill takes what is next from the store: a snapshot, some changes, or a proof that there
// are none. When it takes nothing, the channel is closed at the next change.
func (w *watcher) fill(ctx context.Context) (changed <-chan struct{}, err error) {
	b := w.backend
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	if w.reset == "" && !b.history.follows(w.at) {
		w.reset = "the reader fell behind the history"
	}
	if w.reset != "" {
		w.snapshotLocked()
		return b.changed, nil
	}
	for w.at < b.revision && len(w.pending) < fillAtMost {
		w.at++
		if c := b.history.at(w.at); w.wants(c.service()) {
			w.pending = append(w.pending, c.event())
		}
	}
	switch {
	case !w.synced && w.at == b.revision:
		w.synced = true
		w.pending = append(w.pending, w.proofLocked(ports.WatchSynced))
	case w.synced && time.Since(w.proved) >= bookmarkEvery: // while changes pour in, too
		w.pending = append(w.pending, w.proofLocked(ports.WatchBookmark))
	}
	return b.changed, nil
}

func (w *watcher) snapshotLocked() {
	b := w.backend
	w.pending = append(w.pending, ports.WatchEvent{Kind: ports.WatchReset, Reason: w.reset})
	for service, byID := range b.services {
		if !w.wants(service) {
			continue
		}
		for _, rec := range byID {
			w.pending = append(w.pending, ports.WatchEvent{Kind: ports.WatchPut, Record: rec})
		}
	}
	w.at, w.reset, w.synced = b.revision, "", true
	w.pending = append(w.pending, w.proofLocked(ports.WatchSynced))
}

// proofLocked says that everything up to w.at was sent.
func (w *watcher) proofLocked(kind ports.WatchKind) ports.WatchEvent {
	return ports.WatchEvent{Kind: kind, Cursor: core.Revision{Epoch: w.backend.epoch, N: w.at}}
}

func (w *watcher) wants(service string) bool {
	if len(w.services) == 0 {
		return true
	}
	_, ok := w.services[service]
	return ok
}

// take hands out the first pending event.
func (w *watcher) take() ports.WatchEvent {
	ev := w.pending[0]
	w.pending[0] = ports.WatchEvent{}
	w.pending = w.pending[1:]
	if len(w.pending) == 0 {
		w.pending = nil // a large snapshot is not kept for its capacity
	}
	switch ev.Kind {
	case ports.WatchPut:
		ev.Record = handOut(ev.Record)
	case ports.WatchDelete:
		ev.Tombstone = new(*ev.Tombstone)
	case ports.WatchSynced, ports.WatchBookmark:
		w.proved = time.Now()
	case ports.WatchReset, ports.WatchSkipped:
	}
	return ev
}
