package registry

// recover.go: after a session ended or the store lost its data, this process asserts again
// every instance that it holds, in batches and with jitter, within half of a session_ttl.

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const recoverBatch = 200

// recoverLocked marks a holding to be asserted again.
func (r *Registry) recoverLocked(h *holding) {
	if h.phase == holdRecovering {
		return
	}
	h.phase, h.asserting = holdRecovering, false
	// At most 3/16 of a session_ttl, on the strokes of a coarse clock so that batches form.
	h.assertAt = time.Now().Add(jitter(r.opt.SessionTTL / 8)).Truncate(r.opt.SessionTTL / 64)
	kick(r.recoverKick)
}

// hasten has an instance that waits for its recovery asserted now, since somebody wants to
// write to it; false when it does not wait.
func (r *Registry) hasten(key core.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[key]
	if h == nil || h.phase != holdRecovering {
		return false
	}
	if soon := time.Now().Add(retryAfter / 4); h.assertAt.After(soon) && !h.asserting {
		h.assertAt = time.Now()
		kick(r.recoverKick)
	}
	return true
}

// recoverLoop asserts what is due.
func (r *Registry) recoverLoop() {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	for {
		due, next := r.assertionsDue(time.Now())
		for _, batch := range due {
			r.assertAgain(batch)
		}
		if len(due) > 0 {
			continue
		}
		clock.Reset(next)
		select {
		case <-r.ctx.Done():
			return
		case <-r.recoverKick:
		case <-clock.C:
		}
	}
}

// reassertion is one instance that is asserted again.
type reassertion struct {
	h   *holding
	put ports.Put
}

// assertionsDue groups what is due by the class of session that it belongs under.
func (r *Registry) assertionsDue(now time.Time) (due [][]reassertion, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = time.Hour
	byClass := map[time.Duration][]reassertion{}
	for key, h := range r.held {
		if h.phase != holdRecovering {
			continue
		}
		if wait := h.assertAt.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		e := r.entryLocked(key)
		if e == nil {
			continue // released in the same breath
		}
		class := r.sessionClass(h.keepalive, h.ttl)
		byClass[class] = append(byClass[class], reassertion{h: h, put: ports.Put{Record: e.rec}})
		h.assertAt = now.Add(r.opt.SessionTTL / 2) // not twice at once; a failure sets it anew
		h.asserting = true
	}
	for _, list := range byClass {
		for len(list) > 0 {
			n := min(len(list), recoverBatch)
			due = append(due, list[:n])
			list = list[n:]
		}
	}
	return due, next
}

// assertAgain writes one batch, whose instances belong under one class of session.
func (r *Registry) assertAgain(batch []reassertion) {
	if r.begin() != nil {
		return
	}
	defer r.end()
	ctx, cancel := context.WithTimeout(r.ctx, max(r.opt.SessionTTL/3, writePatience))
	defer cancel()
	class := r.sessionClass(batch[0].h.keepalive, batch[0].h.ttl)
	for len(batch) > 0 {
		var wait time.Duration
		batch, wait = r.assertOnce(ctx, class, batch)
		if wait > 0 {
			r.postpone(batch, wait)
			return
		}
	}
}

// assertOnce writes what it can and returns what needs another look, and how long to wait.
func (r *Registry) assertOnce(ctx context.Context, class time.Duration, batch []reassertion) (again []reassertion, wait time.Duration) {
	held := make([]*session, 0, len(batch))
	defer func() {
		for _, s := range held {
			r.unreserve(s) // who holds the record has reserved a place of its own by now
		}
	}()
	muts := make([]ports.Mutation, 0, len(batch))
	size := 0
	for i := range batch {
		if size += len(batch[i].put.Record.Body); size > ports.MaxBatchBytes {
			again = append(again, batch[i:]...)
			batch = batch[:i]
			break
		}
		s, err := r.acquire(ctx, class)
		if err != nil {
			return batch, retryAfter
		}
		held = append(held, s)
		rec := &batch[i].put.Record
		rec.Session, rec.Owner, rec.UpdatedAt = s.id, r.owner, time.Now()
		muts = append(muts, ports.Mutation{Put: &batch[i].put})
	}
	results, err := r.backend.Apply(ctx, muts)
	if err != nil || len(results) != len(muts) {
		r.log.Debug("instances were not registered again yet", slog.Any("error", err))
		return append(again, batch...), retryAfter
	}
	for i, res := range results {
		switch next := r.asserted(batch[i], held[i], res); next {
		case assertDone:
		case assertAgainNow:
			again = append(again, r.revise(batch[i], res))
		case assertLater:
			again, wait = append(again, batch[i]), retryAfter
		}
	}
	return again, wait
}

