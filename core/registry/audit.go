package registry

// audit.go: every cleanup_interval the view is compared with a linearizable list of the
// store, in case the stream and the store ever disagree, and idle sessions are closed.

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func (r *Registry) auditLoop() {
	clock := time.NewTicker(r.opt.CleanupInterval)
	defer clock.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-clock.C:
		}
		if err := r.audit(); err != nil && r.ctx.Err() == nil {
			r.log.Debug("the audit was not carried out", slog.Any("error", err))
		}
		r.closeIdleSessions()
	}
}

// audit reads everything and corrects the view.
func (r *Registry) audit() error {
	ctx, cancel := context.WithTimeout(r.ctx, r.opt.CleanupInterval)
	defer cancel()
	w, err := r.backend.Watch(ctx, ports.WatchRequest{})
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // a list that ends has nothing more to say
	seen := map[core.Key]bool{}
	var records []ports.Record
	var cursor core.Revision
	for {
		ev, err := w.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch ev.Kind {
		case ports.WatchPut:
			seen[ev.Record.Key] = true
			records = append(records, *ev.Record)
		case ports.WatchSkipped:
			seen[ev.Key] = true
		case ports.WatchSynced:
			cursor = ev.Cursor
		case ports.WatchReset, ports.WatchDelete, ports.WatchBookmark:
		}
	}
	absent, missed := r.compare(records, seen, cursor)
	r.resolveAbsences(absent)
	return r.confirmMissed(ctx, missed)
}

// confirmMissed has everything read anew when the store still holds what the watch never
// showed: rather that than guess whether a record was deleted a moment ago.
func (r *Registry) confirmMissed(ctx context.Context, missed []core.Key) error {
	if len(missed) == 0 {
		return nil
	}
	found, err := r.backend.Get(ctx, missed[:1])
	if err != nil || len(found) != 1 || found[0].Record == nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entryLocked(missed[0]) == nil {
		r.log.Warn("the watch missed a record; everything is read anew", slog.String("key", missed[0].String()))
		r.link.anew = true
		r.link.restart()
	}
	return nil
}

// compare finds what the view holds and the list did not show, and what the view lacks
// although the watch has passed its revision.
func (r *Registry) compare(records []ports.Record, seen map[core.Key]bool, cursor core.Revision) (absent []absentee, missed []core.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.link.connected || cursor.Epoch != r.link.cursor.Epoch {
		return nil, nil // the watch deals with that
	}
	for _, rec := range records {
		if r.entryLocked(rec.Key) == nil && rec.Revision.N <= r.link.cursor.N && r.skipped[rec.Key] == "" {
			missed = append(missed, rec.Key)
			continue
		}
		r.mergeAnswerLocked(rec, true)
	}
	for _, s := range r.services {
		for _, e := range s.entries {
			rev := e.rec.Revision
			if !seen[e.rec.Key] && e.leaving == nil && rev.Epoch == cursor.Epoch && rev.N <= cursor.N {
				absent = append(absent, absentee{e.rec.Key, rev})
			}
		}
	}
	return absent, missed
}

func (r *Registry) closeIdleSessions() {
	for _, s := range r.takeIdleSessions(r.opt.CleanupInterval) {
		ctx, cancel := context.WithTimeout(r.ctx, writePatience)
		if err := r.backend.CloseSession(ctx, s.id); err != nil {
			r.log.Debug("an idle session was not closed", slog.Any("error", err))
		}
		cancel()
	}
}
