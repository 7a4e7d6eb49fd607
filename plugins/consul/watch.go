package consul

// watch.go: the stream of records: one blocking query on the key that every write touches, which
// shows what was written if that is small, then a read of the records that it only names, and of what
// shows whether there are others. That query,
// which the leader answers after it has proved that it leads, is the bookmark too.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// bookmarkEvery is how long Consul waits for a change before it says that there is none.
	bookmarkEvery = 900 * time.Millisecond
	// patience is how long a watch goes without an answer before it ends with ErrUnavailable.
	patience = 4 * time.Second
	// answerLimit is how much longer than asked for Consul may wait.
	answerLimit = 2 * time.Second
	retryEvery  = 200 * time.Millisecond
	// readAtOnce is how many records that have moved are read in one go.
	readAtOnce = 64
	// readAhead is how many services of a snapshot are read at the same time.
	readAhead = 4
)

// Watch implements ports.Records. No cursor is resumed: Consul keeps states, not history.
func (b *Backend) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if err := backendkit.CheckWatch(req); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	defer leave()
	first, err := b.standing(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	w := &watch{b: b, at: first, follow: req.Follow}
	if len(req.Services) > 0 {
		w.services = make(map[string]bool, len(req.Services))
		for _, service := range req.Services {
			w.services[service] = true
		}
	}
	reason := "a watch without a cursor begins with a snapshot"
	if !req.Cursor.IsZero() {
		reason = "Consul keeps no history that a cursor could go on from"
	}
	return b.feeds.Open(func(ctx context.Context, to *backendkit.Feed) error { return w.run(ctx, to, reason) })
}

// watch belongs to the goroutine of run.
type watch struct {
	b        *Backend
	services map[string]bool // nil: all
	follow   bool

	at     state
	shown  map[string]uint64 // buckets of what came with the wake-up and is not in at yet, and when it was written
	heard  time.Time         // when Consul last answered, not counting time that the reader took
	sent   account
	guests guests
}

func (w *watch) run(ctx context.Context, to *backendkit.Feed, reason string) error {
	for {
		if err := w.snapshot(ctx, to, reason); err != nil {
			return err
		}
		if !w.follow {
			return io.EOF
		}
		var err error
		if reason, err = w.changes(ctx, to); err != nil {
			return err
		}
	}
}

// snapshot sends all that stands, as of w.at or later.
func (w *watch) snapshot(ctx context.Context, to *backendkit.Feed, reason string) error {
	w.sent, w.shown, w.guests = make(account), make(map[string]uint64), make(guests)
	if err := to.Reset(ctx, reason); err != nil {
		return err
	}
	var services []string
	if w.services != nil {
		for service := range w.services {
			services = append(services, service)
		}
	} else {
		var err error
		if services, err = w.b.services(ctx); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
	}
	if err := w.tellAll(ctx, to, services); err != nil {
		return err
	}
	if err := w.visit(ctx, to, !w.follow); err != nil {
		return err
	}
	return to.Synced(ctx, w.at.epoch.at(w.at.index))
}

// services lists those that have a record or a tombstone.
func (b *Backend) services(ctx context.Context) ([]string, error) {
	names, err := b.names(ctx, b.keys.allRecords(), "/")
	if err != nil {
		return nil, err
	}
	var services []string
	for _, name := range names {
		if service, ok := strings.CutSuffix(strings.TrimPrefix(name, b.keys.allRecords()), "/"); ok {
			services = append(services, service)
		}
	}
	return services, nil
}

