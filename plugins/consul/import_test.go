package consul_test

// import_test.go: instances that others registered in Consul.

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/consul"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// listed is what a list finds.
func listed(t *testing.T, b ports.Backend, services ...string) map[core.Key]*ports.Record {
	t.Helper()
	all := make(map[core.Key]*ports.Record)
	follow(t, b, ports.WatchRequest{Services: services}, func(ev ports.WatchEvent) bool {
		if ev.Record != nil {
			all[ev.Record.Key] = ev.Record
		}
		return ev.Kind == ports.WatchSynced
	})
	return all
}

func register(t *testing.T, c *api.Client, r *api.AgentServiceRegistration) {
	t.Helper()
	require.NoError(t, c.Agent().ServiceRegister(r))
}

func TestImport(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	web := &api.AgentServiceRegistration{
		ID: "web-1", Name: "web", Address: "10.7.7.7", Port: 80, Tags: []string{"v2", "traefik.enable=true"}, Meta: map[string]string{"team": "shop"},
		Weights: &api.AgentWeights{Passing: 7, Warning: 1},
		Check:   &api.AgentServiceCheck{CheckID: "web-alive", TTL: "1h", Status: api.HealthPassing},
	}
	register(t, c, web)
	register(t, c, &api.AgentServiceRegistration{ID: "bad id", Name: "web", Address: "10.7.7.8", Port: 80})
	register(t, c, &api.AgentServiceRegistration{ID: "no-port", Name: "web", Address: "10.7.7.8"})

	mine := opened(t, consul.Options{URL: store.URL(), Namespace: "other"}) // Its mirror is not imported.
	session(t, mine, "s-1", time.Minute)
	apply(t, mine, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}})

	b := opened(t, consul.Options{URL: store.URL(), Import: true})
	session(t, b, "s-1", time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := b.Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	change := func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchPut || ev.Kind == ports.WatchDelete }
	first := next(ctx, t, w, change).Record
	key := core.Key{Service: "web", ID: "web-1"}
	require.Equal(t, key, first.Key)
	assert.Equal(t, "consul", first.Owner)
	assert.Equal(t, core.StatusHealthy, first.State.Status())
	var in core.Instance
	_, err = core.DecodeBody(first.Body, &in)
	require.NoError(t, err)
	assert.Equal(t, "10.7.7.7", in.Host)
	assert.Equal(t, 80, in.Port)
	assert.Equal(t, 7, in.Weight)
	assert.Equal(t, []string{"v2"}, in.Tags.Strings(), "what is no tag of Prism's is left out")
	team, _ := in.Metadata.Get("team")
	assert.Equal(t, "shop", team)
	assert.Len(t, listed(t, b), 1)
	assert.Len(t, listed(t, b, "web"), 1)
	assert.Empty(t, listed(t, b, "api"))
	assert.Empty(t, listed(t, opened(t, consul.Options{URL: store.URL()})), "without import")

	found, err := b.Get(ctx, []core.Key{key})
	require.NoError(t, err)
	require.NotNil(t, found[0].Record)
	for _, m := range []ports.Mutation{
		{SetState: &ports.SetState{Key: key, Generation: first.Generation, Observed: &ports.ObservedState{Observed: core.ObservedUnhealthy}}},
		{Delete: &ports.Delete{Key: key, Generation: first.Generation, Cause: core.CauseOperator}},
	} {
		results, err := b.Apply(ctx, []ports.Mutation{m})
		require.NoError(t, err)
		require.ErrorIs(t, results[0].Err, ports.ErrUnsupported)
	}

	require.NoError(t, c.Agent().UpdateTTL("web-alive", "down", api.HealthCritical))
	second := next(ctx, t, w, change).Record
	assert.Equal(t, core.StatusUnhealthy, second.State.Status())
	assert.Greater(t, second.Revision.N, first.Revision.N)

	// Prism's own record wins, and what was hidden comes back after it.
	taken := newRecord("web", "web-1", "s-1")
	results, err := b.Apply(ctx, []ports.Mutation{{Put: &ports.Put{Record: taken}}})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, ports.ErrConflict)
	require.NotNil(t, results[0].Record, "what stands in the way is shown")
	taken.Generation = results[0].Record.Generation.Next()
	own := apply(t, b, ports.Mutation{Put: &ports.Put{Record: taken, Replaces: results[0].Record.Generation, IfRevision: results[0].Record.Revision}})
	third := next(ctx, t, w, change).Record
	assert.Equal(t, own.Revision, third.Revision)
	assert.Equal(t, "test", third.Owner)
	assert.Equal(t, "test", listed(t, b)[key].Owner)
	apply(t, b, ports.Mutation{Delete: &ports.Delete{Key: key, Generation: own.Generation, Cause: core.CauseOperator}})
	gone := next(ctx, t, w, change)
	require.Equal(t, ports.WatchDelete, gone.Kind)
	back := next(ctx, t, w, change).Record
	assert.Equal(t, "consul", back.Owner)
	assert.Greater(t, back.Revision.N, gone.Tombstone.Revision.N)

	require.NoError(t, c.Agent().ServiceDeregister("web-1"))
	last := next(ctx, t, w, change)
	require.Equal(t, ports.WatchDelete, last.Kind)
	assert.Equal(t, core.CauseDeregistered, last.Tombstone.Cause)
	assert.Greater(t, last.Tombstone.Revision.N, back.Revision.N)
	assert.Empty(t, listed(t, b))
}

// An id of Consul's is unique on its node alone.
func TestImportOfOneIDOnTwoNodes(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	for _, node := range []string{"left", "right"} {
		_, err := c.Catalog().Register(&api.CatalogRegistration{
			Node: node, Address: "10.0.0.1", Service: &api.AgentService{ID: "db", Service: "db", Port: 5432},
			Check: &api.AgentCheck{CheckID: "m", Node: node, Status: api.HealthWarning, ServiceID: "db", Name: "disk"},
		}, nil)
		require.NoError(t, err)
	}
	all := listed(t, opened(t, consul.Options{URL: store.URL(), Import: true}))
	require.Len(t, all, 2)
	for _, id := range []string{"left.db", "right.db"} {
		r := all[core.Key{Service: "db", ID: id}]
		require.NotNil(t, r, id)
		assert.Equal(t, core.StatusHealthy, r.State.Status(), "Consul gives out what is warning")
		assert.Equal(t, "disk is warning", r.State.Reason)
	}
}

func TestImportNeedsToRead(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Auth: stores.Token, Fast: true})
	c, err := client(store)
	require.NoError(t, err)
	register(t, c, &api.AgentServiceRegistration{ID: "web-1", Name: "web", Address: "10.7.7.7", Port: 80})
	token, err := store.ConsulToken(t.Context(), `key_prefix "prism/" { policy = "write" } node_prefix "prism-prism-" { policy = "write" }`)
	require.NoError(t, err)
	o := consul.Options{URL: store.URL(), Token: token, Import: true}
	refused(t, o, ports.ErrPermission, `service_prefix "" { policy = "read" }`)
	o.Token, err = store.ConsulToken(t.Context(), documented+` node_prefix "" { policy = "read" }`)
	require.NoError(t, err)
	assert.Len(t, listed(t, opened(t, o)), 1)
}
