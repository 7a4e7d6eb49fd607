package registry

// register.go: a new registration always wins: it creates the record, or takes over the one
// that stands there with a higher generation.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Register registers an instance that a client keeps alive, or this process for it. Errors:
// ErrInvalid (a FieldError), ErrConflict (create_only), ErrUnavailable, ErrPermission.
func (r *Registry) Register(ctx context.Context, req RegisterRequest) (Registered, error) {
	return r.register(ctx, req, nil)
}

// RegisterOwn registers an instance of this very process. It is removed by Close. Lost is
// called once, with the registry's lock held, when the holding ends for another reason.
func (r *Registry) RegisterOwn(ctx context.Context, req RegisterRequest, lost func(core.HeartbeatState)) (Registered, error) {
	if req.Keepalive == "" {
		req.Keepalive = core.KeepaliveAuto
	}
	return r.register(ctx, req, lost)
}

// defaults are what registrations leave open.
type defaults struct {
	instance core.Defaults
	services map[string]core.Spec
}

// SetDefaults replaces what later registrations leave open. The namespace stays.
func (r *Registry) SetDefaults(d core.Defaults, services map[string]core.Spec) {
	d.Namespace = r.opt.Defaults.Namespace
	r.defaults.Store(&defaults{instance: d, services: services})
}

// Resolve fills in this registry's defaults and validates.
func (r *Registry) Resolve(req RegisterRequest) (core.Instance, []string, error) {
	def := r.defaults.Load()
	d := def.instance
	if req.CallerHost != "" {
		d.CallerHost = req.CallerHost
	}
	if req.Keepalive != "" {
		d.Keepalive = req.Keepalive
	}
	spec := req.Spec
	if of, ok := def.services[spec.Service]; ok {
		spec = spec.WithDefaults(of)
	}
	in, warnings, err := spec.Resolve(d)
	if err == nil && core.IsLoopback(in.Host) && r.backend.Info().Capabilities.MultiHost {
		warnings = append(warnings, fmt.Sprintf("host: %s is reachable from its own machine only, and the store is shared", in.Host))
	}
	return in, warnings, err
}

func (r *Registry) register(ctx context.Context, req RegisterRequest, lost func(core.HeartbeatState)) (Registered, error) {
	in, warnings, err := r.Resolve(req)
	if err != nil {
		return Registered{}, err
	}
	if err := r.begin(); err != nil {
		return Registered{}, err
	}
	defer r.end()
	key := in.Key()
	r.inflightAdd(key, 1)
	defer r.inflightAdd(key, -1)

	a := &assertion{
		r: r, in: in, createOnly: req.Spec.CreateOnly, own: lost != nil, class: r.sessionClass(in.Keepalive, in.TTL),
	}
	a.lookAtView()
	rec, err := a.run(ctx)
	if err != nil {
		return Registered{}, err
	}
	shown := r.registered(a, rec, lost)
	r.opt.Journal.Sync(ctx)
	if a.replaces.Generation == rec.Generation { // claimed: an update
		if rec, err = r.uncheck(ctx, a.replaces, rec); err != nil {
			r.log.Warn("what an earlier check found still shows; register the instance again", slog.String("key", key.String()), slog.Any("error", err))
		}
		if rec, err = r.redeclare(ctx, a.in.State.Declared, rec); err != nil {
			r.log.Warn("what was declared before the restart still shows; set the status up", slog.String("key", key.String()), slog.Any("error", err))
		}
		shown.State, shown.Revision = rec.State, rec.Revision
	}
	return Registered{Instance: shown, Lease: a.lease.Token(), Created: a.created, Warnings: warnings}, nil
}

