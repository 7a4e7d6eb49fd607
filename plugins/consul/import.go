package consul

// import.go: instances that others registered in Consul, as records that can be read and not
// written. They are asked for when somebody needs them, and then once a second at the most.

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// foreignOwner is who holds what is imported; it is also the name of its session.
	foreignOwner = "consul"
	// foreignAge is how old an answer may be that is given again.
	foreignAge = time.Second
)

// foreign is what others registered.
type foreign struct {
	b *Backend

	turn  chan struct{} // of capacity 1, holds something while somebody asks; the others wait for his answer
	mu    sync.Mutex    // guards the rest
	at    time.Time
	found map[core.Key]*ports.Record // never changed in place
	left  map[string]string          // what cannot be held, and why; for a log line each
}

// look returns all that others registered, as of a short time ago at the most, and now where
// fresh is set.
func (f *foreign) look(ctx context.Context, fresh bool) (map[core.Key]*ports.Record, error) {
	if !f.b.options.Import {
		return nil, nil //nolint:nilnil // A nil map is an answer.
	}
	asked := time.Now()
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	at, found := f.at, f.found
	f.mu.Unlock()
	if at.After(asked) || !fresh && time.Since(at) < foreignAge {
		return found, nil
	}
	began := time.Now()
	found, left, err := f.ask(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for what, why := range left {
		if f.left[what] != why {
			f.b.log.WarnContext(ctx, "an instance of Consul's is not imported", slog.String("instance", what), slog.String("reason", why), slog.Int("left_out", len(left)))
		}
	}
	f.at, f.found, f.left = began, found, left
	return found, nil
}

// ask reads the health of every service that is not Consul's own or Prism's.
func (f *foreign) ask(ctx context.Context) (found map[core.Key]*ports.Record, left map[string]string, err error) {
	services, meta, err := f.b.client.Catalog().Services(f.b.consistent(ctx))
	if err != nil {
		return nil, nil, f.b.failure(ctx, err)
	}
	if meta.ResultsFilteredByACLs {
		return nil, nil, fmt.Errorf("consul: the token of %s may not read every service; give it the rules node_prefix \"\" { policy = \"read\" } and service_prefix \"\" { policy = \"read\" }, or set %s to false: %w",
			backendkit.OptionField("token"), backendkit.OptionField("import"), ports.ErrPermission)
	}
	delete(services, "consul")
	found, left = make(map[core.Key]*ports.Record), make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(services)) {
		entries, _, err := f.b.client.Health().Service(name, "", false, f.b.consistent(ctx))
		if err != nil {
			return nil, nil, f.b.failure(ctx, err)
		}
		importAll(entries, found, left)
	}
	return found, left, nil
}

// importAll turns the instances of one service into records.
func importAll(entries []*api.ServiceEntry, found map[core.Key]*ports.Record, left map[string]string) {
	entries = slices.DeleteFunc(entries, func(e *api.ServiceEntry) bool {
		return e.Node.Meta["prism-namespace"] != "" || e.Service.Kind != api.ServiceKindTypical // Prism's own, and proxies
	})
	ids := make(map[string]int)
	for _, e := range entries {
		ids[e.Service.ID]++
	}
	for _, e := range entries {
		id := e.Service.ID
		if ids[id] > 1 { // An id of Consul's is unique on its node alone.
			id = e.Node.Node + "." + id
		}
		r, err := importOne(e, core.Key{Service: e.Service.Service, ID: id})
		if err != nil {
			left[e.Node.Node+"/"+e.Service.ID] = err.Error()
			continue
		}
		found[r.Key] = r
	}
}

// importOne turns an instance into a record; its revision is when anything of it last changed.
func importOne(e *api.ServiceEntry, k core.Key) (*ports.Record, error) {
	if err := k.Validate(); err != nil {
		return nil, err
	}
	host := e.Service.Address
	if host == "" {
		host = e.Node.Address
	}
	host, err := core.NormaliseHost("address", host)
	if err != nil {
		return nil, err
	}
	if err := core.ValidatePort("port", e.Service.Port); err != nil {
		return nil, err
	}
	metadata, err := core.NewMetadata(e.Service.Meta)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, tag := range e.Service.Tags {
		if core.ValidateName("tags", tag) == nil && len(names) < core.MaxTags { // Others stay Consul's.
			names = append(names, tag)
		}
	}
	tags, err := core.NewTags(names...)
	if err != nil {
		return nil, err
	}
	in := core.Instance{
		Service: k.Service, ID: k.ID, Host: host, Port: e.Service.Port, Scheme: "http", Weight: max(e.Service.Weights.Passing, 0),
		Datacenter: e.Node.Datacenter, Tags: tags, Metadata: metadata,
	}
	body, err := core.EncodeBody(in, nil)
	if err != nil {
		return nil, err
	}
	index := max(e.Service.ModifyIndex, e.Node.ModifyIndex)
	for _, c := range e.Checks {
		index = max(index, c.ModifyIndex)
	}
	return &ports.Record{
		Key: k, Generation: core.Generation{N: e.Service.CreateIndex, Random: foreignOwner}, Session: foreignOwner, Owner: foreignOwner,
		State: stateOf(e.Checks), Body: body, Revision: core.Revision{N: index},
	}, nil
}

