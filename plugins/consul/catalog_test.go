package consul_test

// catalog_test.go: Prism's instances as Consul's own UI, DNS and health API show them.

import (
	"context"
	"fmt"
	"net"
	"strings"
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

// server is a Consul that starts fast, and Consul's own client of it.
func server(t *testing.T) (*stores.Cluster, *api.Client) {
	t.Helper()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	c, err := client(store)
	require.NoError(t, err)
	return store, c
}

// apply carries out one mutation, which must succeed.
func apply(t *testing.T, b ports.Backend, m ports.Mutation) *ports.Record {
	t.Helper()
	results, err := b.Apply(t.Context(), []ports.Mutation{m})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	return results[0].Record
}

func session(t *testing.T, b ports.Backend, id ports.SessionID, ttl time.Duration) {
	t.Helper()
	_, err := b.OpenSession(t.Context(), ports.SessionSpec{ID: id, TTL: ttl})
	require.NoError(t, err)
}

func shown(t *testing.T, c *api.Client, service string) []*api.ServiceEntry {
	t.Helper()
	entries, _, err := c.Health().Service(service, "", false, &api.QueryOptions{RequireConsistent: true})
	require.NoError(t, err)
	return entries
}

func TestTheCatalogShowsInstances(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	rec := apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}})

	entries := shown(t, c, "api")
	require.Len(t, entries, 1)
	e := entries[0]
	assert.Equal(t, "10.1.2.3", e.Service.Address)
	assert.Equal(t, 8080, e.Service.Port)
	assert.Equal(t, []string{"blue", "v1"}, e.Service.Tags)
	assert.Equal(t, api.AgentWeights{Passing: 100, Warning: 100}, e.Service.Weights)
	assert.Equal(t, map[string]string{"prism-id": "api-1", "prism-namespace": "prism", "team": "payments", "size": "3"}, e.Service.Meta)
	assert.Equal(t, "true", e.Node.Meta["external-node"], "else an agent would remove what it does not know")
	assert.True(t, strings.HasPrefix(e.Node.Node, "prism-prism-"), e.Node.Node)
	require.Len(t, e.Checks, 1)
	assert.Equal(t, api.HealthPassing, e.Checks[0].Status)

	// For as long as the record stands: Consul's leader removes nodes that have a check of Serf and
	// left, and agents remove services that were critical for too long.
	onNode, _, err := c.Health().Node(e.Node.Node, nil)
	require.NoError(t, err)
	require.Len(t, onNode, 1, "no check of Serf")
	assert.Equal(t, "prism:api:api-1", onNode[0].CheckID)
	assert.Zero(t, onNode[0].Definition.DeregisterCriticalServiceAfterDuration)

	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", store.DNS())
	}}
	_, srv, err := resolver.LookupSRV(t.Context(), "", "", "blue.api.service.consul.")
	require.NoError(t, err)
	require.Len(t, srv, 1)
	assert.Equal(t, uint16(8080), srv[0].Port)
	assert.Equal(t, uint16(100), srv[0].Weight)
	addresses, err := resolver.LookupHost(t.Context(), "api.service.consul.")
	require.NoError(t, err)
	assert.Equal(t, []string{"10.1.2.3"}, addresses)

	declare := func(declared core.Declared) {
		rec = apply(t, b, ports.Mutation{SetState: &ports.SetState{
			Key: rec.Key, Generation: rec.Generation, Declared: &ports.DeclaredState{Declared: declared, Actor: "ops", Reason: "drain"},
		}})
	}
	declare(core.DeclaredMaintenance)
	require.Equal(t, api.HealthCritical, shown(t, c, "api")[0].Checks[0].Status)
	assert.Equal(t, "maintenance: drain", shown(t, c, "api")[0].Checks[0].Output)
	_, err = resolver.LookupHost(t.Context(), "api.service.consul.")
	require.Error(t, err, "DNS leaves out what is in maintenance")
	declare(core.DeclaredUp)
	require.Equal(t, api.HealthPassing, shown(t, c, "api")[0].Checks[0].Status)

	heavy := newRecord("api", "api-1", "s-1")
	heavy.Generation = rec.Generation
	heavy.Body = []byte(`{"v":1,"host":"10.1.2.3","port":8080,"weight":0}`)
	rec = apply(t, b, ports.Mutation{Put: &ports.Put{Record: heavy, Replaces: rec.Generation}})
	e = shown(t, c, "api")[0]
	assert.Equal(t, 1, e.Service.Weights.Passing, "Consul knows no weight 0")
	assert.Equal(t, api.HealthCritical, e.Checks[0].Status)

	apply(t, b, ports.Mutation{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: core.CauseOperator}})
	assert.Empty(t, shown(t, c, "api"))
}

