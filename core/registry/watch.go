package registry

// watch.go: the loop that follows the store, and what a reset, an outage and a new epoch mean.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// staleAfter is how long without a proof of freshness a view counts as current.
	staleAfter = 5 * time.Second
	// silence is how long a stream may be silent before it is given up.
	silence = 3 * ports.MaxBookmarkGap
	// reasonWithin bounds the question why it is.
	reasonWithin = time.Second
	// shortOutage is what nobody needs to know about clocks: a plugin that restarts.
	shortOutage = time.Second
	// longGap between two proofs means that the store was away, though the stream goes on.
	longGap = ports.MaxBookmarkGap + shortOutage
)

// link is what is known of the connection to the store; guarded by the registry's lock.
type link struct {
	connected   bool // a stream is up and synced
	synced      bool // a snapshot has been seen since the start
	announced   bool // to those who wait in Start
	cursor      core.Revision
	retired     map[string]bool // epochs that are over, until a snapshot shows one again
	proof       atomic.Int64    // time of the last proof, as a duration since the start of the clock
	lost        time.Time       // when the last proof before the outage was
	degraded    time.Time       // when the outage was noticed and published
	holdUntil   time.Time       // until then absences of others' instances are not believed
	holdLeft    time.Duration   // how much of that was left when the last proof before the outage came
	lastFailure string
	snapshot    map[core.Key]bool // seen since the reset; nil outside
	wasSynced   bool              // at the reset: its snapshot is news
	restart     func()            // ends the present stream, so that another is opened
	anew        bool              // the next stream begins with a snapshot
}

var clockStart = time.Now()

// proved notes a proof that the view is current.
func (l *link) proved() { l.proof.Store(int64(time.Since(clockStart)) + 1) }

// Freshness says how far reads may lag behind the store.
func (r *Registry) Freshness() Freshness {
	proof := r.link.proof.Load()
	if proof == 0 {
		return Freshness{Stale: true, Age: 0}
	}
	age := time.Since(clockStart) - time.Duration(proof-1)
	return Freshness{Stale: age > staleAfter, Age: age}
}

// Synced reports whether a snapshot has been seen since the start.
func (r *Registry) Synced() bool { return r.link.proof.Load() != 0 }

// watchLoop follows the store until Close.
func (r *Registry) watchLoop() {
	for attempt := 0; ; attempt++ {
		progressed, err := r.follow()
		if r.ctx.Err() != nil {
			return
		}
		r.disconnected(r.reason(err))
		if progressed {
			attempt = 0
		}
		if !pause(r.ctx, min(attempt, 4)) {
			return
		}
	}
}

// follow opens one stream and consumes it until it ends.
func (r *Registry) follow() (progressed bool, err error) {
	r.mu.Lock()
	cursor, anew := r.link.cursor, r.link.anew
	if anew {
		cursor = core.Revision{}
	}
	r.link.snapshot, r.link.anew, r.link.restart = nil, false, func() {}
	r.mu.Unlock()
	open, cancelOpen := context.WithTimeout(r.ctx, silence)
	defer cancelOpen()
	w, err := r.backend.Watch(open, ports.WatchRequest{Cursor: cursor, Follow: true})
	if err != nil {
		r.mu.Lock()
		r.link.anew = r.link.anew || anew
		r.mu.Unlock()
		return false, err
	}
	defer w.Close() //nolint:errcheck // a watcher that ends has nothing more to say
	stream, restart := context.WithCancel(r.ctx)
	defer restart()
	r.mu.Lock()
	r.link.restart = restart
	r.doubtAbsencesLocked(time.Now(), false)
	r.mu.Unlock()
	for {
		ctx, cancel := context.WithTimeout(stream, silence)
		ev, err := w.Next(ctx)
		cancel()
		if err != nil {
			return progressed, err
		}
		absent := r.consume(ev)
		progressed = progressed || ev.Kind == ports.WatchSynced
		if len(absent) > 0 {
			r.resolveAbsences(absent)
		}
	}
}

