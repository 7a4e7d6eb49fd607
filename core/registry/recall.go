package registry

// recall.go: a process that starts with a journal goes on where the one before it stopped. It
// renews the recorded sessions by id and holds again what is still under them, as it
// was recorded; other records under them were never acknowledged, and go as orphans (but for
// adoptions, see hold.go). What is absent was removed in the meantime, unless the store lost its data: then it is asserted again.

import (
	"context"
	"log/slog"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// recalled is what is not settled yet of what an earlier process left; guarded by the
// registry's lock, and nil once the first snapshot has been seen.
type recalled struct {
	epoch     string
	down      time.Duration                // between the two processes
	sessions  map[ports.SessionID]*session // also those that turn out to be gone
	instances map[core.Key]ports.NotedInstance
}

// noJournal forgets everything.
type noJournal struct{}

func (noJournal) Recall() ports.Recalled { return ports.Recalled{} }
func (noJournal) Note(...ports.Note)     {}
func (noJournal) Sync(context.Context)   {}

// recall takes over what the journal holds. It is called before the loops begin: the first
// thing that they do with the sessions is to renew them.
func (r *Registry) recall() {
	left := r.opt.Journal.Recall()
	if len(left.Sessions) == 0 && len(left.Instances) == 0 {
		return
	}
	p := &recalled{
		epoch: left.Epoch, down: time.Since(left.Alive),
		sessions: map[ports.SessionID]*session{}, instances: map[core.Key]ports.NotedInstance{},
	}
	opened := make(chan struct{})
	close(opened)
	now := time.Now()
	for _, noted := range left.Sessions {
		s := &session{id: noted.ID, class: noted.Class, granted: noted.TTL, renewAt: now, ready: opened, recalled: true}
		p.sessions[s.id], r.sessions[s.id] = s, s
	}
	for _, noted := range left.Instances {
		p.instances[noted.Record.Key] = noted
	}
	r.recalled = p
	r.log.Info("going on with what an earlier run of this host held",
		slog.Int("sessions", len(p.sessions)), slog.Int("instances", len(p.instances)))
}

// recallLocked holds an instance again whose record, under a session of ours, is the one that
// the journal tells of; false when it is not.
func (r *Registry) recallLocked(e *entry, own *session) bool {
	if r.recalled == nil {
		return false
	}
	noted, ok := r.recalled.instances[e.rec.Key]
	if !ok || noted.Record.Generation != e.rec.Generation {
		return false
	}
	delete(r.recalled.instances, e.rec.Key)
	r.holdRecalledLocked(e, own, noted.Own)
	return true
}

// holdRecalledLocked keeps an instance alive as before. What the earlier process registered
// for itself waits for its successor to do the same.
func (r *Registry) holdRecalledLocked(e *entry, s *session, own bool) {
	s.records++
	r.holdLocked(e, s, nil)
	if own {
		h := r.held[e.rec.Key]
		h.unclaimed = true
		r.noteHeldLocked(h, e.rec)
		r.lookForOrphanLocked(e.rec.Key, r.opt.SessionTTL)
	}
}

// settleRecalledLocked ends the recalling with the first snapshot. What it did not show is
// forgotten, or asserted again when the store is another than before.
func (r *Registry) settleRecalledLocked(cursor core.Revision) {
	p := r.recalled
	if p == nil {
		return
	}
	r.recalled = nil
	lostData := p.epoch != "" && p.epoch != cursor.Epoch
	if lostData {
		r.link.retired[p.epoch] = true
	}
	forgotten, asserted := 0, 0
	for key, noted := range p.instances {
		if lostData && r.assertRecalledLocked(p, noted) {
			asserted++
			continue
		}
		if r.held[key] != nil {
			continue // it was registered anew before the snapshot, and noted as such
		}
		forgotten++
		r.opt.Journal.Note(ports.Note{Released: key})
	}
	now := time.Now()
	for _, s := range p.sessions {
		s.recalled = false
		s.idle = now
	}
	r.log.Info("what an earlier run of this host held is settled", slog.Int("held", len(r.held)-asserted),
		slog.Int("registered_again", asserted), slog.Int("gone", forgotten))
}

// assertRecalledLocked has an instance that the store lost registered again, unless the store
// would have ended its session by now, or shows a newer registration or another holder.
func (r *Registry) assertRecalledLocked(p *recalled, noted ports.NotedInstance) bool {
	s := p.sessions[noted.Record.Session]
	if s == nil || p.down > s.granted {
		return false
	}
	key, gen := noted.Record.Key, noted.Record.Generation
	old := r.entryLocked(key)
	if old != nil && (old.rec.Generation.Compare(gen) > 0 || old.rec.Generation == gen && p.sessions[old.rec.Session] == nil) {
		return false
	}
	e, err := r.decode(noted.Record, nil)
	if err != nil {
		return false
	}
	r.insertLocked(e)
	r.holdRecalledLocked(e, s, noted.Own)
	r.recoverLocked(r.held[key])
	return true
}

// noteHeldLocked writes down what is held, as its record is now.
func (r *Registry) noteHeldLocked(h *holding, rec ports.Record) {
	r.opt.Journal.Note(ports.Note{Held: &ports.NotedInstance{Record: rec, Own: h.own != nil || h.unclaimed}})
}
