package conformance

// model.go: the reference model: what one key holds, and what a mutation makes of it. It is
// written from the comments of package ports, not from a backend.

import (
	"fmt"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// place is what a key holds: a record, else a tombstone, else neither. It is not changed in
// place.
type place struct {
	record    *ports.Record
	tombstone *ports.Tombstone
}

// foresee tells what a mutation leaves and which sentinel it answers with (nil: it is done),
// given whether its session is open. What is stored anew has no revision yet; next is p
// itself where nothing changes.
func (p place) foresee(m ports.Mutation, open bool) (next place, refusal error) {
	switch {
	case m.Put != nil:
		return p.foreseePut(*m.Put, open)
	case m.SetState != nil:
		c := m.SetState
		if refusal := p.permits(c.Generation, c.Session, c.IfRevision); refusal != nil {
			return p, refusal
		}
		rec := *p.record
		rec.State = c.Apply(rec.State)
		return place{record: &rec}, nil
	default:
		d := m.Delete
		if refusal := p.permits(d.Generation, d.Session, d.IfRevision); refusal != nil {
			return p, refusal
		}
		return place{tombstone: &ports.Tombstone{
			Key: d.Key, Generation: d.Generation, Session: p.record.Session, Cause: d.Cause, Actor: d.Actor, Reason: d.Reason,
		}}, nil
	}
}

func (p place) foreseePut(put ports.Put, open bool) (next place, refusal error) {
	rec := put.Record
	own := put.Replaces == rec.Generation
	switch {
	case !open:
		return p, ports.ErrSessionGone
	case p.record == nil && (!put.Replaces.IsZero() || !put.IfRevision.IsZero() || !ports.MayCreate(rec.Generation, p.tombstone)):
		return p, ports.ErrConflict
	case p.record != nil && !own && p.record.Generation == rec.Generation && p.record.Session == rec.Session:
		return p, nil // the retry of a Put that was carried out
	case p.record != nil && (p.record.Generation != put.Replaces || !put.IfRevision.IsZero() && put.IfRevision != p.record.Revision):
		return p, ports.ErrConflict
	}
	rec.State = ports.StateAfterPut(put, p.record)
	return place{record: &rec}, nil
}

// permits checks the preconditions that SetState and Delete share.
func (p place) permits(gen core.Generation, session ports.SessionID, at core.Revision) error {
	switch {
	case p.record == nil:
		return ports.ErrNotFound
	case p.record.Generation != gen, session != "" && session != p.record.Session, !at.IsZero() && at != p.record.Revision:
		return ports.ErrConflict
	}
	return nil
}

// ended is what the end of the record's session leaves.
func (p place) ended(cause core.Cause) place {
	return place{tombstone: &ports.Tombstone{Key: p.record.Key, Generation: p.record.Generation, Session: p.record.Session, Cause: cause}}
}

// revision is that of what the key holds, zero for nothing.
func (p place) revision() core.Revision {
	switch {
	case p.record != nil:
		return p.record.Revision
	case p.tombstone != nil:
		return p.tombstone.Revision
	}
	return core.Revision{}
}

// settled is what a change left, once an answer has told its revision.
func (p place) settled(r core.Revision) place {
	if p.record != nil {
		return place{record: asStored(*p.record, r)}
	}
	tomb := *p.tombstone
	tomb.Revision = r
	return place{tombstone: &tomb}
}

// differs says how an answer of Get differs from what the key holds; "" when it does not.
func (p place) differs(f ports.Found) string {
	switch {
	case (p.record == nil) != (f.Record == nil), (p.tombstone == nil) != (f.Tombstone == nil):
		return "it is another kind of answer"
	case p.record != nil:
		return difference(f.Record, p.record)
	case p.tombstone != nil && *p.tombstone != *f.Tombstone:
		return "the tombstones differ"
	}
	return ""
}

func (p place) String() string { return fmt.Sprintf("{%s}", showEither(p.record, p.tombstone)) }
