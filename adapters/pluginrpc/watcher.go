package pluginrpc

// watcher.go: the host's half of a Watch.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/ports"
)

// Watch bounds only the start of the stream by ctx; Close ends the stream.
func (b *remoteBackend) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(b.life, cancel)
	w := &remoteWatcher{backend: b, follow: req.Follow, life: life, cancel: func() { unhook(); cancel() }}
	if err := w.start(ctx, req); err != nil {
		w.cancel()
		return nil, err
	}
	return w, nil
}

// remoteWatcher implements ports.Watcher over a stream.
type remoteWatcher struct {
	backend *remoteBackend
	follow  bool
	stream  grpc.ServerStreamingClient[backendv1.WatchResponse]
	life    context.Context // of the stream
	cancel  context.CancelFunc
	closed  atomic.Bool

	// Of the one goroutine that calls Next.
	events []*backendv1.WatchEvent // received, not yet handed out
	synced bool
	dead   error
}

// start waits for the first message, which says that the store has accepted the request.
func (w *remoteWatcher) start(ctx context.Context, req ports.WatchRequest) error {
	stop := context.AfterFunc(ctx, w.cancel)
	defer stop()
	var err error
	w.stream, err = w.backend.rpc.Watch(w.life, &backendv1.WatchRequest{
		Services: each(req.Services, text), Cursor: revisionToWire(req.Cursor), Follow: req.Follow,
	}, largeAnswer)
	if err == nil {
		err = w.receive(ctx)
	}
	return w.why(ctx, err)
}

// receive reads one message.
func (w *remoteWatcher) receive(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.cancel)
	defer stop()
	resp, err := w.stream.Recv()
	w.events = resp.GetEvents()
	return err
}

// why translates the end of the stream.
func (w *remoteWatcher) why(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case w.closed.Load(), w.backend.open() != nil:
		return ports.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.Is(err, io.EOF):
		return fromCall(w.life, err)
	case !w.follow && w.synced:
		return io.EOF
	}
	return fmt.Errorf("%w: the plugin ended a watch before its time", ports.ErrUnavailable)
}

// Next implements ports.Watcher.
func (w *remoteWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	e, err := w.next(ctx)
	if err != nil && w.dead == nil {
		w.dead = err
		w.cancel()
	}
	return e, err
}

func (w *remoteWatcher) next(ctx context.Context) (ports.WatchEvent, error) {
	if w.dead != nil {
		return ports.WatchEvent{}, w.dead
	}
	for len(w.events) == 0 {
		if err := w.why(ctx, w.receive(ctx)); err != nil {
			return ports.WatchEvent{}, err
		}
	}
	if w.closed.Load() {
		return ports.WatchEvent{}, ports.ErrClosed
	}
	e, err := eventFromWire(w.events[0])
	w.events[0], w.events = nil, w.events[1:]
	w.synced = w.synced || e.Kind == ports.WatchSynced
	return e, err
}

// Close implements ports.Watcher.
func (w *remoteWatcher) Close() error {
	w.closed.Store(true)
	w.cancel()
	return nil
}
