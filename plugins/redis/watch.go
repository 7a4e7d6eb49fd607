package redis

// watch.go: a stream of records: a snapshot, or a cursor, and from there the log.

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// takeAtOnce is how many changes a watch takes from the tail at a time.
const takeAtOnce = 128

// watch is one stream, of the goroutine that fills its feed.
type watch struct {
	backend  *Backend
	feed     *backendkit.Feed
	services []string // sorted; empty for all
	follow   bool

	life   *life
	sent   uint64 // everything up to here was sent
	target uint64 // a Synced is due when that is sent
	synced bool   // it was sent
	proof  int    // the number of the last one that was passed on
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
	r, err := b.run(ctx, positionScript)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", b.closing.Or(err))
	}
	reset := ""
	switch {
	case req.Cursor.IsZero():
		reset = "a watch without a cursor begins with a snapshot"
	case req.Cursor.Epoch != r.life.epoch:
		reset = "the cursor is of another epoch: the store started anew, or took over from another"
	case req.Cursor.N > r.revision:
		reset = "the store has not reached the cursor"
	default:
		w.life, w.sent, w.target = r.life, req.Cursor.N, r.revision
	}
	return b.feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
		w.feed = to
		return w.run(ctx, reset)
	})
}

func (w *watch) wants(service string) bool {
	if len(w.services) == 0 {
		return true
	}
	_, found := slices.BinarySearch(w.services, service)
	return found
}

// run goes on until the reader has enough. A store that is away is waited for, but not by a list.
func (w *watch) run(ctx context.Context, reset string) error {
	for {
		var err error
		if reset != "" {
			err = w.snapshot(ctx, reset)
		}
		if err == nil && !w.follow && w.synced {
			return io.EOF
		}
		if err == nil {
			reset, err = w.goOn(ctx)
		}
		if err != nil && (!w.follow || !retriable(err)) {
			return err
		}
		if err != nil && !pause(ctx, reconnectPause) {
			return ctx.Err()
		}
	}
}

// goOn sends what comes after w.sent, until it says why only a snapshot can go on.
func (w *watch) goOn(ctx context.Context) (reset string, err error) {
	for {
		if !w.synced && w.sent >= w.target {
			w.synced = true
			if err := w.feed.Synced(ctx, w.life.revision(w.sent)); err != nil {
				return "", err
			}
			if !w.follow {
				return "", io.EOF
			}
		}
		v := w.backend.tail.see(w.sent, takeAtOnce)
		switch {
		case v.life.epoch != w.life.epoch:
			return "the store began a new epoch", nil
		case v.err != nil:
			return "", v.err
		case v.behind || len(v.changes) == 0 && !w.synced:
			if v.changes, err = w.backend.rangeLog(ctx, w.life, w.sent); err != nil {
				return "", err
			}
			if len(v.changes) == 0 {
				return gap(w.sent), nil
			}
		}
		if len(v.changes) > 0 {
			if reset, err = w.send(ctx, v.changes); reset != "" || err != nil {
				return reset, err
			}
			continue
		}
		if v.proof.number > w.proof && w.sent >= v.proof.revision {
			w.proof = v.proof.number
			if err := w.feed.Bookmark(ctx, w.life.revision(w.sent)); err != nil {
				return "", err
			}
		}
		select {
		case <-v.moved:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func gap(after uint64) string {
	return fmt.Sprintf("the log does not reach back to revision %d any more", after)
}

// send hands over changes, each of which must follow the last.
func (w *watch) send(ctx context.Context, changes []change) (reset string, err error) {
	for _, c := range changes {
		if c.revision != w.sent+1 {
			return gap(w.sent), nil
		}
		if w.wants(c.key.Service) {
			if err := w.hand(ctx, w.life, c); err != nil {
				return "", err
			}
		}
		w.sent = c.revision
	}
	return "", nil
}

// hand sends one change.
func (w *watch) hand(ctx context.Context, l *life, c change) error {
	if c.err != nil {
		return w.feed.Skipped(ctx, c.key, c.err)
	}
	if c.lost {
		return w.feed.Delete(ctx, &ports.Tombstone{Key: c.key, Session: c.session, Cause: core.CauseUnknown, Revision: l.revision(c.revision)})
	}
	doc, err := decode(l, c.key, c.text)
	switch {
	case err == nil && doc.Record != nil && !c.removed:
		return w.feed.Put(ctx, doc.Record)
	case err == nil && doc.Tombstone != nil && c.removed:
		return w.feed.Delete(ctx, doc.Tombstone)
	case err == nil:
		err = fmt.Errorf("what stands at %s is of another kind", c.key)
	}
	return w.feed.Skipped(ctx, c.key, err)
}
