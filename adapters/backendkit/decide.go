package backendkit

// decide.go: the contract's rules for one mutation, as a pure function. Everything that a
// store has to add is that nobody wrote in between.

import (
	"fmt"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Decision is what a mutation comes to. Either Answer is set, and nothing is written; or one
// of Put and Delete is, to be written where the key is still as it was.
type Decision struct {
	Answer *ports.MutationResult
	// Put is the record to store, its Revision not set yet. Its Body is the mutation's or the
	// stored one, not a copy.
	Put *ports.Record
	// Rewrite says that Put replaces a record of its own generation: fields of the stored form
	// that this version does not know are kept.
	Rewrite bool
	// Delete is the tombstone to leave in the place of the record, its Revision not set yet.
	Delete *ports.Tombstone
}

// Decide says what one mutation comes to where found stands at its key, a record, a tombstone
// or neither. sessionOpen is whether the session of a Put is open, and of no matter otherwise.
// A mutation that can never succeed is answered with the error of CheckMutation. What is
// found is never changed.
func Decide(m ports.Mutation, found ports.Found, sessionOpen bool) Decision {
	if err := CheckMutation(m); err != nil {
		return answer(ports.MutationResult{Err: err})
	}
	return decide(m, found, sessionOpen)
}

// decide is Decide for a mutation that was checked.
func decide(m ports.Mutation, found ports.Found, sessionOpen bool) Decision {
	switch {
	case m.Put != nil:
		return decidePut(*m.Put, found, sessionOpen)
	case m.SetState != nil:
		return decideSetState(*m.SetState, found)
	default:
		return decideDelete(*m.Delete, found)
	}
}

func answer(r ports.MutationResult) Decision { return Decision{Answer: &r} }

func decidePut(p ports.Put, found ports.Found, sessionOpen bool) Decision {
	rec, stored, tomb := p.Record, found.Record, found.Tombstone
	if !sessionOpen {
		return answer(ports.MutationResult{Err: fmt.Errorf("put %s: session %s is not open: %w", rec.Key, rec.Session, ports.ErrSessionGone)})
	}
	switch {
	case stored != nil && p.Replaces != rec.Generation && stored.Generation == rec.Generation && stored.Session == rec.Session:
		// A retry of a Put that was carried out. Before IfRevision, which that Put has outdated.
		return answer(ports.MutationResult{Record: stored})
	case stored == nil && !p.Replaces.IsZero():
		return conflict("put", rec.Key, found, fmt.Sprintf("nothing is stored, generation %s was to be replaced", p.Replaces))
	case stored == nil && !p.IfRevision.IsZero():
		return conflict("put", rec.Key, found, fmt.Sprintf("nothing is stored, revision %s was expected", p.IfRevision))
	case stored != nil && stored.Generation != p.Replaces:
		return conflict("put", rec.Key, found, fmt.Sprintf("it holds generation %s, not %q", stored.Generation, p.Replaces))
	case stored != nil && !p.IfRevision.IsZero() && stored.Revision != p.IfRevision:
		return conflict("put", rec.Key, found, fmt.Sprintf("revision %s is not %s", stored.Revision, p.IfRevision))
	case stored == nil && !ports.MayCreate(rec.Generation, tomb):
		return conflict("put", rec.Key, found, fmt.Sprintf("generation %s was deleted, cause %q, and %s is not above it", tomb.Generation, tomb.Cause, rec.Generation))
	}
	rec.State = ports.StateAfterPut(p, stored)
	return Decision{Put: &rec, Rewrite: stored != nil && stored.Generation == rec.Generation}
}

func decideSetState(s ports.SetState, found ports.Found) Decision {
	if refused := refuse("set the state of", s.Key, found, s.Generation, s.Session, s.IfRevision); refused != nil {
		return *refused
	}
	rec := *found.Record
	rec.State = s.Apply(rec.State)
	return Decision{Put: &rec, Rewrite: true}
}

func decideDelete(d ports.Delete, found ports.Found) Decision {
	if refused := refuse("delete", d.Key, found, d.Generation, d.Session, d.IfRevision); refused != nil {
		return *refused
	}
	return Decision{Delete: &ports.Tombstone{
		Key: d.Key, Generation: found.Record.Generation, Session: found.Record.Session,
		Cause: d.Cause, Actor: d.Actor, Reason: d.Reason,
	}}
}

// refuse checks the preconditions that SetState and Delete share; nil when they hold.
func refuse(verb string, key core.Key, found ports.Found, gen core.Generation, under ports.SessionID, at core.Revision) *Decision {
	stored := found.Record
	var d Decision
	switch {
	case stored == nil:
		d = answer(ports.MutationResult{Tombstone: found.Tombstone, Err: fmt.Errorf("%s %s: nothing is stored: %w", verb, key, ports.ErrNotFound)})
	case stored.Generation != gen:
		d = conflict(verb, key, found, fmt.Sprintf("it holds generation %s, not %s", stored.Generation, gen))
	case under != "" && stored.Session != under:
		d = conflict(verb, key, found, fmt.Sprintf("it is under session %s, not %s", stored.Session, under))
	case !at.IsZero() && stored.Revision != at:
		d = conflict(verb, key, found, fmt.Sprintf("revision %s is not %s", stored.Revision, at))
	default:
		return nil
	}
	return &d
}

// conflict is the refusal that carries what stands in the way.
func conflict(verb string, key core.Key, found ports.Found, why string) Decision {
	return answer(ports.MutationResult{
		Record: found.Record, Tombstone: found.Tombstone, Err: fmt.Errorf("%s %s: %s: %w", verb, key, why, ports.ErrConflict),
	})
}
