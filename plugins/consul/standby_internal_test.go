package consul

// standby_internal_test.go: what a standby does while the seat before it is a dead process's.

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestAStandbyDoesNotWaitForASeatToGoStale(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	patient := sweepTimes
	patient.stale = time.Minute
	first, err := open(t.Context(), Options{URL: store.URL(), Namespace: "other"}, patient) // For its client alone.
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, first.Close()) })
	dead := &api.KVPair{Key: "prism/seats/0", Value: []byte(`{"v":1,"holder":"dead","beats":7}`)}
	_, err = first.client.KV().Put(dead, nil)
	require.NoError(t, err)

	b, err := open(t.Context(), Options{URL: store.URL()}, patient)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	const ttl = 1500 * time.Millisecond
	began := time.Now()
	_, err = b.OpenSession(t.Context(), ports.SessionSpec{ID: "s-1", TTL: ttl})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		res, err := b.read(t.Context(), b.keys.ended("s-1"))
		require.NoError(t, err)
		return res[0].ModifyIndex != 0
	}, patient.stale/2, 10*time.Millisecond)
	took := time.Since(began)
	assert.GreaterOrEqual(t, took, ttl)
	t.Logf("%s after its TTL", (took - ttl).Round(time.Millisecond))
	pairs, err := b.read(t.Context(), b.keys.seat(0), b.keys.seat(1), b.keys.open("s-1"))
	require.NoError(t, err)
	assert.Equal(t, string(dead.Value), string(pairs[0].Value))
	assert.NotZero(t, pairs[1].ModifyIndex)
	assert.Zero(t, pairs[2].ModifyIndex)
}

// A sweeper that has not seen a list for a while ends nothing: the renewals may be on their way.
func TestASweeperThatSeesNothingEndsNothing(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := &sweeper{times: sweepTimes, seats: &seats{held: 0}, deadlines: newDeadlines(), places: make(chan struct{}, atOnce)}
	s.deadlines.observe(now, []observed{{id: "a", index: 1, ttl: time.Second}}, true)
	s.lastLook = now
	assert.Equal(t, time.Second, s.untilDue(now))
	assert.Zero(t, s.untilDue(now.Add(2*time.Second)))
	late := now.Add(sweepTimes.gap)
	assert.Equal(t, sweepTimes.look, s.untilDue(late))
	s.act(t.Context(), late)
	assert.Len(t, s.deadlines.due(late, 0), 1, "it is still to be dealt with")
	assert.Empty(t, s.places)
	for range atOnce {
		s.places <- struct{}{}
	}
	assert.Equal(t, time.Hour, s.untilDue(now.Add(2*time.Second)), "while all hands are busy nobody spins")
	s.seats.held = -1
	assert.Equal(t, time.Hour, s.untilDue(now), "who has no seat ends nothing")
}