// registered begins to hold what was just written, and returns it as people see it.
func (r *Registry) registered(a *assertion, rec ports.Record, lost func(core.HeartbeatState)) core.Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entryLocked(rec.Key)
	if e != nil && e.rec.Generation == a.lease.Generation && e.rec.Session == a.session.id {
		r.holdLocked(e, a.session, lost)
	} else { // somebody superseded or removed it in the meantime; its heartbeats will say so
		r.unreserveLocked(a.session)
		if lost != nil {
			lost(core.HeartbeatSuperseded)
		}
	}
	if e, err := r.decode(rec, e); err == nil {
		return handOut(e.in)
	}
	return a.in
}

// inflightAdd counts the writes of a key that are on their way. What the view saw of them
// meanwhile is looked at when the last has ended: nobody may hold it.
func (r *Registry) inflightAdd(key core.Key, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inflight[key] += n
	if r.inflight[key] > 0 {
		return
	}
	delete(r.inflight, key)
	if e := r.entryLocked(key); e != nil {
		r.mayBeOrphanLocked(e)
	}
}

// assertion is one registration on its way into the store.
type assertion struct {
	r          *Registry
	in         core.Instance
	createOnly bool
	own        bool
	class      time.Duration

	seen     core.Generation // the highest seen for the key
	replaces ports.Record    // what stands there; zero for nothing
	lease    core.Lease
	session  *session
	created  bool
}

func (a *assertion) lookAtView() {
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	if e := a.r.entryLocked(a.in.Key()); e != nil {
		a.seen = e.rec.Generation
		// That there is one, only the store can say for certain, but for what waits here to be asserted.
		if e.leaving == nil && (!a.createOnly || a.r.held[a.in.Key()] != nil) {
			a.replaces = e.rec
			a.claimLocked(e.rec)
		}
	}
}

// claimLocked goes on with what an earlier run of this process registered for itself: under
// its generation, so that nobody sees another registration, and with a lease of our own.
func (a *assertion) claimLocked(rec ports.Record) {
	h := a.r.held[rec.Key]
	if a.own && !a.createOnly && h != nil && h.unclaimed && h.phase == holdActive && h.gen == rec.Generation {
		a.lease = core.NewLease(rec.Key, rec.Generation)
	}
}

// saw learns from a conflict what stands in the way.
func (a *assertion) saw(rec *ports.Record, tomb *ports.Tombstone) {
	a.replaces, a.lease = ports.Record{}, core.Lease{}
	if tomb != nil && tomb.Generation.Compare(a.seen) > 0 {
		a.seen = tomb.Generation
	}
	if rec == nil {
		return
	}
	a.replaces = *rec
	if rec.Generation.Compare(a.seen) > 0 {
		a.seen = rec.Generation
	}
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	a.claimLocked(*rec)
}

// run writes until the record is there. On success a place in a.session is reserved.
func (a *assertion) run(ctx context.Context) (ports.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	var last error
	for attempt := range maxAttempts {
		rec, retry, err := a.attempt(ctx)
		if err == nil && !retry {
			return rec, nil
		}
		if !retry {
			a.dropSession()
			return ports.Record{}, a.r.refused(asUnavailable(err))
		}
		if err != nil && (last == nil || ctx.Err() == nil) { // the end of patience is no reason
			last = err
		}
		if err != nil && !pause(ctx, attempt) {
			break
		}
	}
	a.dropSession()
	if last != nil {
		return ports.Record{}, a.r.refused(asUnavailable(last))
	}
	return ports.Record{}, fmt.Errorf("%w: %s is being registered by others; try again", core.ErrUnavailable, a.in.Key())
}

// takeSession reserves a place, which later attempts keep: a Put that is repeated under another
// session meets what it did itself as if it were somebody else's.
func (a *assertion) takeSession(ctx context.Context) error {
	if a.session != nil {
		return nil
	}
	s, err := a.r.acquire(ctx, a.class)
	if err == nil {
		a.session = s
	}
	return err
}

func (a *assertion) dropSession() {
	if a.session != nil {
		a.r.unreserve(a.session)
		a.session = nil
	}
}