// consume takes in one event and returns the keys that a snapshot did not show any more.
func (r *Registry) consume(ev ports.WatchEvent) (absent []absentee) {
	r.mu.Lock()
	defer r.mu.Unlock()
	inSnapshot := r.link.snapshot != nil
	if age := r.Freshness().Age; r.link.connected && age > max(r.opt.SessionTTL/2, longGap) {
		r.holdAbsencesLocked(time.Now())
	}
	switch ev.Kind {
	case ports.WatchReset:
		level := slog.LevelInfo
		if !r.link.synced {
			level = slog.LevelDebug // the first snapshot is no news
		}
		r.log.Log(r.ctx, level, "the view is read anew", slog.String("reason", ev.Reason))
		r.link.snapshot = map[core.Key]bool{}
		r.link.wasSynced = r.link.synced
		return nil
	case ports.WatchPut:
		if inSnapshot {
			r.link.snapshot[ev.Record.Key] = true
			r.reviveLocked(ev.Record.Revision.Epoch)
		}
		r.applyRecordLocked(*ev.Record, inSnapshot && !r.link.wasSynced)
		if !inSnapshot { // a snapshot need not be in the order of its revisions
			r.lag.sees(ev.Record.Revision, time.Now())
		}
	case ports.WatchDelete:
		r.applyDeleteLocked(*ev.Tombstone)
		r.lag.sees(ev.Tombstone.Revision, time.Now())
	case ports.WatchSkipped:
		if inSnapshot {
			r.link.snapshot[ev.Key] = true // unreadable is not absent
		}
		r.skipLocked(ev.Key, ev.Reason)
	case ports.WatchSynced:
		absent = r.syncedLocked(ev.Cursor)
	case ports.WatchBookmark:
		r.advanceLocked(ev.Cursor)
	}
	if r.link.snapshot == nil {
		r.flushLocked()
	}
	if ev.Kind == ports.WatchSynced || ev.Kind == ports.WatchBookmark {
		r.link.proved() // only now: who sees that the view is current reads it next
	}
	if r.link.synced && !r.link.announced {
		r.link.announced = true
		close(r.firstSync) // only now: who waits for it reads the view next
		r.view.wake()
	}
	return absent
}

// advanceLocked moves the cursor and forgets what is not needed below it.
func (r *Registry) advanceLocked(cursor core.Revision) {
	now := time.Now()
	r.link.cursor = cursor
	r.lag.sees(cursor, now)
	for name, s := range r.services {
		for id, floor := range s.floors {
			if floor.Epoch != cursor.Epoch || floor.N <= cursor.N {
				delete(s.floors, id)
			}
		}
		if s.forgetExpiries(now); s.empty() {
			delete(r.services, name)
		}
	}
}

// syncedLocked ends a snapshot or a resumption.
func (r *Registry) syncedLocked(cursor core.Revision) (absent []absentee) {
	now := time.Now()
	newEpoch := r.link.cursor.Epoch != "" && r.link.cursor.Epoch != cursor.Epoch
	if newEpoch {
		r.link.retired[r.link.cursor.Epoch] = true
		r.log.Warn("the store lost or replaced its data; what this process holds registers again",
			slog.String("epoch", cursor.Epoch))
	}
	r.reviveLocked(cursor.Epoch)
	outage := r.doubtAbsencesLocked(now, newEpoch)
	if outage > shortOutage || newEpoch {
		r.restartTTLsLocked(now)
		r.renewAllLocked(now)
	}
	if r.link.snapshot != nil {
		absent = r.absentLocked(cursor, newEpoch)
		maps.DeleteFunc(r.skipped, func(key core.Key, _ string) bool { return !r.link.snapshot[key] })
		r.link.snapshot = nil
	}
	r.settleRecalledLocked(cursor)
	if r.link.cursor.Epoch != cursor.Epoch {
		r.opt.Journal.Note(ports.Note{Epoch: cursor.Epoch})
	}
	if !r.link.connected && r.link.synced {
		r.publish(core.Event{
			Type: core.EventRecovered, Cause: core.CauseOutage, Actor: "registry",
			Reason: "the view is current again, " + now.Sub(r.link.degraded).Round(time.Millisecond).String() + " after the outage was noticed",
		})
	}
	r.link.connected, r.link.synced, r.link.lost, r.link.lastFailure = true, true, time.Time{}, ""
	r.advanceLocked(cursor)
	return absent
}

