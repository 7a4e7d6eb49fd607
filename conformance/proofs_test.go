package conformance_test

// proofs_test.go: more backends of broken_test.go: those whose bookmarks, or whose returns, come
// at the wrong time.

import (
	"context"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// restless gives a bookmark only where there was a change since the one before.
type restless struct{ ports.Backend }

func (b restless) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := b.Backend.Watch(ctx, req)
	var proved core.Revision
	return &stream{Watcher: w, do: func(ev ports.WatchEvent) []ports.WatchEvent {
		if ev.Kind == ports.WatchBookmark && ev.Cursor == proved {
			return nil
		}
		if !ev.Cursor.IsZero() {
			proved = ev.Cursor
		}
		return []ports.WatchEvent{ev}
	}}, err
}

// relaxed gives a bookmark only where no change waits for its reader.
type relaxed struct{ ports.Backend }

func (b relaxed) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := b.Backend.Watch(ctx, req)
	if err != nil {
		return nil, err
	}
	r := &relaxedWatcher{Watcher: w, queue: make(chan ports.WatchEvent, 4096)}
	reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = cancel
	r.reading.Go(func() {
		defer close(r.queue)
		for {
			ev, err := w.Next(reading)
			if err != nil {
				return
			}
			select {
			case r.queue <- ev:
			case <-reading.Done():
				return
			}
		}
	})
	return r, nil
}

type relaxedWatcher struct {
	ports.Watcher

	queue   chan ports.WatchEvent
	stop    context.CancelFunc
	reading sync.WaitGroup
}

func (w *relaxedWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	var held ports.WatchEvent // a bookmark, until it shows whether a change waits behind it
	var quiet <-chan time.Time
	for {
		select {
		case ev, ok := <-w.queue:
			if !ok {
				return ports.WatchEvent{}, ports.ErrClosed
			}
			if ev.Kind != ports.WatchBookmark {
				return ev, nil
			}
			held, quiet = ev, time.After(100*time.Millisecond)
		case <-quiet:
			return held, nil
		case <-ctx.Done():
			return ports.WatchEvent{}, ctx.Err()
		}
	}
}

func (w *relaxedWatcher) Close() error {
	w.stop()
	w.reading.Wait()
	return w.Watcher.Close()
}

// patient looks at the context of Next before it waits, and after.
type patient struct{ ports.Backend }

func (b patient) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := b.Backend.Watch(ctx, req)
	return patientWatcher{w}, err
}

type patientWatcher struct{ ports.Watcher }

func (w patientWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	if ctx.Err() != nil {
		return w.Watcher.Next(ctx)
	}
	ev, err := w.Watcher.Next(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		return w.Watcher.Next(ctx)
	}
	return ev, err
}

// drowsy notices late that a context has ended.
type drowsy struct{ ports.Backend }

func (b drowsy) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if ctx.Err() != nil {
		<-time.After(ports.MaxBookmarkGap / 2)
	}
	return b.Backend.Get(ctx, keys)
}
