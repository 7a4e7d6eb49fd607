package consul_test

// sweeper_test.go: several processes on one namespace, of which some die.

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/consul"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// limit is what anything may take here on a machine that is busy.
const limit = 30 * time.Second

// follow watches until something that is asked for has come.
func follow(t *testing.T, b ports.Backend, req ports.WatchRequest, so func(ev ports.WatchEvent) bool) ports.WatchEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := b.Watch(ctx, req)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	return next(ctx, t, w, so)
}

func next(ctx context.Context, t *testing.T, w ports.Watcher, so func(ev ports.WatchEvent) bool) ports.WatchEvent {
	t.Helper()
	for {
		ev, err := w.Next(ctx)
		require.NoError(t, err)
		if so(ev) {
			return ev
		}
	}
}

// holders are the ids of the processes that hold seats, "" for none.
func holders(t *testing.T, c *api.Client, namespace string) [3]string {
	t.Helper()
	var of [3]string
	for n := range of {
		pair, _, err := c.KV().Get(fmt.Sprintf("%s/seats/%d", namespace, n), &api.QueryOptions{RequireConsistent: true})
		require.NoError(t, err)
		if pair != nil {
			_, err := fmt.Sscanf(string(pair.Value), `{"v":1,"holder":%q`, &of[n])
			require.NoError(t, err)
		}
	}
	return of
}

// eventually waits for a state that nothing announces.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	require.Eventually(t, so, limit, 20*time.Millisecond, what)
}

func TestTheDeathOfASweeperDelaysNothing(t *testing.T) {
	store := stores.ForTest(t, stores.Consul, stores.Options{})
	c, err := client(store)
	require.NoError(t, err)
	harness := ways.Launched(t.TempDir(), binary, "consul", options(store))
	first, err := harness.Open(t.Context(), "prism")
	require.NoError(t, err)
	defer func() { require.NoError(t, first.Close()) }()
	eventually(t, "the first process takes seat 0", func() bool { return holders(t, c, "prism")[0] != "" })
	sweeper := holders(t, c, "prism")[0]
	second := opened(t, consul.Options{URL: store.URL()})
	eventually(t, "the second takes seat 1", func() bool { return holders(t, c, "prism")[1] != "" })
	standby := holders(t, c, "prism")[1]

	const ttl = 3 * time.Second
	session(t, second, "s-1", ttl)
	rec := apply(t, second, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}})
	renewed := time.Now()
	res, err := second.RenewSessions(t.Context(), []ports.SessionID{"s-1"})
	require.NoError(t, err)
	require.False(t, res[0].Gone)

	mortal, ok := first.(conformance.Mortal)
	require.True(t, ok)
	require.NoError(t, mortal.Kill())
	gone := follow(t, second, ports.WatchRequest{Follow: true}, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchDelete })
	took := time.Since(renewed)
	assert.GreaterOrEqual(t, took, ttl, "never early")
	assert.Less(t, took, ttl+consul.Info().Limits.MaxExpiryDelay+5*time.Second)
	t.Logf("%s after its TTL, ended by the standby", (took - ttl).Round(time.Millisecond))
	assert.Equal(t, rec.Key, gone.Tombstone.Key)
	assert.Equal(t, core.CauseExpired, gone.Tombstone.Cause)
	eventually(t, "the standby moves up to seat 0", func() bool { return holders(t, c, "prism")[0] == standby })
	assert.NotEqual(t, sweeper, standby)
}

// Close frees a seat at once, and a process that finds no seat takes one that goes stale.
func TestSeatsAreThree(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	var backends []*consul.Backend
	for n := range 4 {
		b, err := consul.Open(t.Context(), consul.Options{URL: store.URL()})
		require.NoError(t, err)
		backends = append(backends, b)
		if n < 3 {
			eventually(t, "a seat is taken", func() bool { return holders(t, c, "prism")[n] != "" })
		}
	}
	all := holders(t, c, "prism")
	require.NoError(t, backends[0].Close())
	eventually(t, "everybody moves up and the fourth comes in", func() bool {
		now := holders(t, c, "prism")
		return now[0] != "" && now[0] != all[0] && now[1] != "" && now[2] != ""
	})
	for _, b := range backends[1:] {
		require.NoError(t, b.Close())
	}
	assert.Equal(t, [3]string{}, holders(t, c, "prism"), "Close leaves no seat behind")
}

