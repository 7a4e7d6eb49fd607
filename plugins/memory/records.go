package memory

// records.go: compare-and-set on generations, tombstones, and reads. The order of the
// checks in put is the contract's, and worth copying.

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Apply implements ports.Records.
func (b *Backend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if err := checkBatch("mutations", len(muts)); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	size := 0
	for _, m := range muts {
		if m.Put != nil {
			size += len(m.Put.Record.Body)
		}
	}
	if size > ports.MaxBatchBytes {
		return nil, fmt.Errorf("apply: %w", core.TooLarge("mutations", fmt.Sprintf("%d bytes of bodies", size),
			fmt.Sprintf("send at most %d bytes in one call", ports.MaxBatchBytes)))
	}
	if err := b.enter(ctx); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	defer b.leave()
	results := make([]ports.MutationResult, len(muts))
	for i, m := range muts {
		results[i] = b.applyLocked(m)
	}
	return results, nil
}

// Get implements ports.Records. Under the one lock, every read is linearizable.
func (b *Backend) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if err := checkBatch("keys", len(keys)); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	if err := b.enter(ctx); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	defer b.leave()
	found := make([]ports.Found, len(keys))
	for i, key := range keys {
		if stored := b.storedLocked(key); stored != nil {
			found[i].Record = handOut(stored)
		} else {
			found[i].Tombstone = b.tombstoneLocked(key)
		}
	}
	return found, nil
}

func (b *Backend) applyLocked(m ports.Mutation) ports.MutationResult {
	if err := checkMutation(m); err != nil {
		return ports.MutationResult{Err: err}
	}
	switch {
	case m.Put != nil:
		return b.putLocked(*m.Put)
	case m.SetState != nil:
		return b.setStateLocked(*m.SetState)
	default:
		return b.deleteLocked(*m.Delete)
	}
}

func (b *Backend) putLocked(p ports.Put) ports.MutationResult {
	rec := p.Record
	holder, open := b.sessions[rec.Session]
	if !open {
		return ports.MutationResult{Err: fmt.Errorf("put %s: session %s is not open: %w", rec.Key, rec.Session, ports.ErrSessionGone)}
	}
	stored := b.storedLocked(rec.Key)
	switch {
	case stored != nil && p.Replaces != rec.Generation && stored.Generation == rec.Generation && stored.Session == rec.Session:
		// A retry of a Put that was carried out. Before IfRevision, which that Put has outdated.
		return ports.MutationResult{Record: handOut(stored)}
	case stored == nil && !p.Replaces.IsZero():
		return b.conflictLocked("put", rec.Key, fmt.Sprintf("nothing is stored, generation %s was to be replaced", p.Replaces))
	case stored == nil && !p.IfRevision.IsZero():
		return b.conflictLocked("put", rec.Key, fmt.Sprintf("nothing is stored, revision %s was expected", p.IfRevision))
	case stored != nil && stored.Generation != p.Replaces:
		return b.conflictLocked("put", rec.Key, fmt.Sprintf("it holds generation %s, not %q", stored.Generation, p.Replaces))
	case stored != nil && !p.IfRevision.IsZero() && stored.Revision != p.IfRevision:
		return b.conflictLocked("put", rec.Key, fmt.Sprintf("revision %s is not %s", stored.Revision, p.IfRevision))
	}
	if tomb := b.tombstoneLocked(rec.Key); stored == nil && !ports.MayCreate(rec.Generation, tomb) {
		return b.conflictLocked("put", rec.Key, fmt.Sprintf("generation %s was deleted, cause %q, and %s is not above it", tomb.Generation, tomb.Cause, rec.Generation))
	}
	rec.State = ports.StateAfterPut(p, stored)
	rec.Body = bytes.Clone(rec.Body) // nothing of the caller's is kept
	if stored != nil {
		delete(b.sessions[stored.Session].keys, rec.Key) // of another session, in an adoption or a take-over
	}
	holder.keys[rec.Key] = struct{}{}
	return ports.MutationResult{Record: handOut(b.storeLocked(rec))}
}

func (b *Backend) setStateLocked(s ports.SetState) ports.MutationResult {
	stored, refused := b.guardedLocked("set the state of", s.Key, s.Generation, s.Session, s.IfRevision)
	if refused != nil {
		return *refused
	}
	rec := *stored
	rec.State = s.Apply(stored.State)
	return ports.MutationResult{Record: handOut(b.storeLocked(rec))}
}

func (b *Backend) deleteLocked(d ports.Delete) ports.MutationResult {
	stored, refused := b.guardedLocked("delete", d.Key, d.Generation, d.Session, d.IfRevision)
	if refused != nil {
		return *refused
	}
	return ports.MutationResult{Record: handOut(b.removeLocked(stored, d.Cause, d.Actor, d.Reason, time.Now()))}
}