// reviveLocked believes an epoch again that was over: a backup brings it back, or an address that
// leads to the former store. What its numbers meant is forgotten: news under numbers that the view
// has seen before is news all the same, not least of what was thought to be gone meanwhile.
func (r *Registry) reviveLocked(epoch string) {
	if !r.link.retired[epoch] {
		return
	}
	delete(r.link.retired, epoch)
	for _, s := range r.services {
		for _, e := range s.entries {
			if e.rec.Revision.Epoch == epoch {
				e.reset = true
			}
			if e.leaving != nil && e.leaving.tomb.Revision.Epoch == epoch {
				e.leaving.tomb.Revision = core.Revision{}
			}
		}
	}
}

// doubtAbsencesLocked has absences of others' instances waited out after a long outage, or
// when the store lost its data. It is asked before the first news of a stream, which may be
// expiries of the time of the outage, and again when the stream is synced.
func (r *Registry) doubtAbsencesLocked(now time.Time, newEpoch bool) (outage time.Duration) {
	if !r.link.lost.IsZero() {
		outage = now.Sub(r.link.lost)
		if r.link.holdLeft > 0 { // nobody could assert anything meanwhile
			r.link.holdUntil = now.Add(r.link.holdLeft)
		}
	}
	if newEpoch || outage > r.opt.SessionTTL/2 {
		r.holdAbsencesLocked(now)
	}
	return outage
}

// holdAbsencesLocked gives the others time to assert what they hold.
func (r *Registry) holdAbsencesLocked(now time.Time) {
	r.link.holdUntil = now.Add(r.opt.SessionTTL * 3 / 2)
}

// absentLocked finds what the view holds and the snapshot did not show.
func (r *Registry) absentLocked(cursor core.Revision, newEpoch bool) (absent []absentee) {
	for _, s := range r.services {
		for _, e := range s.entries {
			key := e.rec.Key
			if r.link.snapshot[key] || e.leaving != nil || !e.reset && e.rec.Revision.Epoch == cursor.Epoch && e.rec.Revision.N > cursor.N {
				continue
			}
			h := r.held[key]
			if h != nil && (newEpoch || h.session.gone || h.phase == holdRecovering) {
				r.recoverLocked(h)
				continue
			}
			absent = append(absent, absentee{key, e.rec.Revision})
		}
	}
	return absent
}

// renewAllLocked asks after every session at once: those that ended are found out now.
func (r *Registry) renewAllLocked(now time.Time) {
	for _, s := range r.sessions {
		if !s.renewAt.IsZero() {
			s.renewAt = now
		}
	}
	kick(r.renewKick)
}

// reason asks the store why it is silent, which the end of a wait does not say.
func (r *Registry) reason(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, core.ErrUnavailable) {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, reasonWithin)
	defer cancel()
	if why := r.backend.Health(ctx); why != nil && ctx.Err() == nil {
		return why
	}
	return errSilent
}

var errSilent = fmt.Errorf("%w: the store has been silent for %s", core.ErrUnavailable, silence)

// disconnected notes that the stream ended, once an outage.
func (r *Registry) disconnected(err error) {
	select {
	case r.firstFail <- err:
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link.lastFailure = err.Error()
	if !r.link.connected {
		return
	}
	r.link.connected = false
	proof := time.Duration(r.link.proof.Load() - 1)
	r.link.lost, r.link.degraded = clockStart.Add(proof), time.Now()
	r.link.holdLeft = r.link.holdUntil.Sub(r.link.lost)
	reason := outageReason(err)
	r.log.Warn("the backend cannot be followed; reads go on from the last view", slog.String("reason", reason), slog.Any("error", err))
	r.publish(core.Event{Type: core.EventDegraded, Cause: core.CauseOutage, Actor: "registry", Reason: reason})
	r.flushLocked()
}

// outageReason says in one sentence why the store cannot be followed. Events are read by
// people and programs that know nothing of sockets and processes; the log has the error.
func outageReason(err error) string {
	switch {
	case errors.Is(err, errSilent):
		return "the store has been silent for " + silence.String()
	case errors.Is(err, core.ErrPermission):
		return "the store no longer lets this host read its records"
	case errors.Is(err, core.ErrUnavailable), errors.Is(err, core.ErrClosed):
		return "the store, or the plugin that speaks to it, is out of reach"
	}
	return "the store ended the stream of changes"
}
