package consul

// refused_internal_test.go: a process that may write some services, and is to remove what others
// have left.

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestWhatMayNotBeRemovedHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Auth: stores.Token, Fast: true})
	ctx, quiet := t.Context(), sweepTimes
	quiet.beat, quiet.look, quiet.tick = time.Hour, time.Hour, time.Hour // The test ends and tidies.
	as := func(services string) *Backend {
		token, err := store.ConsulToken(ctx, `key_prefix "prism/" { policy = "write" } node_prefix "prism-prism-" { policy = "write" } `+services)
		require.NoError(t, err)
		b, err := open(ctx, Options{URL: store.URL(), Token: token}, quiet)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, b.Close()) })
		return b
	}
	owner, other := as(`service_prefix "" { policy = "write" }`), as(`service "web" { policy = "write" }`)
	put := func(session ports.SessionID, service string, n int) (keys []core.Key) {
		_, err := owner.OpenSession(ctx, ports.SessionSpec{ID: session, TTL: time.Hour})
		require.NoError(t, err)
		var puts []ports.Mutation
		for i := range n {
			rec := ports.Record{
				Key: core.Key{Service: service, ID: fmt.Sprintf("%s-%d", service, i)}, Generation: core.Generation{}.Next(), Session: session,
				Body: []byte(`{"v":1,"host":"10.0.0.1","port":1,"weight":1}`), State: core.State{Declared: core.DeclaredUp},
			}
			keys, puts = append(keys, rec.Key), append(puts, ports.Mutation{Put: &ports.Put{Record: rec}})
		}
		results, err := owner.Apply(ctx, puts)
		require.NoError(t, err)
		for _, res := range results {
			require.NoError(t, res.Err)
		}
		return keys
	}
	theirs, ours := put("s-theirs", "api", removedAtOnce+1), put("s-ours", "web", 1)
	stands := func(keys []core.Key) (n int) {
		found, err := owner.Get(ctx, keys)
		require.NoError(t, err)
		for _, f := range found {
			if f.Record != nil {
				n++
			}
		}
		return n
	}
	var due []observed
	for _, id := range []ports.SessionID{"s-theirs", "s-ours"} {
		due = append(due, observed{id: id, index: owner.recall(id).index})
	}
	ends, err := other.beginEnds(ctx, due, core.CauseExpired)
	require.NoError(t, err)
	err = other.finishEnds(ctx, ends)
	require.ErrorIs(t, err, ports.ErrPermission)
	require.ErrorContains(t, err, `service:write on "api"`)
	assert.Len(t, theirs, stands(theirs))
	assert.Zero(t, stands(ours))
	pairs, err := owner.read(ctx, owner.keys.ended("s-theirs"), owner.keys.closing("s-theirs"), owner.keys.ended("s-ours"), owner.keys.closing("s-ours"))
	require.NoError(t, err)
	assert.Zero(t, pairs[0].ModifyIndex, "a session whose records stand has not ended")
	assert.NotZero(t, pairs[1].ModifyIndex, "who may remove them still sees it")
	assert.NotZero(t, pairs[2].ModifyIndex)
	assert.Zero(t, pairs[3].ModifyIndex)

	// The catalog has lost one that may not be shown again, and what is over is forgotten all the same.
	_, err = owner.client.Catalog().Deregister(&api.CatalogDeregistration{Node: owner.mirror.node(theirs[0]), ServiceID: owner.mirror.serviceID(theirs[0])}, nil)
	require.NoError(t, err)
	fast := newSweeper(other, quiet)
	fast.times.tick = 12 * time.Hour // Three ticks are more than an hour.
	for range 2 {
		require.ErrorIs(t, fast.tidy(ctx), ports.ErrPermission)
	}
	require.ErrorIs(t, fast.tidy(ctx), ports.ErrPermission)
	found, err := owner.Get(ctx, ours)
	require.NoError(t, err)
	assert.Nil(t, found[0].Tombstone)

	require.NoError(t, owner.finishEnds(ctx, ends))
	assert.Zero(t, stands(theirs))
}
