package registry

// heartbeat.go: a heartbeat for what this process holds is answered from memory; any other
// is answered from the store, and moves the instance here (adoption).

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// parallelAdoptions bounds how many leases of one call are looked up at the same time.
const parallelAdoptions = 16

// Heartbeat answers for each lease, in order. It never fails as a whole: a lease that is none
// is "unknown", and an outage "unavailable".
func (r *Registry) Heartbeat(ctx context.Context, tokens []string) []HeartbeatResult {
	out := make([]HeartbeatResult, len(tokens))
	if err := r.begin(); err != nil {
		for i, t := range tokens {
			out[i] = HeartbeatResult{Lease: t, State: core.HeartbeatUnavailable}
		}
		return out
	}
	defer r.end()
	var wg sync.WaitGroup
	adopts := false
	places := make(chan struct{}, parallelAdoptions)
	for i, token := range tokens {
		out[i] = HeartbeatResult{Lease: token, State: core.HeartbeatUnknown}
		lease, err := core.ParseLease(token)
		if err != nil {
			continue
		}
		if _, state := r.beatHeld(lease); state != "" {
			out[i].State = state
			continue
		}
		adopts = true
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			_, out[i].State = r.adopt(ctx, lease)
		})
	}
	wg.Wait()
	if adopts {
		r.opt.Journal.Sync(ctx)
	}
	return out
}

// beatHeld renews the ttl of a lease that this process holds and returns its record; "" when
// it does not.
func (r *Registry) beatHeld(lease core.Lease) (ports.Record, core.HeartbeatState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, e := r.held[lease.Key], r.entryLocked(lease.Key)
	if h == nil || e == nil || h.gen != lease.Generation || e.rec.Generation != h.gen {
		return ports.Record{}, ""
	}
	if !lease.Matches(e.rec.LeaseHash) {
		return e.rec, core.HeartbeatUnknown
	}
	if h.phase == holdExpiring {
		return e.rec, core.HeartbeatExpired
	}
	h.deadline = time.Now().Add(h.ttl)
	return e.rec, core.HeartbeatRenewed
}

// adopt moves an instance here whose lease somebody showed us.
func (r *Registry) adopt(ctx context.Context, lease core.Lease) (ports.Record, core.HeartbeatState) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	for attempt := range maxAttempts {
		found, err := r.lookup(ctx, lease.Key)
		if err != nil {
			if transient(err) && pause(ctx, attempt) {
				continue
			}
			return ports.Record{}, core.HeartbeatUnavailable
		}
		if rec, state := r.beatHeld(lease); state != "" {
			return rec, state // the journal has just been found to be right about it
		}
		put, state := r.adoption(lease, found)
		if state != "" {
			return ports.Record{}, state
		}
		rec, again, err := r.adoptAs(ctx, put)
		switch {
		case err == nil && !again:
			return rec, core.HeartbeatRenewed
		case err != nil && !transient(err) && !errors.Is(err, context.DeadlineExceeded):
			return ports.Record{}, core.HeartbeatUnavailable
		case !pause(ctx, attempt):
			return ports.Record{}, core.HeartbeatUnavailable
		}
	}
	return ports.Record{}, core.HeartbeatUnavailable
}

// adoption decides what a lease is worth in the light of what the store holds: the Put that
// moves the record here, or a final answer.
func (r *Registry) adoption(lease core.Lease, found ports.Found) (ports.Put, core.HeartbeatState) {
	if rec := found.Record; rec != nil {
		switch c := rec.Generation.Compare(lease.Generation); {
		case c > 0:
			return ports.Put{}, core.HeartbeatSuperseded
		case c < 0:
			return ports.Put{}, core.HeartbeatUnknown // the store went back in time; register again
		case !lease.Matches(rec.LeaseHash):
			return ports.Put{}, core.HeartbeatUnknown
		}
		return ports.Put{Record: *rec, Replaces: rec.Generation, IfRevision: rec.Revision}, ""
	}
	t := found.Tombstone
	// The store may have lost its data, or have been away for longer than sessions last, while
	// this lease was alive: its absence is being held.
	if t == nil || t.Generation.Compare(lease.Generation) < 0 || t.Generation == lease.Generation && endOfSession(*t) {
		if rec, held := r.absent(lease); held {
			return ports.Put{Record: rec}, ""
		}
	}
	if t != nil && t.Generation.Compare(lease.Generation) >= 0 {
		return ports.Put{}, stateAfter(*t, lease.Generation)
	}
	return ports.Put{}, core.HeartbeatUnknown
}

