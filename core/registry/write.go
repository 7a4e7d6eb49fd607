package registry

// write.go: how one mutation is carried out: the answer enters the view before the caller
// hears of it, and after an unknown outcome the caller looks again.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// writePatience bounds how long a write waits for a store that is away.
	writePatience = 5 * time.Second
	// maxAttempts bounds how often a conflict is looked at anew.
	maxAttempts = 16
)

// applyOne carries out one mutation and merges the answer into the view: what was stored, or
// what stands in the way.
func (r *Registry) applyOne(ctx context.Context, m ports.Mutation) ports.MutationResult {
	results, err := r.backend.Apply(ctx, []ports.Mutation{m})
	if err == nil && len(results) != 1 {
		err = fmt.Errorf("%w: the backend answered %d of 1 mutations", ports.ErrUnavailable, len(results))
	}
	if err != nil {
		return ports.MutationResult{Err: err}
	}
	res := results[0]
	if res.Record == nil {
		return res
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if res.Err == nil {
		r.lag.acknowledged(res.Record.Revision, time.Now())
		r.acceptedLocked()
	}
	if d := m.Delete; d != nil && res.Err == nil {
		r.applyDeleteLocked(ports.Tombstone{
			Key: d.Key, Generation: d.Generation, Session: res.Record.Session, Cause: d.Cause, Actor: d.Actor, Reason: d.Reason,
			Revision: res.Record.Revision,
		})
		r.flushLocked()
		return res
	}
	r.mergeAnswerLocked(*res.Record, res.Err != nil)
	return res
}

// settled reports whether the store has answered for certain.
func settled(res ports.MutationResult) bool {
	return res.Err == nil || errors.Is(res.Err, ports.ErrConflict) || errors.Is(res.Err, ports.ErrNotFound)
}

// transient reports whether trying again may help.
func transient(err error) bool {
	return errors.Is(err, ports.ErrUnavailable) || errors.Is(err, ports.ErrContention)
}

// lookup reads one key linearizably.
func (r *Registry) lookup(ctx context.Context, key core.Key) (ports.Found, error) {
	found, err := r.backend.Get(ctx, []core.Key{key})
	if err != nil {
		return ports.Found{}, err
	}
	if len(found) != 1 {
		return ports.Found{}, fmt.Errorf("%w: the backend answered %d of 1 keys", ports.ErrUnavailable, len(found))
	}
	if found[0].Record != nil {
		r.mu.Lock()
		r.mergeAnswerLocked(*found[0].Record, true)
		r.mu.Unlock()
	}
	return found[0], nil
}

// lookupPatiently tries again while the store is away, for writePatience at the most.
func (r *Registry) lookupPatiently(ctx context.Context, key core.Key) (found ports.Found, err error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	for attempt := 0; ; attempt++ {
		found, err = r.lookup(ctx, key)
		if err == nil || !transient(err) || !pause(ctx, attempt) {
			return found, asUnavailable(err)
		}
	}
}

// pause waits a little longer at each attempt; false when the context ended.
func pause(ctx context.Context, attempt int) bool {
	d := time.Duration(10<<min(attempt, 5)) * time.Millisecond
	t := time.NewTimer(jitter(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// asUnavailable words the end of a deadline as what it means to a caller.
func asUnavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, core.ErrUnavailable) {
		return fmt.Errorf("%w: the store did not answer in time", core.ErrUnavailable)
	}
	return err
}

// current is what a read-then-write starts from: the view's record, else the store's.
func (r *Registry) current(ctx context.Context, key core.Key) (ports.Record, error) {
	r.mu.Lock()
	e := r.entryLocked(key)
	r.mu.Unlock()
	if e != nil && e.leaving == nil {
		return e.rec, nil
	}
	found, err := r.lookupPatiently(ctx, key)
	if err != nil {
		return ports.Record{}, err
	}
	if found.Record == nil {
		return ports.Record{}, notFound(key)
	}
	return *found.Record, nil
}

func notFound(key core.Key) error {
	return fmt.Errorf("%w: there is no instance %s of service %s", core.ErrNotFound, key.ID, key.Service)
}

// instance shows a record as people see it.
func (r *Registry) instance(rec ports.Record) core.Instance {
	r.mu.Lock()
	old := r.entryLocked(rec.Key)
	r.mu.Unlock()
	e, err := r.decode(rec, old)
	if err != nil { // it was just written or read by this code; show what is known
		return core.Instance{Namespace: r.opt.Defaults.Namespace, Service: rec.Key.Service, ID: rec.Key.ID, State: rec.State}
	}
	return handOut(e.in)
}

// rewrite carries out a read-then-write: change says what to write over a record, and is
// asked again with what stands there after a conflict. It ends when the store has answered
// for certain, when change refuses, or when patience is over. An unknown outcome is settled
// by looking: done says whether a record shows what was asked for.
func (r *Registry) rewrite(ctx context.Context, rec ports.Record,
	change func(ports.Record) (ports.Mutation, error), done func(ports.Record) bool,
) (ports.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	var last error // an unknown outcome: what was asked for may have been done, or may be yet
	for attempt := range maxAttempts {
		m, err := change(rec)
		if err != nil {
			return rec, err
		}
		res := r.applyOne(ctx, m)
		switch {
		case res.Err == nil && res.Record != nil:
			return *res.Record, nil
		case errors.Is(res.Err, ports.ErrConflict) && res.Record != nil:
			rec = *res.Record
			if last != nil && done(rec) {
				return rec, nil
			}
			continue
		case errors.Is(res.Err, ports.ErrConflict), errors.Is(res.Err, ports.ErrNotFound):
			if !r.hasten(rec.Key) {
				if last != nil && m.Delete != nil {
					return rec, nil
				}
				return rec, notFound(rec.Key)
			}
		case errors.Is(res.Err, ports.ErrContention):
		case errors.Is(res.Err, ports.ErrUnavailable), errors.Is(res.Err, context.DeadlineExceeded):
			if last == nil || ctx.Err() == nil { // the end of patience is no reason
				last = res.Err
			}
			found, err := r.lookupPatiently(ctx, rec.Key)
			switch {
			case err != nil:
				return rec, r.refused(err)
			case found.Record != nil && done(*found.Record):
				return *found.Record, nil
			case found.Record != nil:
				rec = *found.Record
			case r.hasten(rec.Key):
			case m.Delete != nil:
				return rec, nil
			default:
				return rec, notFound(rec.Key)
			}
		default:
			return rec, r.refused(res.Err)
		}
		if !pause(ctx, attempt) {
			break
		}
	}
	if last != nil {
		return rec, r.refused(asUnavailable(last))
	}
	return rec, fmt.Errorf("%w: %s is being written by others, or the store is away; try again", core.ErrUnavailable, rec.Key)
}