// Whoever takes long to remove records shows that somebody is at it, before others would help.
func TestALongEndShowsItsProgress(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	var slow atomic.Bool
	front := front(t, store, func(_ http.ResponseWriter, _ *http.Request, forward func()) {
		if slow.Load() {
			<-time.After(200 * time.Millisecond)
		}
		forward()
	})
	b := opened(t, consul.Options{URL: front.URL})
	session(t, b, "s-1", time.Hour)
	const records = 320
	for from := range records / 64 {
		var puts []ports.Mutation
		for i := range 64 {
			puts = append(puts, ports.Mutation{Put: &ports.Put{Record: newRecord("api", fmt.Sprintf("api-%d-%d", from, i), "s-1")}})
		}
		results, err := b.Apply(t.Context(), puts)
		require.NoError(t, err)
		for _, res := range results {
			require.NoError(t, res.Err)
		}
	}
	slow.Store(true)
	closed := make(chan error, 1)
	go func() { closed <- b.CloseSession(t.Context(), "s-1") }()
	index, began := uint64(0), time.Time{}
	var moves []uint64
	for {
		pair, meta, err := c.KV().Get("prism/sessions/closing/s-1", &api.QueryOptions{WaitIndex: index, WaitTime: limit, RequireConsistent: true})
		require.NoError(t, err)
		if index = meta.LastIndex; pair == nil && began.IsZero() {
			continue // It has not begun.
		}
		if pair == nil {
			break
		}
		if began.IsZero() {
			began = time.Now()
		}
		moves = append(moves, pair.ModifyIndex)
	}
	took := time.Since(began)
	require.NoError(t, <-closed)
	require.Greater(t, took, 3*time.Second, "others would have helped")
	assert.GreaterOrEqual(t, len(moves)-1, int(took/(3*time.Second)), "moves in %s", took)
	t.Logf("%d moves in %s", len(moves)-1, took)
}

// A closer that dies between its steps leaves a note; a sweeper goes on from there.
func TestAHalfClosedSessionIsClosed(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Hour)
	rec := apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}})
	ok, _, _, err := c.Txn().Txn(api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVDelete, Key: "prism/sessions/open/s-1"}},
		{KV: &api.KVTxnOp{Verb: api.KVSet, Key: "prism/sessions/closing/s-1", Value: []byte(`{"v":1,"session":"s-1","cause":"deregistered"}`)}},
	}, nil)
	require.NoError(t, err)
	require.True(t, ok)
	results, err := b.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{Record: newRecord("api", "api-2", "s-1")}}})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, ports.ErrSessionGone)
	eventually(t, "the session is ended", func() bool {
		found, err := b.Get(t.Context(), []core.Key{rec.Key})
		require.NoError(t, err)
		return found[0].Tombstone != nil && found[0].Tombstone.Cause == core.CauseDeregistered
	})
	_, err = b.OpenSession(t.Context(), ports.SessionSpec{ID: "s-1", TTL: time.Minute})
	require.ErrorIs(t, err, ports.ErrSessionGone)
}

// A renewal wakes no watcher, and what is idle asks once a second.
func TestRenewalsWakeNoWatcher(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	var reads atomic.Int64
	proxy := front(t, store, func(_ http.ResponseWriter, r *http.Request, forward func()) {
		if r.URL.Path == "/v1/kv/prism/latest" {
			reads.Add(1)
		}
		forward()
	})
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	watching := opened(t, consul.Options{URL: proxy.URL})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := watching.Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSynced })
	before, bookmarks := reads.Load(), int64(0)
	for range 3 {
		for range 20 {
			res, err := b.RenewSessions(t.Context(), []ports.SessionID{"s-1"})
			require.NoError(t, err)
			require.False(t, res[0].Gone)
		}
		ev := next(ctx, t, w, func(ports.WatchEvent) bool { return true })
		require.Equal(t, ports.WatchBookmark, ev.Kind)
		bookmarks++
	}
	assert.LessOrEqual(t, reads.Load()-before, bookmarks+1)
}

// What the layout rests on: deleting what is missing succeeds, an identical value moves no
// index, and 129 operations are too many.
func TestWhatConsulDoes(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	ok, _, err := c.KV().DeleteCAS(&api.KVPair{Key: "prism/missing", ModifyIndex: 7}, nil)
	require.NoError(t, err)
	require.True(t, ok, "delete-cas of what is missing answers true")
	ok, _, _, err = c.Txn().Txn(api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCheckIndex, Key: "prism/missing", Index: 7}}}, nil)
	require.NoError(t, err)
	require.False(t, ok)
	_, err = c.KV().Put(&api.KVPair{Key: "other/same", Value: []byte("v")}, nil)
	require.NoError(t, err)
	first, _, err := c.KV().Get("other/same", nil)
	require.NoError(t, err)
	_, err = c.KV().Put(&api.KVPair{Key: "other/same", Value: []byte("v")}, nil)
	require.NoError(t, err)
	again, _, err := c.KV().Get("other/same", nil)
	require.NoError(t, err)
	require.Equal(t, first.ModifyIndex, again.ModifyIndex, "an identical value moves no index: hence the counters")
	large := make(api.TxnOps, 129)
	for i := range large {
		large[i] = &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: fmt.Sprintf("prism/%d", i)}}
	}
	_, _, _, err = c.Txn().Txn(large, nil)
	require.ErrorContains(t, err, "too many operations")
}
