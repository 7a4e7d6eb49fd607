package pluginrpc

// watch.go: both halves of a Watch. The server gathers what the backend has ready while the
// message before is on its way, so that a quiet stream has no delay and a busy one few messages.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// watchBatchBytes is how much the server gathers before the backend has to wait.
	watchBatchBytes = 256 << 10
	// maxWatchEventBytes is the largest event that is sent; with it, a message stays below 1 MiB.
	maxWatchEventBytes = 512 << 10
)

// eventToWire leaves the event unset when the backend broke its contract; the client says so.
func eventToWire(e ports.WatchEvent) *backendv1.WatchEvent {
	w := &backendv1.WatchEvent{}
	switch {
	case e.Kind == ports.WatchReset:
		w.Event = &backendv1.WatchEvent_Reset_{Reset_: &backendv1.WatchReset{Reason: errorText(e.Reason)}}
	case e.Kind == ports.WatchPut && e.Record != nil:
		w.Event = &backendv1.WatchEvent_Put{Put: recordToWire(*e.Record)}
	case e.Kind == ports.WatchDelete && e.Tombstone != nil:
		w.Event = &backendv1.WatchEvent_Delete{Delete: tombstoneToWire(*e.Tombstone)}
	case e.Kind == ports.WatchSynced:
		w.Event = &backendv1.WatchEvent_Synced{Synced: revisionToWire(e.Cursor)}
	case e.Kind == ports.WatchBookmark:
		w.Event = &backendv1.WatchEvent_Bookmark{Bookmark: revisionToWire(e.Cursor)}
	case e.Kind == ports.WatchSkipped:
		w.Event = skippedToWire(e.Key, e.Reason)
	}
	return w
}

func skippedToWire(key core.Key, reason string) *backendv1.WatchEvent_Skipped {
	return &backendv1.WatchEvent_Skipped{Skipped: &backendv1.WatchSkipped{Key: keyToWire(key), Reason: errorText(reason)}}
}

func eventFromWire(w *backendv1.WatchEvent) (ports.WatchEvent, error) {
	switch e := w.GetEvent().(type) {
	case *backendv1.WatchEvent_Reset_:
		return ports.WatchEvent{Kind: ports.WatchReset, Reason: e.Reset_.GetReason()}, nil
	case *backendv1.WatchEvent_Put:
		return ports.WatchEvent{Kind: ports.WatchPut, Record: recordPointer(e.Put)}, nil
	case *backendv1.WatchEvent_Delete:
		return ports.WatchEvent{Kind: ports.WatchDelete, Tombstone: tombstonePointer(e.Delete)}, nil
	case *backendv1.WatchEvent_Synced:
		return ports.WatchEvent{Kind: ports.WatchSynced, Cursor: revisionFromWire(e.Synced)}, nil
	case *backendv1.WatchEvent_Bookmark:
		return ports.WatchEvent{Kind: ports.WatchBookmark, Cursor: revisionFromWire(e.Bookmark)}, nil
	case *backendv1.WatchEvent_Skipped:
		return ports.WatchEvent{Kind: ports.WatchSkipped, Key: keyFromWire(e.Skipped.GetKey()), Reason: e.Skipped.GetReason()}, nil
	}
	return ports.WatchEvent{}, fmt.Errorf("%w: the plugin sent a watch event of an unknown kind", ports.ErrUnavailable)
}

// Watch serves one stream. It owns the goroutine that reads from the backend and ends after it.
func (s *server) Watch(req *backendv1.WatchRequest, stream grpc.ServerStreamingServer[backendv1.WatchResponse]) (err error) {
	defer s.recovered("Watch", &err)
	b, err := s.backend()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	w, err := b.Watch(ctx, ports.WatchRequest{
		Services: req.GetServices(), Cursor: revisionFromWire(req.GetCursor()), Follow: req.GetFollow(),
	})
	if err != nil {
		return rpcError(err)
	}
	box := newOutbox()
	var reader sync.WaitGroup
	reader.Go(func() { box.end(s.fill(ctx, w, box)) })
	defer func() {
		cancel()
		_ = w.Close() // The stream is over either way.
		reader.Wait()
	}()
	if err := stream.Send(&backendv1.WatchResponse{}); err != nil { // The store has accepted.
		return err
	}
	for {
		events, end, err := box.take(ctx)
		if err != nil {
			return rpcError(err)
		}
		if len(events) > 0 {
			if err := stream.Send(&backendv1.WatchResponse{Events: events}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(end, io.EOF):
			return nil
		case end != nil:
			return rpcError(end)
		}
	}
}

// fill moves the backend's events into the box until one of them ends.
func (s *server) fill(ctx context.Context, w ports.Watcher, box *outbox) (err error) {
	defer s.recovered("Watch", &err)
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return err
		}
		if err := box.put(ctx, eventToWire(e)); err != nil {
			return err
		}
	}
}

// outbox gathers events between the goroutine that reads them from the backend and the one that
// sends them. It holds little more than watchBatchBytes.
type outbox struct {
	mu     sync.Mutex
	events []*backendv1.WatchEvent // guarded by mu
	bytes  int                     // guarded by mu; of events, as they are on the wire
	over   error                   // guarded by mu; why no more come

	filled  chan struct{} // there is something to take
	emptied chan struct{} // there is room again
}

func newOutbox() *outbox {
	return &outbox{filled: make(chan struct{}, 1), emptied: make(chan struct{}, 1)}
}

// put waits until there is room. Only one goroutine puts.
func (o *outbox) put(ctx context.Context, e *backendv1.WatchEvent) error {
	size := proto.Size(e)
	if size > maxWatchEventBytes {
		e.Event = skippedToWire(eventKey(e), fmt.Sprintf("it has %d bytes; at most %d are sent", size, maxWatchEventBytes))
		size = proto.Size(e)
	}
	for {
		o.mu.Lock()
		if o.bytes < watchBatchBytes {
			o.events = append(o.events, e)
			o.bytes += size
			o.mu.Unlock()
			wake(o.filled)
			return nil
		}
		o.mu.Unlock()
		select {
		case <-o.emptied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end says why no more events come; take hands out what is left first.
func (o *outbox) end(err error) {
	o.mu.Lock()
	o.over = err
	o.mu.Unlock()
	wake(o.filled)
}

// take waits for events, or for the end. Only one goroutine takes.
func (o *outbox) take(ctx context.Context) (events []*backendv1.WatchEvent, end, err error) {
	select {
	case <-o.filled:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	events, end = o.events, o.over
	o.events, o.bytes = nil, 0
	wake(o.emptied)
	return events, end, nil
}

// wake wakes the one goroutine that waits on c, now or when it comes.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func eventKey(w *backendv1.WatchEvent) core.Key {
	if d := w.GetDelete(); d != nil {
		return keyFromWire(d.GetKey())
	}
	return keyFromWire(w.GetPut().GetKey())
}
