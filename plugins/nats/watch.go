package nats

// watch.go: a stream of records out of the mirror. It rests on two things: the stream's leader
// says which sequence it has reached, and the mirror that everything up to it was taken.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

// watch is one stream, of the goroutine that fills its feed.
type watch struct {
	backend  *Backend
	feed     *backendkit.Feed
	services []string // sorted; empty for all
	follow   bool

	life   *life
	needed uint64   // the stream's last sequence at the beginning; the Synced comes after it
	way    reaching // to all that stands, before a snapshot and the first Synced
	whole  bool     // it was gone
	turn   int      // of the mirror, as of the last snapshot
	sent   uint64   // everything up to here was sent
	synced bool
	proofs int // of the mirror, as of the last bookmark
}

// Watch implements ports.Records.
func (b *Backend) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if err := backendkit.CheckWatch(req); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	now, last, err := b.reached(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", b.closing.Or(err))
	}
	services := slices.Clone(req.Services)
	slices.Sort(services)
	w := &watch{backend: b, services: slices.Compact(services), follow: req.Follow, life: now, sent: req.Cursor.N}
	w.setOut(last)
	reset := b.mirror.resumable(now, req.Cursor, last)
	w.turn = b.mirror.after(last, false).turn
	return b.feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
		w.feed = to
		return w.run(ctx, reset)
	})
}

// run goes on until the reader has enough. A store that is away is waited for.
func (w *watch) run(ctx context.Context, reset string) error {
	for {
		v := w.backend.mirror.after(w.sent, reset == "")
		switch {
		case v.life != w.life:
			if w.backend.life.Load() != w.life {
				reset = "the store started anew: it has another epoch"
				if err := w.enter(ctx); err != nil {
					return err
				}
				continue
			}
		case reset == "" && v.turn != w.turn:
			reset = "the store lost or found records that were written before"
			w.setOut(w.needed)
			continue
		case reset == "" && w.sent < v.dropped:
			reset = forgotten
			w.setOut(w.needed)
			continue
		case !w.whole:
			if w.arrive(ctx) {
				continue
			}
		case reset != "":
			if err := w.snapshot(ctx, reset); err != nil {
				return err
			}
			reset = ""
			continue
		case len(v.entries) > 0:
			if err := w.sendAll(ctx, v.entries); err != nil {
				return err
			}
			continue
		default:
			if err := w.prove(ctx, v); err != nil {
				return err
			}
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter begins anew in another life of the store.
func (w *watch) enter(ctx context.Context) error {
	w.sent, w.synced = 0, false
	now, last, err := w.backend.reached(ctx)
	w.life = now
	w.setOut(last)
	return err
}

// setOut has the mirror brought to a sequence, and all that stands, before anything more is sent.
func (w *watch) setOut(needed uint64) {
	w.needed, w.way, w.whole = needed, reaching{seq: needed}, false
}

// arrive brings the mirror to all that stands. What fails goes on at the next change.
func (w *watch) arrive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	w.whole = w.backend.whole(ctx, w.life, &w.way) == nil
	return w.whole
}

// snapshot sends a Reset, the records and a Synced.
func (w *watch) snapshot(ctx context.Context, reason string) error {
	v := w.backend.mirror.all()
	if v.life != w.life {
		return nil // run sees it
	}
	if err := w.feed.Reset(ctx, reason); err != nil {
		return err
	}
	if err := w.sendAll(ctx, v.entries); err != nil {
		return err
	}
	w.sent, w.turn, w.synced = v.position, v.turn, true
	return w.done(w.feed.Synced(ctx, w.life.revision(w.sent)))
}

// done ends a list once its Synced was sent.
func (w *watch) done(err error) error {
	if err == nil && !w.follow {
		return io.EOF
	}
	return err
}

// prove says that everything up to the mirror's position was sent, where that is proved.
func (w *watch) prove(ctx context.Context, v view) error {
	w.sent = max(w.sent, v.position)
	switch {
	case !w.synced:
		w.synced = true
		return w.done(w.feed.Synced(ctx, w.life.revision(w.sent)))
	case w.synced && v.proofs != w.proofs && v.position >= v.proven:
		w.proofs = v.proofs
		return w.feed.Bookmark(ctx, w.life.revision(w.sent))
	}
	return nil
}

func (w *watch) sendAll(ctx context.Context, entries []*entry) error {
	for _, e := range entries {
		if err := w.send(ctx, e); err != nil {
			return err
		}
		w.sent = e.seq
	}
	return nil
}

// send hands over what stands at a key.
func (w *watch) send(ctx context.Context, e *entry) error {
	if len(w.services) > 0 {
		if _, wanted := slices.BinarySearch(w.services, e.key.Service); !wanted {
			return nil
		}
	}
	switch {
	case e.flaw != nil:
		return w.feed.Skipped(ctx, e.key, e.flaw)
	case e.doc.Record != nil:
		rec := *e.doc.Record
		rec.Body = bytes.Clone(rec.Body)
		return w.feed.Put(ctx, &rec)
	default:
		tomb := *e.doc.Tombstone
		return w.feed.Delete(ctx, &tomb)
	}
}
