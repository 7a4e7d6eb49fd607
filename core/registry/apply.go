package registry

// apply.go: the one way by which records enter and leave the view. It decides which of two
// pieces of news is newer, what that means for instances that this process holds, and which
// events people see.

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/health"
	"github.com/marketprism/prism/ports"
)

// service is the writer's side of one service.
type service struct {
	name     string
	entries  map[string]*entry
	ids      []string                 // of entries, sorted
	expiries []expiry                 // of the last 30 s, for the protect threshold
	floors   map[string]core.Revision // deletions that the watch has yet to show
}

// entry is one instance in the view.
type entry struct {
	rec     ports.Record
	extra   map[string]json.RawMessage // fields of the body that this version does not know
	in      *core.Instance
	leaving *leaving // the store says it is gone, and we wait before we believe it
	// unhealthySince is when this process first saw the instance shown as unhealthy, by its own
	// clock; zero while it is not. It goes on over updates and over adoptions by anybody.
	unhealthySince time.Time
	// reset is set when the epoch of the revision was over and is in force again: a backup counts on
	// from lower numbers, so that all news of the instance is newer than this.
	reset bool
}

// age takes over since when the instance is unhealthy. What is drained or leaving is
// not counted: no check ends a maintenance.
func (e *entry) age(old *entry) {
	if e.in.Status() != core.StatusUnhealthy {
		return
	}
	e.unhealthySince = time.Now()
	if old != nil && old.rec.Generation == e.rec.Generation && !old.unhealthySince.IsZero() {
		e.unhealthySince = old.unhealthySince
	}
}

// critical reports whether an instance has been unhealthy for deregister_after.
func (e *entry) critical() bool {
	after := e.in.Check.DeregisterAfter
	return after > 0 && !e.unhealthySince.IsZero() && time.Since(e.unhealthySince) >= after
}

func (r *Registry) entryLocked(key core.Key) *entry {
	if s := r.services[key.Service]; s != nil {
		return s.entries[key.ID]
	}
	return nil
}

func (r *Registry) serviceLocked(name string) *service {
	s := r.services[name]
	if s == nil {
		s = &service{name: name, entries: map[string]*entry{}, floors: map[string]core.Revision{}}
		r.services[name] = s
	}
	return s
}

// decode turns a record into an entry, reusing what an older entry of the same body has.
func (r *Registry) decode(rec ports.Record, old *entry) (*entry, error) {
	e := &entry{rec: rec}
	in := core.Instance{Service: rec.Key.Service, ID: rec.Key.ID}
	if old != nil && bytes.Equal(old.rec.Body, rec.Body) {
		in, e.extra = *old.in, old.extra
		in.Suspect = false
	} else {
		extra, err := core.DecodeBody(rec.Body, &in)
		if err != nil {
			return nil, err
		}
		e.extra = extra
	}
	in.Namespace = r.opt.Defaults.Namespace
	in.State, in.Owner, in.Generation, in.Revision = rec.State, rec.Owner, rec.Generation, rec.Revision
	in.RegisteredAt, in.UpdatedAt = rec.RegisteredAt, rec.UpdatedAt
	e.in = &in
	return e, nil
}

// staleLocked reports whether news of a revision is older than what is known of the key.
func (r *Registry) staleLocked(key core.Key, rev core.Revision, e *entry) bool {
	if r.link.retired[rev.Epoch] {
		return true
	}
	if e != nil {
		known := e.rec.Revision
		if e.reset {
			known = core.Revision{}
		}
		if e.leaving != nil && !e.leaving.tomb.Revision.IsZero() {
			known = e.leaving.tomb.Revision
		}
		return !rev.After(known)
	}
	s := r.services[key.Service]
	if s == nil {
		return false
	}
	floor, ok := s.floors[key.ID]
	return ok && !rev.After(floor)
}

// mergeAnswerLocked takes in the record that a write of our own was answered with. Found says
// that it stood there already: before the first snapshot that is no news.
func (r *Registry) mergeAnswerLocked(rec ports.Record, found bool) {
	e := r.entryLocked(rec.Key)
	// The watch has shown everything up to its cursor: what it does not hold was deleted since.
	if cur := r.link.cursor; e == nil && rec.Revision.Epoch == cur.Epoch && rec.Revision.N <= cur.N {
		return
	}
	r.applyRecordLocked(rec, found && !r.link.synced)
	r.flushLocked()
}

