package pluginhost

// watch.go: a watch is bound to the process that it was opened on.

import (
	"context"

	"github.com/marketprism/prism/ports"
)

// watcher implements ports.Watcher.
type watcher struct {
	host  *Host
	on    *living
	inner ports.Watcher
	// unbind undoes that the end of the process closes inner.
	unbind func() bool
}

func (h *Host) watch(ctx context.Context, l *living, req ports.WatchRequest) (ports.Watcher, error) {
	inner, err := l.backend.Watch(ctx, req)
	if err != nil {
		return nil, err
	}
	unbind := context.AfterFunc(l.inUse, func() { _ = inner.Close() })
	return &watcher{host: h, on: l, inner: inner, unbind: unbind}, nil
}

// Next hands out nothing of a process that is gone, not even what has already arrived.
func (w *watcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	e, err := w.inner.Next(ctx)
	if w.on.inUse.Err() != nil {
		return ports.WatchEvent{}, w.host.away()
	}
	mask := w.host.launcher.sink.mask.Load()
	e.Reason = mask.text(e.Reason)
	return e, mask.error(err)
}

// Close implements ports.Watcher.
func (w *watcher) Close() error {
	w.unbind()
	return w.inner.Close()
}
