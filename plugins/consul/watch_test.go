package consul_test

// watch_test.go: what a change costs a watcher, and that none is missed.

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/plugins/consul"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// A record that is written alone is one read, however many others its service has.
func TestAChangeCostsOneRead(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	var looks, lists atomic.Int64
	proxy := front(t, store, func(_ http.ResponseWriter, r *http.Request, forward func()) {
		switch {
		case r.URL.Path == "/v1/txn" && strings.Contains(content(t, r), "get-tree"):
			looks.Add(1)
		case strings.HasPrefix(r.URL.Path, "/v1/kv/prism/records/"):
			lists.Add(1)
		}
		forward()
	})
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	var muts []ports.Mutation
	for i := range 40 {
		muts = append(muts, ports.Mutation{Put: &ports.Put{Record: newRecord("api", fmt.Sprintf("old-%d", i), "s-1")}})
	}
	_, err := b.Apply(t.Context(), muts)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := opened(t, consul.Options{URL: proxy.URL}).Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSynced })
	looked, listed := looks.Load(), lists.Load()
	for i := range 5 {
		rec := apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", fmt.Sprintf("new-%d", i), "s-1")}})
		put := next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchPut })
		assert.Equal(t, rec.Revision, put.Record.Revision)
		next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchBookmark })
	}
	assert.Equal(t, int64(5), looks.Load()-looked)
	assert.Zero(t, lists.Load()-listed)
}

// A burst touches all buckets, and is read for all of them together.
func TestABurstCostsFewReads(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	var held atomic.Bool
	var reads atomic.Int64
	release := make(chan struct{})
	proxy := front(t, store, func(_ http.ResponseWriter, r *http.Request, forward func()) {
		if r.URL.Path == "/v1/txn" && !beats(content(t, r)) {
			reads.Add(1)
		}
		if held.Load() {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		forward()
	})
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := opened(t, consul.Options{URL: proxy.URL}).Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	bookmark := func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchBookmark }
	next(ctx, t, w, bookmark)

	held.Store(true) // what asks now waits until all is written
	var muts []ports.Mutation
	for i := range 250 {
		muts = append(muts, ports.Mutation{Put: &ports.Put{Record: newRecord("api", fmt.Sprint("api-", i), "s-1")}})
	}
	results, err := b.Apply(ctx, muts)
	require.NoError(t, err)
	last := results[0].Record.Revision
	for _, res := range results {
		require.NoError(t, res.Err)
		if res.Record.Revision.After(last) {
			last = res.Record.Revision
		}
	}
	before := reads.Load()
	held.Store(false)
	close(release)
	told := 0
	next(ctx, t, w, func(ev ports.WatchEvent) bool {
		if ev.Kind == ports.WatchPut {
			told++
		}
		return ev.Kind == ports.WatchBookmark && ev.Cursor == last
	})
	assert.Equal(t, 250, told)
	assert.LessOrEqual(t, reads.Load()-before, int64(10), "of what moved, and of 64 records at a time")
}

// A small record comes with what the watch waits for: it is told before anything is read. Large
// ones, and what is in a transaction with them, are read.
func TestSmallRecordsComeWithTheWakeUp(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	var held atomic.Bool
	release := make(chan struct{})
	proxy := front(t, store, func(_ http.ResponseWriter, r *http.Request, forward func()) {
		if r.URL.Path == "/v1/txn" && held.Load() && strings.Contains(content(t, r), "get-tree") {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		forward()
	})
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := opened(t, consul.Options{URL: proxy.URL}).Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSynced })
	put := func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchPut }

	held.Store(true)
	small := newRecord("api", "small", "s-1")
	small.Body = []byte(`{"v":1, "note":"<&> \u00e9 é"}`)
	rec := apply(t, b, ports.Mutation{Put: &ports.Put{Record: small}})
	got := next(ctx, t, w, put).Record
	assert.Equal(t, rec.Revision, got.Revision)
	assert.Equal(t, string(small.Body), string(got.Body), "byte for byte")
	held.Store(false)
	close(release)
	assert.Equal(t, rec.Revision, next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchBookmark }).Cursor)

	large := newRecord("api", "large", "s-1")
	large.Body = []byte(`{"v":1,"note":"` + strings.Repeat("x", 4<<10) + `"}`)
	rec = apply(t, b, ports.Mutation{Put: &ports.Put{Record: large}})
	got = next(ctx, t, w, put).Record
	assert.Equal(t, rec.Revision, got.Revision)
	assert.Equal(t, string(large.Body), string(got.Body))
}

// The latest write names a few records; those of one transaction that it does not name, and those
// of transactions before it, are found all the same.
func TestWhatTheLatestWriteDoesNotName(t *testing.T) {
	t.Parallel()
	store, _ := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := opened(t, consul.Options{URL: store.URL()}).Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	other, err := opened(t, consul.Options{URL: store.URL()}).Watch(ctx, ports.WatchRequest{Follow: true, Services: []string{"web"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	var muts []ports.Mutation
	left, ofWeb := make(map[string]bool), make(map[string]bool)
	for i := range 100 {
		rec := newRecord([]string{"api", "web"}[i%2], fmt.Sprintf("a-%d", i), "s-1")
		left[rec.Key.String()] = true
		if rec.Key.Service == "web" {
			ofWeb[rec.Key.String()] = true
		}
		muts = append(muts, ports.Mutation{Put: &ports.Put{Record: rec}})
	}
	results, err := b.Apply(t.Context(), muts)
	require.NoError(t, err)
	for _, res := range results {
		require.NoError(t, res.Err)
	}
	for len(left) > 0 {
		delete(left, next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchPut }).Record.Key.String())
	}
	for len(ofWeb) > 0 {
		put := next(ctx, t, other, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchPut })
		require.Equal(t, "web", put.Record.Key.Service)
		delete(ofWeb, put.Record.Key.String())
	}
}

// A watch goes on, from a snapshot, when what it waits for is removed.
func TestTheLatestWriteIsRemoved(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Minute)
	rec := apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "api-1", "s-1")}})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := b.Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSynced })
	_, err = c.KV().Delete("prism/latest", (&api.WriteOptions{}).WithContext(ctx))
	require.NoError(t, err)
	next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchReset })
	again := next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchPut })
	assert.Equal(t, rec.Generation, again.Record.Generation)
	apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "api-2", "s-1")}})
	next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchPut && ev.Record.Key.ID == "api-2" })
}

// A store that says nothing ends a watch, with what to look at.
func TestAWatchOfASilentStore(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true, Proxied: true})
	b := opened(t, consul.Options{URL: store.URL()})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := b.Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSynced })
	require.NoError(t, store.Sever())
	for err == nil {
		_, err = w.Next(ctx)
	}
	backendtest.Said(t, err, ports.ErrUnavailable, "consul at "+store.URL(), "look at backend_config.url")
	require.NoError(t, store.Mend())
}