// applyRecordLocked takes in a record. Quiet suppresses events: the first snapshot is no news.
func (r *Registry) applyRecordLocked(rec ports.Record, quiet bool) {
	old := r.entryLocked(rec.Key)
	if r.staleLocked(rec.Key, rec.Revision, old) {
		return
	}
	if h := r.held[rec.Key]; h != nil && rec.Generation.Compare(h.gen) < 0 {
		r.recoverLocked(h) // an older registration shows again: the store lost data, and ours replaces it
		return
	}
	e, err := r.decode(rec, old)
	if err != nil {
		r.skipLocked(rec.Key, err.Error())
		return
	}
	e.age(old)
	delete(r.skipped, rec.Key)
	r.insertLocked(e)
	if !quiet {
		r.publishChange(old, e)
	}
	r.holderSeesRecordLocked(e)
}

// insertLocked puts an entry into the view, in place of what stands there.
func (r *Registry) insertLocked(e *entry) {
	s, id := r.serviceLocked(e.rec.Key.Service), e.rec.Key.ID
	delete(s.floors, id)
	if i, known := slices.BinarySearch(s.ids, id); !known {
		s.ids = slices.Insert(s.ids, i, id)
	}
	s.entries[id] = e
	r.dirty[s.name] = s
}

func (r *Registry) skipLocked(key core.Key, reason string) {
	if _, known := r.skipped[key]; !known {
		r.log.Warn("a record cannot be read and is left out", slog.String("key", key.String()), slog.String("reason", reason))
	}
	r.skipped[key] = reason
}

// publishChange compares two states of one instance.
func (r *Registry) publishChange(old, e *entry) {
	ev := core.Event{
		Service: e.in.Service, ID: e.in.ID, NewStatus: e.in.Status(), Actor: "owner", Instance: handOut(e.in),
	}
	if old == nil || e.rec.Generation != old.rec.Generation {
		ev.Type, ev.Cause = core.EventRegistered, core.CauseRegistered
		if old != nil {
			ev.OldStatus = old.in.Status()
			if old.leaving == nil {
				ev.Cause = core.CauseTakeover
			}
		}
		r.publish(ev)
		return
	}
	if !e.in.SameDescription(*old.in) {
		up := ev
		up.Type, up.Cause, up.OldStatus = core.EventUpdated, core.CauseUpdated, old.in.Status()
		r.publish(up)
	}
	if old.in.Status() != e.in.Status() {
		ev.Type, ev.OldStatus = core.EventStatusChanged, old.in.Status()
		ev.Cause, ev.Actor, ev.Reason = changedBy(old.rec.State, e.rec.State, e.in.Check.Type)
		r.publish(ev)
	}
}

// changedBy says who changed a status, and why. The actor and the reason of a state are those of
// what was declared last: a check that changes what is observed leaves them.
func changedBy(was, now core.State, check core.CheckType) (cause core.Cause, actor, reason string) {
	switch {
	case was.Declared == now.Declared && !setByHand(was, now, check):
		return core.CauseCheck, health.ActorCheck, ""
	case now.Actor == health.ActorCheck:
		return core.CauseCheck, now.Actor, now.Reason
	case now.ByOperator || now.Actor != "owner":
		return core.CauseOperator, now.Actor, now.Reason
	}
	return core.CauseUpdated, now.Actor, now.Reason
}

// setByHand reports whether it was no check that changed what is observed. Who sets it says who he is,
// and begins the count anew, as else only the end of all checks does (see uncheck).
func setByHand(was, now core.State, check core.CheckType) bool {
	if was.Actor != now.Actor || was.Reason != now.Reason || was.ByOperator != now.ByOperator {
		return true
	}
	return now.Streak == 0 && (check != core.CheckNone || now.Observed != core.ObservedHealthy)
}

// holderSeesRecordLocked brings what this process holds in line with a record.
func (r *Registry) holderSeesRecordLocked(e *entry) {
	key := e.rec.Key
	own := r.sessions[e.rec.Session]
	h := r.held[key]
	switch {
	case h == nil:
		if own == nil || !r.recallLocked(e, own) {
			r.mayBeOrphanLocked(e)
		}
		return
	case e.rec.Generation.Compare(h.gen) > 0:
		r.supersededLocked(h, e)
		r.mayBeOrphanLocked(e) // by a registration from here whose caller has given up
		return
	case own == nil && r.writtenHere(h, e.rec):
		r.recoverLocked(h) // its session ended: the news of that is on its way, or was merged away
	case own == nil:
		r.log.Info("another host has adopted the instance", slog.String("key", key.String()))
		r.releaseLocked(h, "")
		return
	case own != h.session:
		h.session.records--
		own.records++
		h.session = own
	}
	if h.phase == holdRecovering && own != nil && !own.gone {
		h.phase = holdActive
	}
	r.noteHeldLocked(h, e.rec)
	r.opt.Track(handOut(e.in))
}

// writtenHere reports whether a record of the generation of a holding is this process's own,
// or of the run before it whose session it took over, rather than another host's adoption.
func (r *Registry) writtenHere(h *holding, rec ports.Record) bool {
	return rec.Owner == r.owner || rec.Session == h.session.id
}

