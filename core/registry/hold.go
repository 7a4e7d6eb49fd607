package registry

// hold.go: the instances that this process keeps alive, and the clocks of their ttls.

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

type holdPhase int

const (
	holdActive     holdPhase = iota
	holdRecovering           // its session ended or the store lost its data: assert it again
	holdExpiring             // its ttl ran out and the record is being deleted
)

// holding is one instance that this process keeps alive; guarded by the registry's lock.
type holding struct {
	key       core.Key
	gen       core.Generation
	session   *session
	keepalive core.Keepalive
	ttl       time.Duration
	deadline  time.Time // of a client's ttl
	timer     uint64    // its one timer; others are dead
	phase     holdPhase
	assertAt  time.Time // while recovering
	asserting bool      // it is being written
	// own is set for what this process registered for itself: it is told when the holding ends.
	own func(core.HeartbeatState)
	// unclaimed is set for what an earlier process registered for itself, until this one does so
	// too; it is an orphan when that does not happen within a session_ttl.
	unclaimed bool
}

// holdLocked begins to keep an instance alive. The caller has reserved a place in the session.
func (r *Registry) holdLocked(e *entry, s *session, own func(core.HeartbeatState)) {
	key := e.rec.Key
	if prev := r.held[key]; prev != nil {
		state := core.HeartbeatSuperseded
		if prev.gen == e.rec.Generation { // its own update, or a move between sessions
			state = ""
			if own == nil {
				own = prev.own
			}
		}
		r.releaseLocked(prev, state)
	}
	h := &holding{
		key: key, gen: e.rec.Generation, session: s, own: own, keepalive: e.in.Keepalive, ttl: e.in.TTL,
	}
	r.held[key] = h
	r.noteHeldLocked(h, e.rec)
	r.startTTLLocked(h)
	if s.gone {
		r.recoverLocked(h)
	}
	r.opt.Track(handOut(e.in))
}

func (r *Registry) startTTLLocked(h *holding) {
	if h.keepalive != core.KeepaliveClient {
		return
	}
	h.deadline = time.Now().Add(h.ttl)
	r.wakeLocked(h, h.deadline)
}

// wakeLocked sets when the ttl of a holding is looked at next.
func (r *Registry) wakeLocked(h *holding, at time.Time) {
	r.lastTimer++
	h.timer = r.lastTimer
	r.timers.push(timer{at: at, kind: timerTTL, key: h.key, id: h.timer})
	kick(r.timerKick)
}

// releaseLocked stops keeping an instance alive. State tells an embedding program why; ""
// means that nothing happened to the instance.
func (r *Registry) releaseLocked(h *holding, state core.HeartbeatState) {
	if r.held[h.key] != h {
		return
	}
	delete(r.held, h.key)
	r.opt.Journal.Note(ports.Note{Released: h.key})
	r.unreserveLocked(h.session)
	r.opt.Untrack(h.key)
	if h.own != nil && state != "" {
		h.own(state)
	}
}

// ttlDueLocked returns the holding when its ttl has really run out.
func (r *Registry) ttlDueLocked(t timer, now time.Time) *holding {
	h := r.held[t.key]
	if h == nil || h.keepalive != core.KeepaliveClient || h.phase == holdExpiring || h.timer != t.id {
		return nil
	}
	switch {
	case h.deadline.After(now):
		r.wakeLocked(h, h.deadline)
		return nil
	case h.phase == holdRecovering || !r.link.connected:
		// Nobody is expired because the store is away; the clock starts whole when it is back.
		r.wakeLocked(h, now.Add(time.Second))
		return nil
	}
	h.phase = holdExpiring
	return h
}

// restartTTLsLocked gives every client its whole ttl again, after an outage.
func (r *Registry) restartTTLsLocked(now time.Time) {
	for _, h := range r.held {
		if h.keepalive == core.KeepaliveClient {
			h.deadline = now.Add(h.ttl)
		}
	}
}

// expireHeld deletes instances whose clients went silent.
func (r *Registry) expireHeld(due []*holding) {
	for _, h := range due {
		r.mu.Lock()
		e := r.entryLocked(h.key)
		valid := r.held[h.key] == h && e != nil
		r.mu.Unlock()
		if valid {
			r.expireOne(h, e.rec)
		}
	}
}