// stateOf is Consul's health in Prism's terms. Consul gives out what is warning.
func stateOf(checks api.HealthChecks) core.State {
	st := core.State{Declared: core.DeclaredUp, Observed: core.ObservedHealthy, Actor: foreignOwner}
	switch checks.AggregatedStatus() {
	case api.HealthMaint:
		st.Declared = core.DeclaredMaintenance
	case api.HealthCritical:
		st.Observed = core.ObservedUnhealthy
	}
	for _, c := range checks {
		if c.Status != api.HealthPassing {
			st.Reason = strings.TrimSpace(c.Name + " is " + c.Status)
			break
		}
	}
	return st
}

// isForeign tells an imported record.
func isForeign(r *ports.Record) bool {
	return r != nil && r.Owner == foreignOwner && r.Session == foreignOwner
}

// withForeign is the store with what is imported where Prism has no record: that can be taken
// over by a Put, and not be changed.
type withForeign struct{ table }

// Load implements backendkit.Table.
func (t withForeign) Load(ctx context.Context, wanted []backendkit.Wanted) ([]backendkit.Loaded, error) {
	loaded, err := t.table.Load(ctx, wanted)
	if err != nil {
		return nil, err
	}
	found, err := t.foreign.look(ctx, false)
	if err != nil {
		return nil, err
	}
	e := t.epochs.get()
	for i, w := range wanted {
		r, there := found[w.Key]
		if !there || loaded[i].Record != nil || loaded[i].Err != nil {
			continue
		}
		loaded[i].Found = ports.Found{Record: handOut(r, e.at(r.Revision.N))}
		if w.Session == "" { // It is read, or changed in another way than by a Put.
			loaded[i].Err = fmt.Errorf("%s is registered in Consul by somebody else and can only be changed there: %w", w.Key, ports.ErrUnsupported)
		}
	}
	return loaded, nil
}

// Commit implements backendkit.Table.
func (t withForeign) Commit(ctx context.Context, changes []backendkit.Change) []backendkit.Committed {
	for i := range changes {
		if isForeign(changes[i].Was.Record) {
			changes[i].Was.Document = backendkit.Document{} // Nothing of it is in the KV store.
		}
	}
	return t.table.Commit(ctx, changes)
}

// handOut copies a record for somebody who may do with it as he likes.
func handOut(r *ports.Record, at core.Revision) *ports.Record {
	out := *r
	out.Body = slices.Clone(r.Body)
	out.Revision = at
	return &out
}

// guests is what one watcher was told of imported records. It is not safe for concurrent use.
type guests map[core.Key]*ports.Record

// compare sends what is new of the imported records that Prism has none beside. Their
// revisions are above the cursor, whenever the change was made.
func (g guests) compare(ctx context.Context, to *backendkit.Feed, found map[core.Key]*ports.Record, told account, at core.Revision) error {
	above := func(k core.Key, n uint64) core.Revision {
		if before := g[k]; before != nil {
			n = max(n, before.Revision.N+1)
		}
		return core.Revision{Epoch: at.Epoch, N: max(n, at.N+1)}
	}
	for k := range g {
		if told.stands(k) {
			delete(g, k) // Prism's record has taken the place.
		}
	}
	for k, r := range found {
		if told.stands(k) {
			continue
		}
		if before := g[k]; before != nil && before.Generation == r.Generation && before.State == r.State && string(before.Body) == string(r.Body) {
			continue
		}
		sent := handOut(r, above(k, r.Revision.N))
		g[k] = sent
		if err := to.Put(ctx, handOut(sent, sent.Revision)); err != nil {
			return err
		}
	}
	for k, before := range g {
		if found[k] != nil {
			continue
		}
		tomb := &ports.Tombstone{Key: k, Generation: before.Generation, Session: before.Session, Cause: core.CauseDeregistered, Revision: above(k, 0)}
		delete(g, k)
		if err := to.Delete(ctx, tomb); err != nil {
			return err
		}
	}
	return nil
}
