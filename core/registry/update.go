package registry

// update.go: what changes a record that exists: its owner's update, a status, a removal.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Update replaces everything that the owner describes and leaves the status alone, but for what
// a check found where there is none any more. The instance moves to this process when another
// held it. Errors: ErrInvalid, ErrSuperseded, ErrLeaseExpired, ErrDeregistered,
// ErrPreconditionFailed, ErrUnavailable.
func (r *Registry) Update(ctx context.Context, req UpdateRequest) (Registered, error) {
	lease, err := core.ParseLease(req.Lease)
	if err != nil {
		return Registered{}, err
	}
	if req.Spec.Service == "" {
		req.Spec.Service = lease.Key.Service
	}
	if req.Spec.ID == "" {
		req.Spec.ID = lease.Key.ID
	}
	if err := r.begin(); err != nil {
		return Registered{}, err
	}
	defer r.end()
	key := core.Key{Service: req.Spec.Service, ID: req.Spec.ID}
	rec, _, err := r.own(ctx, req.Lease, key)
	if err != nil {
		return Registered{}, err
	}
	if req.Spec.Keepalive == "" {
		req.Spec.Keepalive = r.instance(rec).Keepalive
	}
	in, warnings, err := r.Resolve(RegisterRequest{Spec: req.Spec, CallerHost: req.CallerHost})
	if err != nil {
		return Registered{}, err
	}
	r.inflightAdd(key, 1)
	defer r.inflightAdd(key, -1)
	var was ports.Record
	s, rec, err := r.underSession(ctx, r.sessionClass(in.Keepalive, in.TTL), func(s *session) (ports.Record, error) {
		return r.rewrite(ctx, rec, func(rec ports.Record) (ports.Mutation, error) {
			if err := stillOwn(rec, lease, req.IfMatch); err != nil {
				return ports.Mutation{}, err
			}
			was = rec
			return r.updatePut(rec, in, s)
		}, func(rec ports.Record) bool { return rec.Session == s.id && r.instance(rec).SameDescription(in) })
	})
	if err != nil {
		return Registered{}, err
	}
	r.mu.Lock()
	if e := r.entryLocked(key); e != nil && e.rec.Generation == lease.Generation && e.rec.Session == s.id {
		r.holdLocked(e, s, nil)
	} else {
		r.unreserveLocked(s)
	}
	r.mu.Unlock()
	r.opt.Journal.Sync(ctx)
	if rec, err = r.uncheck(ctx, was, rec); err != nil {
		return Registered{}, err
	}
	return Registered{Instance: r.instance(rec), Lease: req.Lease, Warnings: warnings}, nil
}

// underSession writes a record under a session of a class, and under another one when the store
// says that it has ended. On success a place in it is reserved.
func (r *Registry) underSession(ctx context.Context, class time.Duration, write func(*session) (ports.Record, error)) (s *session, rec ports.Record, err error) {
	for range maxAttempts {
		if s, err = r.acquire(ctx, class); err != nil {
			return nil, rec, asUnavailable(err)
		}
		if rec, err = write(s); err == nil {
			return s, rec, nil
		}
		r.unreserve(s)
		if !errors.Is(err, ports.ErrSessionGone) {
			return nil, rec, err
		}
		r.mu.Lock()
		r.sessionGoneLocked(s)
		r.mu.Unlock()
	}
	return nil, rec, fmt.Errorf("%w: the store ends every session at once; try again", core.ErrUnavailable)
}

func stillOwn(rec ports.Record, lease core.Lease, ifMatch core.Revision) error {
	if rec.Generation != lease.Generation {
		return lost(core.HeartbeatSuperseded, rec.Key)
	}
	return matches(rec, ifMatch)
}

func matches(rec ports.Record, ifMatch core.Revision) error {
	if !ifMatch.IsZero() && rec.Revision != ifMatch {
		return fmt.Errorf("%w: %s is at revision %s, not %s; read it again", core.ErrPreconditionFailed, rec.Key, rec.Revision, ifMatch)
	}
	return nil
}

// updatePut writes a new body over a record and keeps the fields that this version does not know.
func (r *Registry) updatePut(rec ports.Record, in core.Instance, s *session) (ports.Mutation, error) {
	var was core.Instance
	extra, err := core.DecodeBody(rec.Body, &was)
	if err != nil {
		return ports.Mutation{}, err
	}
	next := rec
	if next.Body, err = core.EncodeBody(in, extra); err != nil {
		return ports.Mutation{}, err
	}
	next.Session, next.Owner, next.UpdatedAt = s.id, r.owner, time.Now()
	return ports.Mutation{Put: &ports.Put{Record: next, Replaces: rec.Generation, IfRevision: rec.Revision}}, nil
}