// What the catalog cannot take is left out of it, or left out whole; the record is complete.
func TestTheCatalogIsNoLimit(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	var metadata strings.Builder
	for i := range 80 {
		fmt.Fprintf(&metadata, `"key-%02d":"v",`, i)
	}
	fmt.Fprintf(&metadata, `"long":%q,"consul-own":"v","öäü":"v","last":"v"`, strings.Repeat("x", 513))
	large := newRecord("large", "a", "s-1")
	large.Body = fmt.Appendf(nil, `{"v":1,"host":"h.example","port":1,"weight":65535,"metadata":{%s}}`, metadata.String())
	odd := newRecord("not_for.DNS", "a", "s-1")
	opaque := newRecord("opaque", "a", "s-1")
	opaque.Body = []byte(`"no instance"`)
	for _, rec := range []ports.Record{large, odd, opaque} {
		apply(t, b, ports.Mutation{Put: &ports.Put{Record: rec}})
		found, err := b.Get(t.Context(), []core.Key{rec.Key})
		require.NoError(t, err)
		assert.Equal(t, string(rec.Body), string(found[0].Record.Body))
	}
	entries := shown(t, c, "large")
	require.Len(t, entries, 1)
	assert.Len(t, entries[0].Service.Meta, 64)
	assert.NotContains(t, entries[0].Service.Meta, "long")
	assert.NotContains(t, entries[0].Service.Meta, "consul-own")
	assert.Empty(t, shown(t, c, "not_for.DNS"))
	assert.Empty(t, shown(t, c, "opaque"))

	require.NoError(t, b.CloseSession(t.Context(), "s-1"))
	assert.Empty(t, shown(t, c, "large"), "what goes with its session goes from the catalog")
}

func TestWithoutTheMirror(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	require.NoError(t, use(t.Context(), opened(t, consul.Options{URL: store.URL(), Mirror: new(false)})))
	nodes, _, err := c.Catalog().Nodes(nil)
	require.NoError(t, err)
	assert.Len(t, nodes, 1, "the server's own node alone")
}

// The catalog's part of a node that somebody deleted comes back with the next write.
func TestANodeThatSomebodyDeleted(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	rec := apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}})
	_, err := c.Catalog().Deregister(&api.CatalogDeregistration{Node: shown(t, c, "api")[0].Node.Node}, nil)
	require.NoError(t, err)
	require.Empty(t, shown(t, c, "api"))
	moved := *rec
	moved.Body = []byte(`{"v":1,"host":"10.9.9.9","port":8080,"weight":100}`)
	apply(t, b, ports.Mutation{Put: &ports.Put{Record: moved, Replaces: rec.Generation}})
	require.Len(t, shown(t, c, "api"), 1)
	assert.Equal(t, "10.9.9.9", shown(t, c, "api")[0].Service.Address)
}

// The largest instances that there can be still fit into transactions, likeness and all.
func TestTheLargestInstancesFit(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	var tags, metadata []string
	for i := range core.MaxTags {
		tags = append(tags, fmt.Sprintf("%q", fmt.Sprintf("t%03d", i)+strings.Repeat("x", core.MaxName-4)))
	}
	for i := range 64 {
		metadata = append(metadata, fmt.Sprintf("%q:%q", fmt.Sprintf("k%02d", i)+strings.Repeat("y", 100), strings.Repeat("\"", 450)))
	}
	var muts []ports.Mutation
	for i := range 8 {
		rec := newRecord("large", fmt.Sprintf("a-%d", i), "s-1")
		rec.State.Reason = strings.Repeat("because ", 1000)
		rec.Body = fmt.Appendf(nil, `{"v":1,"host":"h.example","port":1,"weight":1,"tags":[%s],"metadata":{%s}}`, strings.Join(tags, ","), strings.Join(metadata, ","))
		require.Less(t, len(rec.Body), ports.MaxBodyBytes)
		muts = append(muts, ports.Mutation{Put: &ports.Put{Record: rec}})
	}
	results, err := b.Apply(t.Context(), muts)
	require.NoError(t, err)
	for _, res := range results {
		require.NoError(t, res.Err)
	}
	entries := shown(t, c, "large")
	require.Len(t, entries, len(muts))
	assert.Len(t, entries[0].Service.Tags, core.MaxTags)
	assert.Equal(t, entries[0].Service.Tags, entries[0].Checks[0].ServiceTags)
	assert.Less(t, len(entries[0].Checks[0].Output), 2000)
}