// guardedLocked returns what is stored, or the refusal, for the preconditions that SetState
// and Delete share.
func (b *Backend) guardedLocked(verb string, key core.Key, gen core.Generation, under ports.SessionID, at core.Revision) (*ports.Record, *ports.MutationResult) {
	stored := b.storedLocked(key)
	var conflict string
	switch {
	case stored == nil:
		return nil, &ports.MutationResult{
			Tombstone: b.tombstoneLocked(key),
			Err:       fmt.Errorf("%s %s: nothing is stored: %w", verb, key, ports.ErrNotFound),
		}
	case stored.Generation != gen:
		conflict = fmt.Sprintf("it holds generation %s, not %s", stored.Generation, gen)
	case under != "" && stored.Session != under:
		conflict = fmt.Sprintf("it is under session %s, not %s", stored.Session, under)
	case !at.IsZero() && stored.Revision != at:
		conflict = fmt.Sprintf("revision %s is not %s", stored.Revision, at)
	default:
		return stored, nil
	}
	refusal := b.conflictLocked(verb, key, conflict)
	return nil, &refusal
}

// conflictLocked is the refusal that carries what stands in the way.
func (b *Backend) conflictLocked(verb string, key core.Key, why string) ports.MutationResult {
	res := ports.MutationResult{Err: fmt.Errorf("%s %s: %s: %w", verb, key, why, ports.ErrConflict)}
	if stored := b.storedLocked(key); stored != nil {
		res.Record = handOut(stored)
	} else {
		res.Tombstone = b.tombstoneLocked(key)
	}
	return res
}

// storeLocked writes a record at a new revision and returns what is stored.
func (b *Backend) storeLocked(rec ports.Record) *ports.Record {
	rec.Revision = b.nextRevisionLocked()
	byID := b.services[rec.Key.Service]
	if byID == nil {
		byID = make(map[string]*ports.Record)
		b.services[rec.Key.Service] = byID
	}
	byID[rec.Key.ID] = &rec
	b.history.add(change{record: &rec})
	return &rec
}

// removeLocked removes a stored record, leaves its tombstone, and returns the record at the
// revision of its removal.
func (b *Backend) removeLocked(stored *ports.Record, cause core.Cause, actor, reason string, now time.Time) *ports.Record {
	rec := *stored
	rec.Revision = b.nextRevisionLocked()
	byID := b.services[rec.Key.Service]
	delete(byID, rec.Key.ID)
	if len(byID) == 0 {
		delete(b.services, rec.Key.Service)
	}
	delete(b.sessions[rec.Session].keys, rec.Key)
	tomb := ports.Tombstone{
		Key: rec.Key, Generation: rec.Generation, Session: rec.Session,
		Cause: cause, Actor: actor, Reason: reason, Revision: rec.Revision,
	}
	b.tombs.set(rec.Key, tomb, now)
	b.history.add(change{tombstone: &tomb})
	return &rec
}

// storedLocked is nil when there is nothing.
func (b *Backend) storedLocked(key core.Key) *ports.Record { return b.services[key.Service][key.ID] }

// tombstoneLocked is nil when there is none.
func (b *Backend) tombstoneLocked(key core.Key) *ports.Tombstone {
	if tomb, ok := b.tombs.get(key); ok {
		return &tomb
	}
	return nil
}

// handOut copies a record for a caller, who may do with it as he likes.
func handOut(stored *ports.Record) *ports.Record {
	rec := *stored
	rec.Body = bytes.Clone(rec.Body)
	return &rec
}

// checkBatch refuses a call of too many items before anything is done.
func checkBatch(field string, n int) error {
	if n > ports.MaxBatch {
		return core.Invalid(field, fmt.Sprintf("%d of them", n), fmt.Sprintf("send at most %d in one call", ports.MaxBatch))
	}
	return nil
}

// checkMutation refuses one item that can never succeed.
func checkMutation(m ports.Mutation) error {
	set := 0
	for _, is := range []bool{m.Put != nil, m.SetState != nil, m.Delete != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return core.Invalid("mutation", fmt.Sprintf("%d of Put, SetState and Delete", set), "set exactly one")
	}
	if err := m.Key().Validate(); err != nil {
		return err
	}
	if m.Put == nil {
		return nil
	}
	switch rec := m.Put.Record; {
	case rec.Generation.IsZero():
		return &core.FieldError{Field: "generation", Allowed: "it is empty; choose one with Generation.Next"}
	case len(rec.Body) > ports.MaxBodyBytes:
		return core.TooLarge("body", fmt.Sprintf("%d bytes", len(rec.Body)), fmt.Sprintf("use at most %d", ports.MaxBodyBytes))
	}
	return nil
}
