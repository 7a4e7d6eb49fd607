package backendkit

// feed.go: a ports.Watcher that a goroutine of the backend fills. The queue between them is
// bounded: a producer whose reader is slow waits.

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// feedLength is how many events wait for a reader. A snapshot is longer and waits in the
// store, or with the producer.
const feedLength = 512

// Feeds owns the watches of one backend. The zero value is ready. It is safe for concurrent use.
type Feeds struct {
	mu      sync.Mutex // guards the rest
	closed  bool
	running map[*Feed]struct{}
}

// Open starts a watch: produce runs in a goroutine of its own, hands over events with the
// feed's methods, and returns when its context ends, which is when the reader closes the
// watch or the backend is closed. Its error, which wraps one sentinel of package ports, is
// what the reader gets after the last event; return io.EOF at the end of a list. After Close
// Open gives ErrClosed.
func (f *Feeds) Open(produce func(ctx context.Context, to *Feed) error) (ports.Watcher, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("watch: the backend is %w", ports.ErrClosed)
	}
	ctx, cancel := context.WithCancel(context.Background())
	feed := &Feed{events: make(chan ports.WatchEvent, feedLength), done: make(chan struct{}), cancel: cancel}
	if f.running == nil {
		f.running = make(map[*Feed]struct{})
	}
	f.running[feed] = struct{}{}
	go func() {
		err := produce(ctx, feed)
		f.mu.Lock()
		delete(f.running, feed)
		closed := f.closed
		f.mu.Unlock()
		switch {
		case closed:
			err = fmt.Errorf("the backend is %w", ports.ErrClosed)
		case ctx.Err() != nil:
			err = fmt.Errorf("the watch is %w", ports.ErrClosed)
		case err == nil:
			err = fmt.Errorf("the watch ended: %w", ports.ErrUnavailable)
		}
		feed.err = err
		cancel()
		close(feed.done)
	}()
	return feed, nil
}

// Close ends every watch with ErrClosed and waits for their producers.
func (f *Feeds) Close() {
	f.mu.Lock()
	f.closed = true
	feeds := make([]*Feed, 0, len(f.running))
	for feed := range f.running {
		feeds = append(feeds, feed)
	}
	f.mu.Unlock()
	for _, feed := range feeds {
		feed.cancel()
	}
	for _, feed := range feeds {
		<-feed.done
	}
}

// Feed implements ports.Watcher. Send and its short forms are for the producer.
type Feed struct {
	events chan ports.WatchEvent
	cancel context.CancelFunc
	done   chan struct{} // closed when the producer has returned
	err    error         // why; read it after done

	dead error // of the goroutine that calls Next
}

// Next implements ports.Watcher.
func (f *Feed) Next(ctx context.Context) (ports.WatchEvent, error) {
	if f.dead != nil {
		return ports.WatchEvent{}, f.dead
	}
	if f.dead = f.over(ctx); f.dead != nil {
		return ports.WatchEvent{}, f.dead
	}
	select {
	case ev := <-f.events:
		return ev, nil
	case <-ctx.Done():
		f.dead = ctx.Err()
	case <-f.done:
		if !errors.Is(f.err, ports.ErrClosed) {
			select {
			case ev := <-f.events: // what was sent before the end
				return ev, nil
			default:
			}
		}
		f.dead = f.err
	}
	return ports.WatchEvent{}, f.dead
}

// over says why nothing more is handed out, though events may be left.
func (f *Feed) over(ctx context.Context) error {
	select {
	case <-f.done:
		if errors.Is(f.err, ports.ErrClosed) {
			return f.err
		}
	default:
	}
	return ctx.Err()
}

// Close implements ports.Watcher. It waits for the producer.
func (f *Feed) Close() error {
	f.cancel()
	<-f.done
	return nil
}

// Send hands over an event and waits while the queue is full. The context is the producer's.
func (f *Feed) Send(ctx context.Context, ev ports.WatchEvent) error {
	select {
	case f.events <- ev:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Reset sends a Reset; a snapshot follows.
func (f *Feed) Reset(ctx context.Context, reason string) error {
	return f.Send(ctx, ports.WatchEvent{Kind: ports.WatchReset, Reason: reason})
}

// Put sends a record, which is the reader's from then on.
func (f *Feed) Put(ctx context.Context, r *ports.Record) error {
	return f.Send(ctx, ports.WatchEvent{Kind: ports.WatchPut, Record: r})
}

// Delete sends a removal.
func (f *Feed) Delete(ctx context.Context, t *ports.Tombstone) error {
	return f.Send(ctx, ports.WatchEvent{Kind: ports.WatchDelete, Tombstone: t})
}

// Skipped reports a record that cannot be read.
func (f *Feed) Skipped(ctx context.Context, key core.Key, why error) error {
	return f.Send(ctx, ports.WatchEvent{Kind: ports.WatchSkipped, Key: key, Reason: why.Error()})
}

// Synced sends the end of a snapshot, or of what was missed.
func (f *Feed) Synced(ctx context.Context, at core.Revision) error {
	return f.Send(ctx, ports.WatchEvent{Kind: ports.WatchSynced, Cursor: at})
}

// Bookmark sends a proof from the store that everything up to a revision was sent.
func (f *Feed) Bookmark(ctx context.Context, at core.Revision) error {
	return f.Send(ctx, ports.WatchEvent{Kind: ports.WatchBookmark, Cursor: at})
}