const retryAfter = 300 * time.Millisecond

type assertOutcome int

const (
	assertDone assertOutcome = iota
	assertAgainNow
	assertLater
)

// asserted takes in the answer for one instance.
func (r *Registry) asserted(a reassertion, s *session, res ports.MutationResult) assertOutcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.flushLocked()
	h := a.h
	if r.held[h.key] != h {
		return assertDone
	}
	switch {
	case res.Err == nil && res.Record != nil:
		r.moveLocked(h, s)
		h.phase = holdActive
		if s.gone { // before its answer was here
			r.recoverLocked(h)
		}
		if h.keepalive == core.KeepaliveClient {
			h.deadline = time.Now().Add(h.ttl) // starts whole after the outage
		}
		r.applyRecordLocked(*res.Record, false)
		return assertDone
	case errors.Is(res.Err, ports.ErrSessionGone):
		r.sessionGoneLocked(s)
		return assertAgainNow
	case errors.Is(res.Err, ports.ErrConflict) && res.Record != nil:
		return r.assertConflictLocked(h, *res.Record)
	case errors.Is(res.Err, ports.ErrConflict) && !a.put.Replaces.IsZero() && ports.MayCreate(h.gen, res.Tombstone):
		return assertAgainNow // the store has just swept away what was to be moved
	case errors.Is(res.Err, ports.ErrConflict):
		r.assertRefusedLocked(h, res.Tombstone)
		return assertDone
	}
	return assertLater
}

// assertConflictLocked decides by what stands in the way: an older registration is replaced,
// a newer one ends this, and our own is moved from its dead session.
func (r *Registry) assertConflictLocked(h *holding, rec ports.Record) assertOutcome {
	c := rec.Generation.Compare(h.gen)
	if c < 0 {
		return assertAgainNow
	}
	if c == 0 && r.writtenHere(h, rec) {
		if own := r.sessions[rec.Session]; own != nil { // an update was quicker: there is nothing to move
			r.applyRecordLocked(rec, false)
			if r.held[h.key] == h && h.phase == holdRecovering { // the view has shown this very record all the time
				r.moveLocked(h, own)
				h.phase = holdActive
			}
			return assertDone
		}
		return assertAgainNow
	}
	r.applyRecordLocked(rec, false) // superseded, or adopted elsewhere: releases the holding
	if cur := r.held[h.key]; cur == h {
		r.releaseLocked(h, core.HeartbeatSuperseded)
	}
	return assertDone
}

// moveLocked reserves a place for a holding in a session, and gives back the one that it has in another.
func (r *Registry) moveLocked(h *holding, to *session) {
	if h.session == to {
		return
	}
	r.unreserveLocked(h.session)
	to.records++
	h.session = to
}

// assertRefusedLocked ends a holding that was deregistered while this process was cut off.
func (r *Registry) assertRefusedLocked(h *holding, t *ports.Tombstone) {
	e := r.entryLocked(h.key)
	state := core.HeartbeatDeregistered
	if t != nil {
		state = stateAfter(*t, h.gen)
	}
	r.log.Error("an instance was deregistered while this process was cut off; it ends", slog.String("key", h.key.String()))
	r.releaseLocked(h, state)
	if e == nil {
		return
	}
	tomb := ports.Tombstone{Key: h.key, Generation: h.gen, Cause: core.CauseUnknown}
	if t != nil {
		tomb = *t
	}
	r.removeLocked(e, tomb)
}

// revise prepares the next attempt after a conflict.
func (r *Registry) revise(a reassertion, res ports.MutationResult) reassertion {
	if found := res.Record; found != nil {
		was := a.put.Record
		if found.Generation == was.Generation && found.Revision.Epoch == was.Revision.Epoch && found.Revision.N > was.Revision.N {
			a.put.Record = *found // an update since, under a session that ended as well
		}
		a.put.Replaces, a.put.IfRevision = found.Generation, found.Revision
	} else {
		a.put.Replaces, a.put.IfRevision = core.Generation{}, core.Revision{}
	}
	return a
}

func (r *Registry) postpone(batch []reassertion, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range batch {
		if a.h.phase == holdRecovering {
			a.h.assertAt, a.h.asserting = time.Now().Add(jitter(wait)), false
		}
	}
}