// SetStatus sets a status and nothing else. With a lease it is the owner's word, without one
// an operator's: an operator's maintenance is not lifted by the owner, who may only add that
// it is stopping. Errors: ErrInvalid, ErrNotFound, ErrConflict, ErrPreconditionFailed, those
// of a lease, ErrUnavailable.
func (r *Registry) SetStatus(ctx context.Context, req StatusRequest) (core.Instance, error) {
	declared, observed, err := core.ParseSettable("status", req.Status)
	if err != nil {
		return core.Instance{}, err
	}
	if len(req.Reason) > maxReason {
		return core.Instance{}, core.TooLarge("reason", fmt.Sprintf("%d bytes", len(req.Reason)), "use at most 1,024 bytes")
	}
	if err := r.begin(); err != nil {
		return core.Instance{}, err
	}
	defer r.end()
	rec, lease, err := r.addressed(ctx, req.Key, req.Lease)
	if err != nil {
		return core.Instance{}, err
	}
	byOperator := req.Lease == ""
	actor := actorName(req.Actor, byOperator)
	wanted := ports.DeclaredState{Declared: declared, ByOperator: byOperator, Actor: actor, Reason: req.Reason}
	rec, err = r.rewrite(ctx, rec, func(rec ports.Record) (ports.Mutation, error) {
		if err := r.mayDeclare(rec, lease, wanted, req); err != nil {
			return ports.Mutation{}, err
		}
		// A status set by hand resets the counters; what checks found stays unless it was set too.
		seen := ports.ObservedState{Observed: rec.State.Observed}
		if observed != nil {
			seen.Observed = *observed
		}
		return ports.Mutation{SetState: &ports.SetState{
			Key: req.Key, Generation: rec.Generation, Declared: &wanted, Observed: &seen, At: time.Now(), IfRevision: rec.Revision,
		}}, nil
	}, func(rec ports.Record) bool {
		st := rec.State
		return st.Declared == declared && st.Actor == actor && st.Reason == req.Reason && (observed == nil || st.Observed == *observed)
	})
	if err != nil {
		return core.Instance{}, err
	}
	return r.instance(rec), nil
}

const maxReason = 1024

func (r *Registry) mayDeclare(rec ports.Record, lease core.Lease, wanted ports.DeclaredState, req StatusRequest) error {
	if req.Lease != "" && rec.Generation != lease.Generation {
		return lost(core.HeartbeatSuperseded, rec.Key)
	}
	if rec.State.Drained() && !wanted.ByOperator && wanted.Declared != core.DeclaredStopping {
		return fmt.Errorf("%w: %s is in maintenance by %s (%s); an operator lifts it with the status up",
			core.ErrConflict, rec.Key, rec.State.Actor, rec.State.Reason)
	}
	return matches(rec, req.IfMatch)
}

func actorName(given string, byOperator bool) string {
	switch {
	case given != "":
		return given
	case byOperator:
		return "operator"
	default:
		return "owner"
	}
}

// addressed finds the record that a request is about; with a lease it must be the lease's.
func (r *Registry) addressed(ctx context.Context, key core.Key, token string) (ports.Record, core.Lease, error) {
	if err := key.Validate(); err != nil {
		return ports.Record{}, core.Lease{}, err
	}
	if token != "" {
		return r.own(ctx, token, key)
	}
	rec, err := r.current(ctx, key)
	return rec, core.Lease{}, err
}

// Deregister removes an instance: with a lease its owner does, without one an operator.
// Removing what is not there is ErrNotFound.
func (r *Registry) Deregister(ctx context.Context, req DeregisterRequest) error {
	if len(req.Reason) > maxReason {
		return core.TooLarge("reason", fmt.Sprintf("%d bytes", len(req.Reason)), "use at most 1,024 bytes")
	}
	if err := r.begin(); err != nil {
		return err
	}
	defer r.end()
	rec, lease, err := r.leaving(ctx, req)
	if err != nil {
		return err
	}
	cause := core.CauseDeregistered
	if req.Lease == "" {
		cause = core.CauseOperator
	}
	asked := rec.Generation
	_, err = r.rewrite(ctx, rec, func(rec ports.Record) (ports.Mutation, error) {
		asked = rec.Generation
		if req.Lease != "" {
			if err := stillOwn(rec, lease, req.IfMatch); err != nil {
				return ports.Mutation{}, err
			}
		} else if err := matches(rec, req.IfMatch); err != nil {
			return ports.Mutation{}, err
		}
		return ports.Mutation{Delete: &ports.Delete{
			Key: req.Key, Generation: rec.Generation, Cause: cause, Actor: actorName(req.Actor, req.Lease == ""), Reason: req.Reason,
			IfRevision: req.IfMatch,
		}}, nil
	}, func(now ports.Record) bool { return now.Generation.Compare(asked) > 0 }) // it went, and somebody registered since
	return err
}

// leaving finds the record to remove. A lease need not be adopted for that, only be right.
func (r *Registry) leaving(ctx context.Context, req DeregisterRequest) (rec ports.Record, lease core.Lease, err error) {
	if err := req.Key.Validate(); err != nil {
		return rec, lease, err
	}
	if req.Lease != "" {
		if lease, err = core.ParseLease(req.Lease); err != nil {
			return rec, lease, err
		}
		if lease.Key != req.Key {
			return rec, lease, &core.FieldError{
				Field: "lease", Allowed: "it belongs to " + lease.Key.String() + ", not to " + req.Key.String(),
			}
		}
	}
	if rec, err = r.current(ctx, req.Key); err != nil || req.Lease == "" {
		return rec, lease, err
	}
	switch {
	case rec.Generation.Compare(lease.Generation) > 0:
		return rec, lease, lost(core.HeartbeatSuperseded, rec.Key)
	case rec.Generation != lease.Generation, !lease.Matches(rec.LeaseHash):
		return rec, lease, lost(core.HeartbeatExpired, rec.Key)
	}
	return rec, lease, nil
}