// attempt tries once. Retry without an error means that there is something new to look at.
func (a *assertion) attempt(ctx context.Context) (rec ports.Record, retry bool, err error) {
	if a.createOnly && !a.replaces.Generation.IsZero() {
		return rec, false, fmt.Errorf("%w: %s is registered already (owner %s); leave out create_only to take it over",
			core.ErrConflict, a.in.Key(), a.replaces.Owner)
	}
	if a.lease.Generation.IsZero() {
		a.lease = core.NewLease(a.in.Key(), a.seen.Next())
	}
	if err := a.takeSession(ctx); err != nil {
		return rec, transient(err), err
	}
	put, err := a.put()
	if err != nil {
		return rec, false, err
	}
	res := a.r.applyOne(ctx, ports.Mutation{Put: &put})
	switch {
	case res.Err == nil && res.Record != nil:
		a.created = put.Replaces.IsZero()
		return *res.Record, false, nil
	case errors.Is(res.Err, ports.ErrConflict):
		a.saw(res.Record, res.Tombstone)
		return rec, true, nil
	case errors.Is(res.Err, ports.ErrSessionGone):
		a.r.mu.Lock()
		a.r.sessionGoneLocked(a.session)
		a.r.mu.Unlock()
		a.dropSession()
		return rec, true, nil
	case errors.Is(res.Err, ports.ErrUnavailable):
		return a.lookAgain(ctx, res.Err)
	}
	return rec, errors.Is(res.Err, ports.ErrContention), res.Err
}

// lookAgain settles an unknown outcome.
func (a *assertion) lookAgain(ctx context.Context, cause error) (ports.Record, bool, error) {
	found, err := a.r.lookup(ctx, a.in.Key())
	if err != nil {
		return ports.Record{}, true, cause
	}
	if found.Record != nil && found.Record.LeaseHash == a.lease.Hash() && found.Record.Session == a.session.id {
		a.created = a.replaces.Generation.IsZero()
		return *found.Record, false, nil
	}
	a.saw(found.Record, found.Tombstone)
	return ports.Record{}, true, cause
}

func (a *assertion) put() (ports.Put, error) {
	body, err := core.EncodeBody(a.in, nil)
	if err != nil {
		return ports.Put{}, err
	}
	now := time.Now()
	state := a.in.State
	state.ChangedAt = now
	since := now
	if a.replaces.Generation == a.lease.Generation {
		since = a.replaces.RegisteredAt
	}
	return ports.Put{
		Record: ports.Record{
			Key: a.in.Key(), Generation: a.lease.Generation, Session: a.session.id, Owner: a.r.owner, LeaseHash: a.lease.Hash(),
			State: state, Body: body, RegisteredAt: since, UpdatedAt: now,
		},
		Replaces: a.replaces.Generation, IfRevision: a.replaces.Revision,
	}, nil
}

// redeclare ends what the owner declared before a restart, such as that it is stopping: like a new
// registration, one that goes on after a restart is as the owner describes it now. What an operator declared stays.
func (r *Registry) redeclare(ctx context.Context, wanted core.Declared, rec ports.Record) (ports.Record, error) {
	errStays := errors.New("an operator declared it")
	past := func(st core.State) bool {
		return !st.ByOperator && st.Declared != core.DeclaredUp && st.Declared != wanted
	}
	if !past(rec.State) {
		return rec, nil
	}
	rec, err := r.rewrite(ctx, rec, func(now ports.Record) (ports.Mutation, error) {
		switch {
		case now.Generation != rec.Generation:
			return ports.Mutation{}, lost(core.HeartbeatSuperseded, rec.Key)
		case !past(now.State):
			return ports.Mutation{}, errStays
		}
		return ports.Mutation{SetState: &ports.SetState{
			Key: now.Key, Generation: now.Generation, At: time.Now(), IfRevision: now.Revision,
			Declared: &ports.DeclaredState{Declared: wanted, Actor: "owner", Reason: "registered again after a restart"},
		}}, nil
	}, func(now ports.Record) bool { return !past(now.State) })
	if errors.Is(err, errStays) {
		err = nil
	}
	return rec, err
}
