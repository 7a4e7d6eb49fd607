package consul

// watch.go: the stream of records: one blocking query on the versions of all buckets, then
// reads of the services that have moved. That query, which the leader answers after it has
// proved that it leads, is the bookmark too.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

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
	first, err := b.versionsAfter(ctx, 0, 0)
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

// versionsAfter waits until something is written after an index, or for a while, and makes
// an epoch where there is none.
func (b *Backend) versionsAfter(ctx context.Context, after uint64, wait time.Duration) (versions, error) {
	for {
		pairs, index, err := b.listAfter(ctx, b.keys.versions(), after, wait)
		if err != nil {
			return versions{}, err
		}
		v := b.readVersions(pairs, index)
		if v.epoch.id != "" {
			b.epochs.see(v.epoch)
			return v, nil
		}
		read, err := b.read(ctx, b.keys.epoch())
		if err != nil {
			return versions{}, err
		}
		if _, _, err := b.currentEpoch(ctx, read[0]); err != nil {
			return versions{}, err
		}
		after = 0
	}
}

// watch belongs to the goroutine of run.
type watch struct {
	b        *Backend
	services map[string]bool // nil: all
	follow   bool

	at     versions
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
	w.sent, w.guests = make(account), make(guests)
	if err := to.Reset(ctx, reason); err != nil {
		return err
	}
	var services []string
	if w.services != nil {
		for service := range w.services {
			services = append(services, service)
		}
	} else {
		names, err := w.b.names(ctx, w.b.keys.services(""), "")
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		for _, name := range names {
			if _, service, ok := strings.Cut(strings.TrimPrefix(name, w.b.keys.services("")), "/"); ok {
				services = append(services, service)
			}
		}
	}
	if err := w.compareAll(ctx, to, services, true); err != nil {
		return err
	}
	if err := w.visit(ctx, to, !w.follow); err != nil {
		return err
	}
	return to.Synced(ctx, w.at.epoch.at(w.at.index))
}

// compareAll reads services, a few at the same time, and sends what is new, in their order.
func (w *watch) compareAll(ctx context.Context, to *backendkit.Feed, services []string, snapshot bool) error {
	ahead := readAll(ctx, w.b, services)
	defer ahead.stop()
	for _, service := range services {
		pairs, err := ahead.next(ctx)
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		if err := w.sent.compare(ctx, to, w.b.keys, service, pairs, w.at.epoch, w.at.index, snapshot); err != nil {
			return err
		}
	}
	return nil
}

// changes sends what happens after the snapshot, until another one is due, for which it says
// why.
func (w *watch) changes(ctx context.Context, to *backendkit.Feed) (reset string, err error) {
	for heard := time.Now(); ; {
		bounded, cancel := context.WithTimeout(ctx, bookmarkEvery+answerLimit)
		now, err := w.b.versionsAfter(bounded, w.at.index, bookmarkEvery)
		cancel()
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil && !passes(err):
			return "", fmt.Errorf("watch: %w", err)
		case err != nil && time.Since(heard) >= patience:
			return "", fmt.Errorf("watch: consul at %s has not answered for %s: %w", w.b.way.where(), patience, ports.ErrUnavailable)
		case err != nil:
			pause(ctx, retryEvery)
			continue
		}
		heard = time.Now()
		before := w.at
		switch {
		case now.epoch.id != before.epoch.id:
			w.at = now
			return "the store has lost or replaced its data: a new epoch", nil
		case now.index < before.index:
			if _, err := w.b.newEpoch(ctx, now.epoch.index); err != nil {
				return "", fmt.Errorf("watch: %w", err)
			}
			if w.at, err = w.b.versionsAfter(ctx, 0, 0); err != nil {
				return "", fmt.Errorf("watch: %w", err)
			}
			return "the store was set back to an earlier state: a new epoch", nil
		}
		w.at = now
		if err := w.moved(ctx, to, before); err != nil {
			return "", err
		}
		if err := w.visit(ctx, to, false); err != nil {
			return "", err
		}
		if err := to.Bookmark(ctx, w.at.epoch.at(w.at.index)); err != nil {
			return "", err
		}
	}
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

// moved reads the services that were written since before.
func (w *watch) moved(ctx context.Context, to *backendkit.Feed, before versions) error {
	var services []string
	if w.services != nil { // They are known, and so few that none of them needs another look.
		for service := range w.services {
			if bucket := bucketOf(service); w.at.buckets[bucket] > before.buckets[bucket] {
				services = append(services, service)
			}
		}
		return w.compareAll(ctx, to, services, false)
	}
	for bucket, index := range w.at.buckets {
		if index <= before.buckets[bucket] {
			continue
		}
		// Most often one service has moved, and the bucket's key names it: it is sent before
		// the others are looked for.
		hint := w.at.hints[bucket]
		if hint != "" {
			pairs, err := w.b.listFrom(ctx, w.b.keys.records(hint), index)
			if err != nil {
				return fmt.Errorf("watch: %w", err)
			}
			if err := w.sent.compare(ctx, to, w.b.keys, hint, pairs, w.at.epoch, w.at.index, false); err != nil {
				return err
			}
		}
		pairs, err := w.b.list(ctx, w.b.keys.services(bucket))
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		for _, pair := range pairs {
			service := strings.TrimPrefix(pair.Key, w.b.keys.services(bucket))
			if pair.ModifyIndex > before.buckets[bucket] && service != hint {
				services = append(services, service)
			}
		}
	}
	return w.compareAll(ctx, to, services, false)
}