// absent returns the record of a lease whose absence is being held.
func (r *Registry) absent(lease core.Lease) (rec ports.Record, held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entryLocked(lease.Key)
	if e == nil || e.leaving == nil || e.rec.Generation != lease.Generation || !lease.Matches(e.rec.LeaseHash) {
		return ports.Record{}, false
	}
	return e.rec, true
}

// adoptAs writes the record under a session of ours. Again means that it changed meanwhile.
func (r *Registry) adoptAs(ctx context.Context, put ports.Put) (rec ports.Record, again bool, err error) {
	var in core.Instance
	if _, err := core.DecodeBody(put.Record.Body, &in); err != nil {
		return rec, false, err
	}
	key := put.Record.Key
	r.inflightAdd(key, 1)
	defer r.inflightAdd(key, -1)
	s, err := r.acquire(ctx, r.sessionClass(in.Keepalive, in.TTL))
	if err != nil {
		return rec, false, err
	}
	put.Record.Session, put.Record.Owner = s.id, r.owner
	put.Record.UpdatedAt = time.Now()
	res := r.applyOne(ctx, ports.Mutation{Put: &put})
	if res.Err != nil || res.Record == nil {
		r.unreserve(s)
		if errors.Is(res.Err, ports.ErrSessionGone) {
			r.mu.Lock()
			r.sessionGoneLocked(s)
			r.mu.Unlock()
			return rec, true, nil
		}
		return rec, errors.Is(res.Err, ports.ErrConflict) || errors.Is(res.Err, ports.ErrUnavailable), ignoreConflict(res.Err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entryLocked(key); e != nil && e.rec.Generation == put.Record.Generation && e.rec.Session == s.id {
		r.holdLocked(e, s, nil)
	} else {
		r.unreserveLocked(s)
	}
	return *res.Record, false, nil
}

func ignoreConflict(err error) error {
	if errors.Is(err, ports.ErrConflict) {
		return nil
	}
	return err
}

// own makes sure that this process holds the instance of a lease and returns its record.
func (r *Registry) own(ctx context.Context, token string, key core.Key) (ports.Record, core.Lease, error) {
	lease, err := core.ParseLease(token)
	if err != nil {
		return ports.Record{}, lease, err
	}
	if lease.Key != key {
		return ports.Record{}, lease, &core.FieldError{
			Field: "lease", Allowed: "it belongs to " + lease.Key.String() + ", not to " + key.String(),
		}
	}
	rec, state := r.beatHeld(lease)
	if state == "" {
		rec, state = r.adopt(ctx, lease)
		r.opt.Journal.Sync(ctx)
	}
	return rec, lease, lost(state, lease.Key)
}

// Held lists the keys of what this process keeps alive, sorted.
func (r *Registry) Held() []core.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]core.Key, 0, len(r.held))
	for k := range r.held {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b core.Key) int {
		switch as, bs := a.String(), b.String(); {
		case as < bs:
			return -1
		case as > bs:
			return 1
		}
		return 0
	})
	return keys
}

// lost is the error of a lease that is not renewed, with what its holder does now.
func lost(state core.HeartbeatState, key core.Key) error {
	err := state.Err()
	switch state {
	case core.HeartbeatSuperseded:
		return fmt.Errorf("%w: a newer registration owns %s; stop, or register again to take it over", err, key)
	case core.HeartbeatDeregistered:
		return fmt.Errorf("%w: somebody removed %s; stop, or register again", err, key)
	case core.HeartbeatExpired, core.HeartbeatUnknown:
		return fmt.Errorf("%w: this lease of %s is not in force; register again", err, key)
	case core.HeartbeatRenewed, core.HeartbeatUnavailable:
	}
	return err
}