func (r *Registry) supersededLocked(h *holding, e *entry) {
	r.log.Error("a newer registration has taken over the instance; this one ends",
		slog.String("key", h.key.String()), slog.String("generation", h.gen.String()),
		slog.String("superseded_by", e.rec.Generation.String()), slog.String("owner", e.rec.Owner))
	r.publish(core.Event{
		Type: core.EventLeaseSuperseded, Service: h.key.Service, ID: h.key.ID, Cause: core.CauseTakeover,
		NewStatus: e.in.Status(), OldStatus: e.in.Status(), Actor: "owner", Instance: handOut(e.in),
		Reason: "a newer registration of the same id owns the record",
	})
	r.releaseLocked(h, core.HeartbeatSuperseded)
}

// applyDeleteLocked takes in the news that a record is gone.
func (r *Registry) applyDeleteLocked(t ports.Tombstone) {
	delete(r.skipped, t.Key)
	old := r.entryLocked(t.Key)
	if r.staleLocked(t.Key, t.Revision, old) {
		return
	}
	if old == nil || t.Revision.N > r.link.cursor.N {
		r.serviceLocked(t.Key.Service).floors[t.Key.ID] = t.Revision
	}
	if old == nil || old.rec.Generation.Compare(t.Generation) > 0 && !t.Generation.IsZero() {
		return
	}
	if h := r.held[t.Key]; h != nil && h.gen == old.rec.Generation {
		if endOfSession(t) && h.phase != holdExpiring {
			r.recoverLocked(h) // our session ended in the store: the instance lives, so assert it again
			return
		}
		r.releaseLocked(h, stateAfter(t, h.gen))
	}
	if t.Cause.Expires() {
		r.expireLocked(old, t)
		return
	}
	r.removeLocked(old, t)
}

// endOfSession reports whether it was the store that removed a record. An expiry with an actor is
// the end of a ttl, and may be this host's own Delete, whose answer was lost.
func endOfSession(t ports.Tombstone) bool { return t.Cause.Expires() && t.Actor == "" }

// stateAfter is what heartbeats of a generation answer when its key was removed.
func stateAfter(t ports.Tombstone, gen core.Generation) core.HeartbeatState {
	if t.Generation.Compare(gen) > 0 {
		return core.HeartbeatSuperseded
	}
	switch t.Cause {
	case core.CauseExpired, core.CauseCritical, core.CauseUnknown:
		return core.HeartbeatExpired
	default:
		return core.HeartbeatDeregistered
	}
}

// removeLocked takes an entry out of the view and tells people.
func (r *Registry) removeLocked(e *entry, t ports.Tombstone) {
	s := r.serviceLocked(e.rec.Key.Service)
	if i, known := slices.BinarySearch(s.ids, e.rec.Key.ID); known {
		s.ids = slices.Delete(s.ids, i, i+1)
	}
	delete(s.entries, e.rec.Key.ID)
	r.dirty[s.name] = s
	ev := core.Event{
		Type: core.EventDeregistered, Service: e.in.Service, ID: e.in.ID, OldStatus: e.in.Status(),
		Cause: t.Cause, Actor: t.Actor, Reason: t.Reason, Instance: handOut(e.in),
	}
	if t.Cause.Expires() {
		ev.Type = core.EventExpired
	}
	if ev.Actor == "" {
		ev.Actor = "store"
	}
	r.publish(ev)
}

// publish keeps an event until the view shows what it tells of: whoever hears of an instance
// finds it there. Every section that publishes ends with flushLocked.
func (r *Registry) publish(e core.Event) { r.news = append(r.news, e) }

// flushLocked puts new snapshots of the services that changed into the view, and then tells people.
func (r *Registry) flushLocked() {
	if len(r.dirty) > 0 {
		snaps := make([]*Snapshot, 0, len(r.dirty))
		for name, s := range r.dirty {
			snaps = append(snaps, s.snapshot())
			if s.empty() {
				delete(r.services, name)
			}
		}
		clear(r.dirty)
		r.view.publish(snaps)
	}
	for _, e := range r.news {
		r.opt.Publish(e)
	}
	clear(r.news)
	r.news = r.news[:0]
}

// empty reports whether there is nothing to remember of a service.
func (s *service) empty() bool {
	return len(s.entries) == 0 && len(s.floors) == 0 && len(s.expiries) == 0
}

func (s *service) snapshot() *Snapshot {
	snap := &Snapshot{service: s.name, instances: make([]*core.Instance, len(s.ids))}
	for i, id := range s.ids {
		snap.instances[i] = s.entries[id].in
	}
	return snap
}
