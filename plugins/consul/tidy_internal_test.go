package consul

// tidy_internal_test.go: what is forgotten, with a clock that ticks faster.

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestWhatIsOverIsForgotten(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	quiet := sweepTimes
	quiet.tick = time.Hour // The test ticks.
	b, err := open(t.Context(), Options{URL: store.URL()}, quiet)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	ctx := t.Context()
	for _, id := range []ports.SessionID{"s-1", "s-2"} {
		_, err = b.OpenSession(ctx, ports.SessionSpec{ID: id, TTL: time.Hour})
		require.NoError(t, err)
	}
	put := func(service, id string, session ports.SessionID) core.Key {
		rec := ports.Record{
			Key: core.Key{Service: service, ID: id}, Generation: core.Generation{}.Next(), Session: session,
			Body: []byte(`{"v":1,"host":"10.0.0.1","port":1,"weight":1}`), State: core.State{Declared: core.DeclaredUp},
		}
		res, err := b.Apply(ctx, []ports.Mutation{{Put: &ports.Put{Record: rec}}})
		require.NoError(t, err)
		require.NoError(t, res[0].Err)
		return rec.Key
	}
	stays, goes := put("api", "stays", "s-2"), put("api", "goes", "s-1")
	put("alone", "goes", "s-1")
	require.NoError(t, b.CloseSession(ctx, "s-1"))

	// The catalog has lost one instance, and has one that is none.
	_, err = b.client.Catalog().Deregister(&api.CatalogDeregistration{Node: b.mirror.node(stays), ServiceID: b.mirror.serviceID(stays)}, nil)
	require.NoError(t, err)
	_, err = b.client.Catalog().Register(&api.CatalogRegistration{
		Node: b.mirror.node(goes), Address: "127.0.0.1", SkipNodeUpdate: true, Service: &api.AgentService{ID: b.mirror.serviceID(goes), Service: "api"},
	}, nil)
	require.NoError(t, err)

	fast := newSweeper(b, quiet)
	fast.times.tick = 12 * time.Hour // Three ticks are a day.
	tombstone := func() *ports.Tombstone {
		found, err := b.Get(ctx, []core.Key{goes})
		require.NoError(t, err)
		return found[0].Tombstone
	}
	names := func() string {
		names, err := b.names(ctx, b.keys.root(), "")
		require.NoError(t, err)
		return strings.Join(names, "\n")
	}
	for range 2 { // The first tick has no tick before it, and one may come early.
		require.NoError(t, fast.tidy(ctx))
		require.NotNil(t, tombstone())
	}
	require.NoError(t, fast.tidy(ctx))
	assert.Nil(t, tombstone())
	assert.Contains(t, names(), "prism/ended/s-1")
	require.NoError(t, fast.tidy(ctx))
	assert.NotContains(t, names(), "prism/ended/s-1")
	assert.NotContains(t, names(), "/alone")
	assert.Contains(t, names(), "prism/records/api/stays")
	assert.Contains(t, names(), b.keys.move(stays))

	entries, _, err := b.client.Health().Service("api", "", false, nil)
	require.NoError(t, err)
	require.Len(t, entries, 1, "the catalog was put right")
	assert.Equal(t, b.mirror.serviceID(stays), entries[0].Service.ID)
	found, err := b.Get(ctx, []core.Key{stays})
	require.NoError(t, err)
	assert.NotNil(t, found[0].Record)
}

// A record that somebody removes by hand is gone for watchers at the next tick.
func TestWhatIsRemovedByHandIsTold(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	b, err := Open(t.Context(), Options{URL: store.URL()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	ctx := t.Context()
	_, err = b.OpenSession(ctx, ports.SessionSpec{ID: "s-1", TTL: time.Hour})
	require.NoError(t, err)
	rec := ports.Record{
		Key: core.Key{Service: "api", ID: "api-1"}, Generation: core.Generation{}.Next(), Session: "s-1",
		Body: []byte(`{"v":1,"host":"10.0.0.1","port":1,"weight":1}`), State: core.State{Declared: core.DeclaredUp},
	}
	_, err = b.Apply(ctx, []ports.Mutation{{Put: &ports.Put{Record: rec}}})
	require.NoError(t, err)
	w, err := b.Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	after := func(kind ports.WatchKind) ports.WatchEvent {
		for {
			ev, err := w.Next(ctx)
			require.NoError(t, err)
			if ev.Kind == kind {
				return ev
			}
		}
	}
	after(ports.WatchSynced)
	_, err = b.client.KV().Delete(b.keys.record(rec.Key), nil)
	require.NoError(t, err)
	require.NoError(t, newSweeper(b, sweepTimes).tidy(ctx))
	gone := after(ports.WatchDelete).Tombstone
	assert.Equal(t, rec.Key, gone.Key)
	assert.Equal(t, core.CauseUnknown, gone.Cause)
	entries, _, err := b.client.Health().Service("api", "", false, nil)
	require.NoError(t, err)
	assert.Empty(t, entries)
}
