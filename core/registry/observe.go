package registry

// observe.go: what checks find goes into the record of an instance that this process holds,
// and only there; a check of what somebody else holds changes nothing.

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/health"
	"github.com/marketprism/prism/ports"
)

// Observe takes in the result of one check. It reports whether the matter is settled: when
// it is not, the next check should come soon.
func (r *Registry) Observe(ctx context.Context, in core.Instance, res ports.ProbeResult) (isSettled bool) {
	if r.begin() != nil {
		return true
	}
	defer r.end()
	ctx, cancel := context.WithTimeout(ctx, writePatience) // a store that is away must not hold up checks
	defer cancel()
	key := in.Key()
	for range maxAttempts {
		r.mu.Lock()
		h, e := r.held[key], r.entryLocked(key)
		if h == nil || e == nil || h.phase != holdActive || e.rec.Generation != h.gen || e.in.Check.Type == core.CheckNone {
			r.mu.Unlock()
			return true
		}
		rec := e.rec
		another := in.Generation != h.gen || !health.Complete(in).SameDescription(health.Complete(*e.in))
		critical := !res.Healthy && e.critical()
		r.mu.Unlock()
		if another {
			return false // what was checked is no longer what stands there
		}
		if critical {
			r.removeCritical(ctx, rec, e.in.Check.DeregisterAfter)
			return true
		}
		observed, declared, done := health.Decide(rec.State, e.in.Check, res.Healthy)
		if declared == nil && observed.Observed == rec.State.Observed && observed.Streak == rec.State.Streak {
			return done
		}
		answer := r.applyOne(ctx, ports.Mutation{SetState: &ports.SetState{
			Key: key, Generation: rec.Generation, Session: rec.Session, Declared: declared, Observed: &observed, At: time.Now(),
			IfRevision: rec.Revision,
		}})
		switch {
		case answer.Err == nil:
			return done
		case errors.Is(answer.Err, ports.ErrConflict) && answer.Record != nil: // the view has it now
		default:
			r.log.Debug("the result of a check was not stored", slog.String("key", key.String()), slog.Any("error", answer.Err))
			return done
		}
	}
	return true
}

// uncheck takes back what a check found, or was to find, of an instance whose check was replaced
// by "none": a live lease is healthy then, and nothing else would ever say so. What is set by hand
// while there is no check stays. Stores keep the state over an update, so this is a write of its
// own, and whoever repeats an update that ended between the two gets both.
func (r *Registry) uncheck(ctx context.Context, was, rec ports.Record) (ports.Record, error) {
	hadCheck := r.instance(was).Check.Type != core.CheckNone
	found := func(rec ports.Record) bool { // only checks count
		return rec.State.Observed != core.ObservedHealthy && (hadCheck || rec.State.Streak != 0)
	}
	if !found(rec) || r.instance(rec).Check.Type != core.CheckNone {
		return rec, nil
	}
	return r.rewrite(ctx, rec, func(now ports.Record) (ports.Mutation, error) {
		if now.Generation != rec.Generation {
			return ports.Mutation{}, lost(core.HeartbeatSuperseded, rec.Key)
		}
		return ports.Mutation{SetState: &ports.SetState{
			Key: rec.Key, Generation: rec.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy}, At: time.Now(),
			IfRevision: now.Revision,
		}}, nil
	}, func(now ports.Record) bool { return !found(now) })
}

func (r *Registry) removeCritical(ctx context.Context, rec ports.Record, after time.Duration) {
	res := r.applyOne(ctx, ports.Mutation{Delete: &ports.Delete{
		Key: rec.Key, Generation: rec.Generation, Session: rec.Session, Cause: core.CauseCritical, Actor: "check",
		Reason: "unhealthy for " + after.String(), IfRevision: rec.Revision,
	}})
	if res.Err != nil {
		r.log.Debug("a critical instance was not removed", slog.String("key", rec.Key.String()), slog.Any("error", res.Err))
	}
}