func (r *Registry) expireOne(h *holding, rec ports.Record) {
	ctx, cancel := context.WithTimeout(r.ctx, writePatience)
	defer cancel()
	for range maxAttempts {
		res := r.applyOne(ctx, ports.Mutation{Delete: &ports.Delete{
			Key: h.key, Generation: h.gen, Session: rec.Session, Cause: core.CauseExpired, Actor: "ttl",
			Reason: "no heartbeat for " + h.ttl.String(), IfRevision: rec.Revision,
		}})
		if res.Record != nil && res.Err != nil && res.Record.Generation == h.gen && res.Record.Session == rec.Session {
			rec = *res.Record // its status changed in between
			continue
		}
		if res.Err != nil {
			r.log.Debug("the expiry of an instance was not carried out", slog.String("key", h.key.String()), slog.Any("error", res.Err))
		}
		break
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[h.key] == h { // still ours: the store did not answer, or the race was lost; look again soon
		if h.phase == holdExpiring { // and not to be asserted again meanwhile
			h.phase = holdActive
		}
		r.wakeLocked(h, time.Now().Add(time.Second))
	}
}

// mayBeOrphanLocked has a record looked at again that stands under a session of ours and is
// neither held nor being written.
func (r *Registry) mayBeOrphanLocked(e *entry) {
	key := e.rec.Key
	if r.held[key] == nil && r.inflight[key] == 0 && r.sessions[e.rec.Session] != nil {
		r.lookForOrphanLocked(key, orphanDelay)
	}
}

func (r *Registry) lookForOrphanLocked(key core.Key, in time.Duration) {
	r.timers.push(timer{at: time.Now().Add(in), kind: timerOrphan, key: key})
	kick(r.timerKick)
}

// acknowledged reports whether somebody has the lease of a record: it was written again since it was
// registered, with one time for both. An adoption does that, and needs the lease.
func acknowledged(rec ports.Record) bool { return !rec.UpdatedAt.Equal(rec.RegisteredAt) }

// removeOrphans deletes records under our sessions that nothing here holds: an Apply that
// outlived its plugin, or its host, registered them after its caller had given up. What one
// adopted is held: its client lives, and nobody else keeps it alive any more.
func (r *Registry) removeOrphans(keys []core.Key) {
	for _, key := range keys {
		r.mu.Lock()
		e := r.entryLocked(key)
		h := r.held[key]
		unclaimed := h != nil && h.unclaimed
		if unclaimed && h.phase == holdRecovering { // the store does not have it yet
			r.lookForOrphanLocked(key, orphanDelay)
			r.mu.Unlock()
			continue
		}
		orphan := e != nil && e.leaving == nil && (h == nil || unclaimed) && r.inflight[key] == 0 && r.sessions[e.rec.Session] != nil
		if orphan && !unclaimed && acknowledged(e.rec) {
			s := r.sessions[e.rec.Session]
			s.records++
			r.holdLocked(e, s, nil)
			orphan = false
		}
		r.mu.Unlock()
		if !orphan {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, writePatience)
		res := r.applyOne(ctx, ports.Mutation{Delete: &ports.Delete{
			Key: key, Generation: e.rec.Generation, Session: e.rec.Session, Cause: core.CauseOrphan, Actor: "registry",
			Reason: "nobody holds this record", IfRevision: e.rec.Revision,
		}})
		cancel()
		if !settled(res) || unclaimed && errors.Is(res.Err, ports.ErrConflict) { // the store did not answer, or it was written to
			r.mu.Lock()
			r.lookForOrphanLocked(key, orphanDelay)
			r.mu.Unlock()
		}
	}
}

// removeOwn deletes what this process registered for itself.
func (r *Registry) removeOwn(ctx context.Context) error {
	r.mu.Lock()
	var own []ports.Record
	for key, h := range r.held {
		if e := r.entryLocked(key); (h.own != nil || h.unclaimed) && e != nil {
			own = append(own, e.rec)
		}
	}
	r.mu.Unlock()
	var failed error
	for _, rec := range own {
		res := r.applyOne(ctx, ports.Mutation{Delete: &ports.Delete{
			Key: rec.Key, Generation: rec.Generation, Cause: core.CauseDeregistered, Actor: "owner", Reason: "the process ended",
		}})
		if settled(res) && res.Err != nil {
			continue // somebody else removed it or took it over
		}
		if res.Err != nil {
			failed = res.Err
		}
	}
	return failed
}
