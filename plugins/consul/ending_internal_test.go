package consul

// ending_internal_test.go: the end of a session whose records this version cannot read.

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestWhatCannotBeReadGoesWithItsSession(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	ctx := t.Context()
	b, err := Open(ctx, Options{URL: store.URL()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	for _, id := range []ports.SessionID{"s-1", "s-2"} {
		_, err = b.OpenSession(ctx, ports.SessionSpec{ID: id, TTL: time.Hour})
		require.NoError(t, err)
	}
	put := func(id string, session ports.SessionID) *ports.Record {
		rec := ports.Record{
			Key: core.Key{Service: "api", ID: id}, Generation: core.Generation{}.Next(), Session: session,
			Body: []byte(`{"v":1,"host":"10.0.0.1","port":1,"weight":1}`), State: core.State{Declared: core.DeclaredUp},
		}
		res, err := b.Apply(ctx, []ports.Mutation{{Put: &ports.Put{Record: rec}}})
		require.NoError(t, err)
		require.NoError(t, res[0].Err)
		return res[0].Record
	}
	write := func(key string, value []byte) {
		_, err := b.client.KV().Put(&api.KVPair{Key: key, Value: value}, nil)
		require.NoError(t, err)
	}
	newer := func(r *ports.Record) {
		pair, _, err := b.client.KV().Get(b.keys.record(r.Key), nil)
		require.NoError(t, err)
		var document map[string]any
		require.NoError(t, json.Unmarshal(pair.Value, &document))
		document["v"] = 999
		value, err := json.Marshal(document)
		require.NoError(t, err)
		write(pair.Key, value)
		write(b.keys.move(r.Key), []byte(newID()))
	}
	above, broken, moved := put("above", "s-1"), put("broken", "s-1"), put("moved", "s-2")
	newer(above)
	newer(moved)
	write(b.keys.record(broken.Key), []byte("\x00 no record"))
	write(b.keys.move(broken.Key), []byte(newID()))
	write(b.keys.held("s-1", moved.Key), []byte("left over"))

	w, err := b.Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	skipped, gone := make(map[core.Key]bool), make(map[core.Key]*ports.Tombstone)
	until := func(so func() bool) {
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		for !so() {
			ev, err := w.Next(bounded)
			require.NoError(t, err)
			switch ev.Kind {
			case ports.WatchSkipped:
				skipped[ev.Key] = true
			case ports.WatchDelete:
				gone[ev.Tombstone.Key] = ev.Tombstone
			case ports.WatchReset, ports.WatchPut, ports.WatchSynced, ports.WatchBookmark:
			}
		}
	}
	until(func() bool { return len(skipped) == 3 })
	require.NoError(t, b.CloseSession(ctx, "s-1"))
	pairs, err := b.read(ctx, b.keys.record(above.Key), b.keys.record(broken.Key), b.keys.record(moved.Key))
	require.NoError(t, err)
	assert.Contains(t, string(pairs[0].Value), `"cause":"deregistered"`)
	assert.Zero(t, pairs[1].ModifyIndex, "nothing says of which generation it was")
	assert.Contains(t, string(pairs[2].Value), `"v":999`, "it is another session's")
	held, err := b.names(ctx, b.keys.heldBy("s-1"), "")
	require.NoError(t, err)
	assert.Empty(t, held)
	entries, _, err := b.client.Health().Service("api", "", false, nil)
	require.NoError(t, err)
	for _, e := range entries {
		assert.NotEqual(t, b.mirror.serviceID(above.Key), e.Service.ID, "nor does the catalog show it")
	}
	until(func() bool { return len(gone) == 2 })
	require.NotNil(t, gone[above.Key])
	assert.Equal(t, above.Generation, gone[above.Key].Generation)
	require.NotNil(t, gone[broken.Key])
	assert.Equal(t, core.CauseUnknown, gone[broken.Key].Cause)
}

func TestOfManyThatRanOutThoseThatMovedStay(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	ctx := t.Context()
	b, err := Open(ctx, Options{URL: store.URL()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	ids := make([]ports.SessionID, 60) // more than one transaction holds
	for i := range ids {
		ids[i] = ports.SessionID(fmt.Sprintf("s-%02d", i))
		_, err = b.OpenSession(ctx, ports.SessionSpec{ID: ids[i], TTL: time.Hour})
		require.NoError(t, err)
	}
	due := make([]observed, len(ids))
	for i, id := range ids {
		due[i] = observed{id: id, index: b.recall(id).index}
	}
	renewed := []ports.SessionID{"s-03", "s-17", "s-55"}
	_, err = b.RenewSessions(ctx, renewed)
	require.NoError(t, err)

	begun, err := b.beginEnds(ctx, due, core.CauseExpired)
	require.NoError(t, err)
	assert.Len(t, begun, len(ids)-len(renewed))
	results, err := b.RenewSessions(ctx, ids)
	require.NoError(t, err)
	for _, res := range results {
		assert.Equal(t, !slices.Contains(renewed, res.ID), res.Gone, res.ID)
	}
}
