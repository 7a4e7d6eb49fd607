package memory

// records.go: writes, tombstones, and reads. What a write comes to is decided by
// backendkit.Decide, by the contract's rules; the lock makes the decision and the write one.

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Apply implements ports.Records.
func (b *Backend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if err := backendkit.CheckMutations(muts); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
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
	if err := backendkit.CheckBatch("keys", len(keys)); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	if err := b.enter(ctx); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	defer b.leave()
	found := make([]ports.Found, len(keys))
	for i, key := range keys {
		found[i] = b.foundLocked(key)
		if found[i].Record != nil {
			found[i].Record = handOut(found[i].Record)
		}
	}
	return found, nil
}

// applyLocked does what the contract's rules, which all backends share, decide.
func (b *Backend) applyLocked(m ports.Mutation) ports.MutationResult {
	found, open := b.foundLocked(m.Key()), false
	stored := found.Record
	if m.Put != nil {
		_, open = b.sessions[m.Put.Record.Session]
	}
	d := backendkit.Decide(m, found, open)
	switch {
	case d.Answer != nil:
		res := *d.Answer
		if res.Record != nil {
			res.Record = handOut(res.Record)
		}
		return res
	case d.Delete != nil:
		return ports.MutationResult{Record: handOut(b.removeLocked(stored, d.Delete.Cause, d.Delete.Actor, d.Delete.Reason, time.Now()))}
	}
	rec := *d.Put
	if m.Put != nil {
		rec.Body = bytes.Clone(rec.Body) // nothing of the caller's is kept
	}
	if stored != nil {
		delete(b.sessions[stored.Session].keys, rec.Key) // of another session, in an adoption or a take-over
	}
	b.sessions[rec.Session].keys[rec.Key] = struct{}{}
	return ports.MutationResult{Record: handOut(b.storeLocked(rec))}
}

// foundLocked is what stands at a key.
func (b *Backend) foundLocked(key core.Key) ports.Found {
	if stored := b.storedLocked(key); stored != nil {
		return ports.Found{Record: stored}
	}
	return ports.Found{Tombstone: b.tombstoneLocked(key)}
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
