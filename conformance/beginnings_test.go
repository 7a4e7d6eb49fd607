package conformance_test

// beginnings_test.go: more backends of odd_test.go: watches that begin in several steps, and miss
// what is written between two of them.

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// readOut is all that a watch which does not follow gives.
func readOut(ctx context.Context, b ports.Backend, req ports.WatchRequest) ([]ports.WatchEvent, error) {
	req.Follow = false
	w, err := b.Watch(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }() // it was read to its end
	var all []ports.WatchEvent
	for {
		ev, err := w.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, ev)
	}
}

// listeningLate begins to listen a moment after it has read what there is.
func listeningLate(resumed bool) func() odd {
	return func() odd {
		return odd{watch: func(ctx context.Context, inner ports.Backend, req ports.WatchRequest) (ports.Watcher, error) {
			if !req.Follow || resumed == req.Cursor.IsZero() {
				return inner.Watch(ctx, req)
			}
			first, err := readOut(ctx, inner, req)
			if err != nil {
				return nil, err
			}
			<-time.After(time.Millisecond)
			later, err := readOut(ctx, inner, ports.WatchRequest{})
			if err != nil {
				return nil, err
			}
			w, err := inner.Watch(ctx, ports.WatchRequest{Services: req.Services, Cursor: later[len(later)-1].Cursor, Follow: true})
			return &stream{Watcher: w, pending: first[:len(first)-1], do: func(ev ports.WatchEvent) []ports.WatchEvent { return []ports.WatchEvent{ev} }}, err
		}}
	}
}

// countingPages reads a list in pages, each of which begins after as many records as were read.
func countingPages() odd {
	const page = 500
	return odd{watch: func(ctx context.Context, inner ports.Backend, req ports.WatchRequest) (ports.Watcher, error) {
		w, err := inner.Watch(ctx, req)
		if err != nil || req.Follow {
			return w, err
		}
		var all []ports.WatchEvent
		given := make(map[core.Key]bool)
		for from := 0; ; from += page {
			now, err := readOut(ctx, inner, req)
			if err != nil {
				return nil, errors.Join(err, w.Close())
			}
			records := now[1 : len(now)-1]
			slices.SortFunc(records, func(a, b ports.WatchEvent) int { return strings.Compare(a.Record.Key.String(), b.Record.Key.String()) })
			for _, ev := range records[min(from, len(records)):min(from+page, len(records))] {
				if !given[ev.Record.Key] {
					all = append(all, ev)
				}
				given[ev.Record.Key] = true
			}
			if from+page >= len(records) {
				all = slices.Concat(now[:1], all, now[len(now)-1:])
				break
			}
		}
		return oddWatcher{Watcher: w, next: func(ctx context.Context, _ ports.Watcher) (ports.WatchEvent, error) {
			if len(all) == 0 {
				return ports.WatchEvent{}, io.EOF
			}
			ev := all[0]
			all = all[1:]
			return ev, ctx.Err()
		}}, nil
	}}
}