// tellAll reads services, a few at the same time, and sends what stands of them, in their order.
func (w *watch) tellAll(ctx context.Context, to *backendkit.Feed, services []string) error {
	ahead := readAll(ctx, w.b, services)
	defer ahead.stop()
	for _, service := range services {
		pairs, err := ahead.next(ctx)
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		for _, pair := range pairs {
			k := core.Key{Service: service, ID: strings.TrimPrefix(pair.Key, w.b.keys.records(service))}
			if k.Validate() != nil {
				continue // not Prism's
			}
			if err := w.sent.tell(ctx, to, k, pair, w.at.epoch, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// changes sends what happens after the snapshot, until another one is due, for which it says
// why.
func (w *watch) changes(ctx context.Context, to *backendkit.Feed) (reset string, err error) {
	w.heard = time.Now()
	for {
		now, err := w.wait(ctx, to)
		switch {
		case err != nil:
		case now.epoch.id != w.at.epoch.id:
			w.at = now
			return "the store has lost or replaced its data: a new epoch", nil
		case !w.follows(now):
			err = errSetBack
		default:
			err = w.moved(ctx, to, now)
		}
		if errors.Is(err, errSetBack) {
			if err = w.anew(ctx, now.epoch); err == nil {
				return "the store was set back to an earlier state: a new epoch", nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil && !passes(err):
			return "", fmt.Errorf("watch: %w", err)
		case err != nil && time.Since(w.heard) >= patience:
			return "", fmt.Errorf("watch: consul at %s has not answered for %s; look at %s: %w", w.b.way.where(), patience, backendkit.OptionField("url"), ports.ErrUnavailable)
		case err != nil:
			pause(ctx, retryEvery) // What was sent is known, and not sent again.
			continue
		}
		w.heard = time.Now()
		if err := w.visit(ctx, to, false); err != nil {
			return "", err
		}
		if err := to.Bookmark(ctx, w.at.epoch.at(w.at.index)); err != nil {
			return "", err
		}
	}
}

// wait waits until something is written, or for a while, sends what comes with that, and returns
// what stands then.
func (w *watch) wait(ctx context.Context, to *backendkit.Feed) (state, error) {
	asking, cancel := context.WithTimeout(ctx, bookmarkEvery+answerLimit)
	defer cancel()
	latest, err := w.b.getAfter(asking, w.b.keys.latest(), w.at.index, bookmarkEvery)
	switch {
	case err != nil:
		return state{}, err
	case latest.ModifyIndex == w.at.index:
		return w.at, nil
	case latest.ModifyIndex < w.at.index: // It is gone, or is one of an earlier time.
		return w.b.standing(asking)
	}
	named, shown, err := w.show(ctx, to, latest)
	if err != nil {
		return state{}, err
	}
	w.heard = time.Now()
	reading, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	now, err := w.b.stateFrom(reading, latest.ModifyIndex, named, shown)
	if err == nil && (now.epoch.id == "" || now.index == 0) {
		return w.b.standing(reading)
	}
	if err == nil {
		w.b.epochs.see(now.epoch)
	}
	return now, err
}

// show sends what the latest write shows, and returns what else it names, and the buckets of
// what was sent. It was written in one transaction with the records themselves.
func (w *watch) show(ctx context.Context, to *backendkit.Feed, latest *api.KVPair) (named []core.Key, shown []string, err error) {
	epoch, of := readLatest(latest.Value)
	for _, r := range of {
		switch {
		case w.services != nil && !w.services[r.key.Service]:
		case r.document == "" || epoch != w.at.epoch.id:
			named = append(named, r.key)
		default:
			pair := &api.KVPair{Key: w.b.keys.record(r.key), Value: []byte(r.document), ModifyIndex: latest.ModifyIndex}
			if err := w.sent.tell(ctx, to, r.key, pair, w.at.epoch, false); err != nil {
				return nil, nil, err
			}
			shown = append(shown, bucketOf(r.key))
			w.shown[bucketOf(r.key)] = latest.ModifyIndex
		}
	}
	return named, shown, nil
}

// visit sends what is new of what others registered.
func (w *watch) visit(ctx context.Context, to *backendkit.Feed, fresh bool) error {
	found, err := w.b.foreign.look(ctx, fresh)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	if w.services != nil {
		found = maps.Clone(found)
		maps.DeleteFunc(found, func(k core.Key, _ *ports.Record) bool { return !w.services[k.Service] })
	}
	return w.guests.compare(ctx, to, found, w.sent, w.at.epoch.at(w.at.index))
}

// passes tells what may be over soon, such as the election of a leader.
func passes(err error) bool {
	return errors.Is(err, ports.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// moved sends what was written since w.at, up to now.
func (w *watch) moved(ctx context.Context, to *backendkit.Feed, now state) error {
	var known, more []string // buckets that have moved, and those of which now says no more than that
	for bucket, index := range now.buckets {
		switch {
		case index <= w.at.buckets[bucket]:
		case now.moves[bucket] == nil:
			more = append(more, bucket)
		default:
			known = append(known, bucket)
		}
	}
	if err := w.movedIn(ctx, to, now, known); err != nil {
		return err
	}
	if len(more) > 0 {
		later, err := w.b.state(w.b.consistent(ctx), nil, more)
		if err != nil {
			return err
		}
		if later.epoch.id != now.epoch.id { // The next look shows it.
			return nil
		}
		if err := w.movedIn(ctx, to, later, more); err != nil {
			return err
		}
	}
	w.at = state{epoch: now.epoch, index: now.index, buckets: now.buckets}
	clear(w.shown)
	return nil
}

// movedIn sends what was written in some buckets, or fails with errSetBack. A burst of writes touches all
// buckets, so what is read is read for all of them together.
func (w *watch) movedIn(ctx context.Context, to *backendkit.Feed, now state, buckets []string) error {
	if err := w.stillStands(ctx, now, buckets); err != nil {
		return err
	}
	var written []core.Key
	for _, bucket := range buckets {
		written = append(written, now.moves[bucket].writtenSince(w.sent)...)
	}
	written = slices.DeleteFunc(written, func(k core.Key) bool { return w.services != nil && !w.services[k.Service] })
	for some := range slices.Chunk(written, readAtOnce) {
		if err := w.tellMoved(ctx, to, now, some); err != nil {
			return err
		}
	}
	for _, bucket := range buckets {
		for k, told := range w.sent[bucket] {
			// What was read after this state is not gone from it.
			if _, listed := now.moves[bucket][k]; !listed && told.index <= now.index {
				if err := w.sent.gone(ctx, to, k, now.epoch, now.index); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// tellMoved sends what stands at some keys.
func (w *watch) tellMoved(ctx context.Context, to *backendkit.Feed, now state, written []core.Key) error {
	var unread []string
	for _, k := range written {
		if now.records[k] == nil {
			unread = append(unread, w.b.keys.record(k))
		}
	}
	pairs, err := w.b.read(ctx, unread...)
	if err != nil {
		return err
	}
	for _, k := range written {
		pair := now.records[k]
		if pair == nil {
			pair, pairs = pairs[0], pairs[1:]
		}
		if pair.ModifyIndex == 0 {
			err = w.sent.gone(ctx, to, k, now.epoch, now.index)
		} else {
			err = w.sent.tell(ctx, to, k, pair, now.epoch, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
