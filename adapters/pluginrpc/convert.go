package pluginrpc

// convert.go: records and what holds them, between the port and the wire. Names follow the
// direction: …ToWire and …FromWire. Bodies are not copied.

import (
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// each converts a slice.
func each[A, B any](in []A, convert func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = convert(v)
	}
	return out
}

// pointer converts what may be missing.
func pointer[A, B any](in *A, convert func(A) *B) *B {
	if in == nil {
		return nil
	}
	return convert(*in)
}

func timeToWire(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromWire(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func durationToWire(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func keyToWire(k core.Key) *backendv1.Key {
	return &backendv1.Key{Service: text(k.Service), Id: text(k.ID)}
}

func keyFromWire(k *backendv1.Key) core.Key {
	return core.Key{Service: k.GetService(), ID: k.GetId()}
}

func generationToWire(g core.Generation) *backendv1.Generation {
	if g.IsZero() {
		return nil
	}
	return &backendv1.Generation{N: g.N, Random: text(g.Random)}
}

func generationFromWire(g *backendv1.Generation) core.Generation {
	return core.Generation{N: g.GetN(), Random: g.GetRandom()}
}

func revisionToWire(r core.Revision) *backendv1.Revision {
	if r.IsZero() {
		return nil
	}
	return &backendv1.Revision{Epoch: text(r.Epoch), N: r.N}
}

func revisionFromWire(r *backendv1.Revision) core.Revision {
	return core.Revision{Epoch: r.GetEpoch(), N: r.GetN()}
}

func stateToWire(s core.State) *backendv1.State {
	return &backendv1.State{
		Declared: text(string(s.Declared)), Observed: text(string(s.Observed)), ByOperator: s.ByOperator,
		Actor: text(s.Actor), Reason: text(s.Reason), Streak: int64(s.Streak), ChangedAt: timeToWire(s.ChangedAt),
	}
}

func stateFromWire(s *backendv1.State) core.State {
	return core.State{
		Declared: core.Declared(s.GetDeclared()), Observed: core.Observed(s.GetObserved()), ByOperator: s.GetByOperator(),
		Actor: s.GetActor(), Reason: s.GetReason(), Streak: int(s.GetStreak()), ChangedAt: timeFromWire(s.GetChangedAt()),
	}
}

func recordToWire(r ports.Record) *backendv1.Record {
	return &backendv1.Record{
		Key: keyToWire(r.Key), Generation: generationToWire(r.Generation), Session: text(string(r.Session)),
		Owner: text(r.Owner), LeaseHash: text(r.LeaseHash), State: stateToWire(r.State), Body: r.Body,
		RegisteredAt: timeToWire(r.RegisteredAt), UpdatedAt: timeToWire(r.UpdatedAt), Revision: revisionToWire(r.Revision),
	}
}

func recordFromWire(r *backendv1.Record) ports.Record {
	return ports.Record{
		Key: keyFromWire(r.GetKey()), Generation: generationFromWire(r.GetGeneration()), Session: ports.SessionID(r.GetSession()),
		Owner: r.GetOwner(), LeaseHash: r.GetLeaseHash(), State: stateFromWire(r.GetState()), Body: r.GetBody(),
		RegisteredAt: timeFromWire(r.GetRegisteredAt()), UpdatedAt: timeFromWire(r.GetUpdatedAt()),
		Revision: revisionFromWire(r.GetRevision()),
	}
}

func recordPointer(r *backendv1.Record) *ports.Record {
	if r == nil {
		return nil
	}
	return new(recordFromWire(r))
}

func tombstoneToWire(t ports.Tombstone) *backendv1.Tombstone {
	return &backendv1.Tombstone{
		Key: keyToWire(t.Key), Generation: generationToWire(t.Generation), Session: text(string(t.Session)),
		Cause: text(string(t.Cause)), Actor: text(t.Actor), Reason: text(t.Reason), Revision: revisionToWire(t.Revision),
	}
}

func tombstonePointer(t *backendv1.Tombstone) *ports.Tombstone {
	if t == nil {
		return nil
	}
	return &ports.Tombstone{
		Key: keyFromWire(t.GetKey()), Generation: generationFromWire(t.GetGeneration()), Session: ports.SessionID(t.GetSession()),
		Cause: core.Cause(t.GetCause()), Actor: t.GetActor(), Reason: t.GetReason(), Revision: revisionFromWire(t.GetRevision()),
	}
}

// mutationToWire leaves change unset when not exactly one is given; the server refuses that.
func mutationToWire(m ports.Mutation) *backendv1.Mutation {
	switch {
	case m.Put != nil && m.SetState == nil && m.Delete == nil:
		p := m.Put
		return &backendv1.Mutation{Change: &backendv1.Mutation_Put{Put: &backendv1.Put{
			Record: recordToWire(p.Record), Replaces: generationToWire(p.Replaces), IfRevision: revisionToWire(p.IfRevision),
		}}}
	case m.SetState != nil && m.Put == nil && m.Delete == nil:
		s := m.SetState
		w := &backendv1.SetState{
			Key: keyToWire(s.Key), Generation: generationToWire(s.Generation), Session: text(string(s.Session)),
			At: timeToWire(s.At), IfRevision: revisionToWire(s.IfRevision),
		}
		if d := s.Declared; d != nil {
			w.Declared = &backendv1.DeclaredState{
				Declared: text(string(d.Declared)), ByOperator: d.ByOperator, Actor: text(d.Actor), Reason: text(d.Reason),
			}
		}
		if o := s.Observed; o != nil {
			w.Observed = &backendv1.ObservedState{Observed: text(string(o.Observed)), Streak: int64(o.Streak)}
		}
		return &backendv1.Mutation{Change: &backendv1.Mutation_SetState{SetState: w}}
	case m.Delete != nil && m.Put == nil && m.SetState == nil:
		d := m.Delete
		return &backendv1.Mutation{Change: &backendv1.Mutation_Delete{Delete: &backendv1.Delete{
			Key: keyToWire(d.Key), Generation: generationToWire(d.Generation), Session: text(string(d.Session)),
			Cause: text(string(d.Cause)), Actor: text(d.Actor), Reason: text(d.Reason), IfRevision: revisionToWire(d.IfRevision),
		}}}
	}
	return &backendv1.Mutation{}
}

func mutationFromWire(m *backendv1.Mutation) ports.Mutation {
	switch c := m.GetChange().(type) {
	case *backendv1.Mutation_Put:
		return ports.Mutation{Put: &ports.Put{
			Record: recordFromWire(c.Put.GetRecord()), Replaces: generationFromWire(c.Put.GetReplaces()),
			IfRevision: revisionFromWire(c.Put.GetIfRevision()),
		}}
	case *backendv1.Mutation_SetState:
		s := c.SetState
		out := &ports.SetState{
			Key: keyFromWire(s.GetKey()), Generation: generationFromWire(s.GetGeneration()), Session: ports.SessionID(s.GetSession()),
			At: timeFromWire(s.GetAt()), IfRevision: revisionFromWire(s.GetIfRevision()),
		}
		if d := s.GetDeclared(); d != nil {
			out.Declared = &ports.DeclaredState{
				Declared: core.Declared(d.GetDeclared()), ByOperator: d.GetByOperator(), Actor: d.GetActor(), Reason: d.GetReason(),
			}
		}
		if o := s.GetObserved(); o != nil {
			out.Observed = &ports.ObservedState{Observed: core.Observed(o.GetObserved()), Streak: int(o.GetStreak())}
		}
		return ports.Mutation{SetState: out}
	case *backendv1.Mutation_Delete:
		d := c.Delete
		return ports.Mutation{Delete: &ports.Delete{
			Key: keyFromWire(d.GetKey()), Generation: generationFromWire(d.GetGeneration()), Session: ports.SessionID(d.GetSession()),
			Cause: core.Cause(d.GetCause()), Actor: d.GetActor(), Reason: d.GetReason(), IfRevision: revisionFromWire(d.GetIfRevision()),
		}}
	}
	return ports.Mutation{}
}

func resultToWire(r ports.MutationResult) *backendv1.MutationResult {
	return &backendv1.MutationResult{
		Record: pointer(r.Record, recordToWire), Tombstone: pointer(r.Tombstone, tombstoneToWire), Error: toStatus(r.Err),
	}
}

func resultFromWire(r *backendv1.MutationResult) ports.MutationResult {
	out := ports.MutationResult{Record: recordPointer(r.GetRecord()), Tombstone: tombstonePointer(r.GetTombstone())}
	if st := r.GetError(); st != nil {
		out.Err = fromStatus(status.FromProto(st))
	}
	return out
}

func foundToWire(f ports.Found) *backendv1.Found {
	return &backendv1.Found{Record: pointer(f.Record, recordToWire), Tombstone: pointer(f.Tombstone, tombstoneToWire)}
}

func foundFromWire(f *backendv1.Found) ports.Found {
	return ports.Found{Record: recordPointer(f.GetRecord()), Tombstone: tombstonePointer(f.GetTombstone())}
}
