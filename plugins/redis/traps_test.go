package redis_test

// traps_test.go: what Redis and its client do that a backend could trip over.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/redis"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// middleman stands between a backend and its server. It can be told to lose the answer to the
// next write, with the connection, and to lead elsewhere.
type middleman struct {
	listener net.Listener
	target   atomic.Pointer[string]
	lose     atomic.Pointer[func()] // called when the server has answered, instead of passing that on
	serving  sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newMiddleman(t *testing.T, target string) *middleman {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m := &middleman{listener: l}
	m.target.Store(&target)
	m.serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", *m.target.Load())
			if err != nil {
				_ = client.Close() // there is nothing to pass on
				continue
			}
			m.mu.Lock()
			m.conns = append(m.conns, client, server)
			m.mu.Unlock()
			var losing atomic.Bool
			m.serving.Go(func() { m.pass(server, client, &losing, false) })
			m.serving.Go(func() { m.pass(client, server, &losing, true) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		m.cut()
		m.serving.Wait()
	})
	return m
}

func (m *middleman) url() string { return "redis://" + m.listener.Addr().String() }

// cut ends all connections.
func (m *middleman) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		_ = c.Close() // it may have ended by itself
	}
	m.conns = nil
}

func (m *middleman) pass(to, from net.Conn, losing *atomic.Bool, answers bool) {
	defer func() { _, _ = to.Close(), from.Close() }() // the other direction may have been faster
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if answers && losing.Load() {
			if lose := m.lose.Swap(nil); lose != nil {
				(*lose)()
			}
			return
		}
		if !answers && m.lose.Load() != nil && bytes.Contains(buf[:n], []byte(`"write":"`)) {
			losing.Store(true)
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// A write whose answer is lost is sent again, and answered as the first time.
func TestFault19AWriteThatIsSentTwice(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	m := newMiddleman(t, store.Addresses()[0])
	b := open(t, redis.Options{URL: m.url()})
	other := open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, b, "s", time.Hour)
	lost := func(also func()) {
		m.lose.Store(&also)
	}
	nothing := func() {}

	lost(nothing)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	require.Nil(t, m.lose.Load(), "the answer was lost")
	require.Equal(t, rec, backendtest.Get(t, other, "a").Record)
	at, err := b.Position(backendtest.Within(t))
	require.NoError(t, err)
	assert.Equal(t, rec.Revision.N, at, "it was carried out once")

	lost(nothing)
	state, err := b.Apply(backendtest.Within(t), []ports.Mutation{{SetState: &ports.SetState{
		Key: rec.Key, Generation: rec.Generation, Observed: &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 1},
	}}})
	require.NoError(t, err)
	require.NoError(t, state[0].Err)
	assert.Equal(t, rec.Revision.N+1, state[0].Record.Revision.N)

	// Where somebody wrote in between, nobody can tell: it is not done over again.
	lost(func() {
		res, err := other.Apply(context.Background(), []ports.Mutation{{SetState: &ports.SetState{
			Key: rec.Key, Generation: rec.Generation, Declared: &ports.DeclaredState{Declared: core.DeclaredMaintenance, ByOperator: true, Actor: "ops"},
		}}})
		assert.NoError(t, err)
		assert.NoError(t, res[0].Err)
	})
	res := tryPut(t, b, *rec, rec.Generation)
	backendtest.Said(t, res.Err, ports.ErrUnavailable, "redis", "backend_config.url", "outcome is unknown", "read what stands there")
	now := backendtest.Get(t, b, "a").Record
	assert.Equal(t, core.DeclaredMaintenance, now.State.Declared)
	assert.Equal(t, rec.Revision.N+3, now.Revision.N)

	lost(nothing)
	del, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: core.CauseOperator}}})
	require.NoError(t, err)
	require.NoError(t, del[0].Err)
	assert.Equal(t, rec.Revision.N+4, del[0].Record.Revision.N)
	assert.Equal(t, rec.Revision.N+4, backendtest.Get(t, other, "a").Tombstone.Revision.N)
}

// Where the store is in another life when a write is sent again, nobody can tell whether the
// first sending was carried out: it is not done over again.
func TestAWriteThatIsSentTwiceToTwoLives(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	m := newMiddleman(t, store.Addresses()[0])
	b := open(t, redis.Options{URL: m.url()})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	declare := func(to ports.Backend, declared core.Declared, actor string) (*ports.Record, error) {
		res, err := to.Apply(context.Background(), []ports.Mutation{{SetState: &ports.SetState{
			Key: rec.Key, Generation: rec.Generation, Declared: &ports.DeclaredState{Declared: declared, ByOperator: true, Actor: actor},
		}}})
		if err != nil {
			return nil, err
		}
		return res[0].Record, res[0].Err
	}
	also := func() {
		assert.NoError(t, store.Stop(context.Background()))
		assert.NoError(t, store.Start(context.Background()))
		other, err := redis.Open(context.Background(), redis.Options{URL: store.URL()})
		if err == nil {
			_, err = declare(other, core.DeclaredMaintenance, "ops")
			err = errors.Join(err, other.Close())
		}
		assert.NoError(t, err)
	}
	m.lose.Store(&also)
	_, err := declare(b, core.DeclaredUp, "me")
	require.Nil(t, m.lose.Load(), "the answer was lost")
	backendtest.Said(t, err, ports.ErrUnavailable, "redis", "backend_config.url", "outcome is unknown", "read what stands there")
	now := backendtest.Get(t, b, "a").Record
	assert.Equal(t, core.DeclaredMaintenance, now.State.Declared)
	assert.Equal(t, rec.Revision.Epoch, now.Revision.Epoch)
	assert.Equal(t, rec.Revision.N+2, now.Revision.N)
}

// Without INFO a store that lost writes shows only when one more is carried out there.
func TestAWriteThatFindsThatOthersWereLost(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	client := raw(t, store, 0)
	setUser(t, client, "blind", strings.Replace(enough, "+info ", "", 1))
	b := open(t, redis.Options{URL: store.URL(), Username: "blind", Password: "secret-of-blind"})
	backendtest.Session(t, b, "s", time.Hour)
	backendtest.Put(t, b, backendtest.Record("lost", "s"), core.Generation{})
	lost := backendtest.Put(t, b, backendtest.Record("lost-too", "s"), core.Generation{})
	b.StopProofs()
	do(t, client, "HSET", "{prism:prism}:meta", "revision", 0)
	do(t, client, "DEL", "{prism:prism}:log:"+lost.Revision.Epoch)
	rec := backendtest.Record("a", "s")
	backendtest.Said(t, tryPut(t, b, rec, core.Generation{}).Err, ports.ErrUnavailable, "redis", "backend_config.url", "outcome is unknown", "read what stands there")
	now := backendtest.Get(t, b, "a").Record
	require.NotNil(t, now)
	assert.Equal(t, rec.Generation, now.Generation)
	assert.Equal(t, uint64(1), now.Revision.N, "it was carried out once")
}

func TestACursorBeforeTheLogIsReset(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	b := open(t, redis.Options{URL: store.URL(), LogLength: 100})
	backendtest.Session(t, b, "s", time.Hour)
	first := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, first.Revision)
	rec := first
	for range 500 {
		rec = backendtest.Put(t, b, *rec, rec.Generation)
	}
	length, err := raw(t, store, 0).XLen(backendtest.Within(t), "{prism:prism}:log:"+rec.Revision.Epoch).Result()
	require.NoError(t, err)
	assert.Less(t, length, int64(300))
	// The stream that has passed goes on, with every change.
	events := backendtest.Until(t, w, isPut(rec))
	puts := 0
	for _, ev := range events {
		assert.NotEqual(t, ports.WatchReset, ev.Kind)
		if ev.Kind == ports.WatchPut {
			puts++
		}
	}
	assert.Equal(t, 500, puts)
	// A cursor of before gets everything anew, in the same stream; in another process, too.
	for _, h := range []*redis.Backend{b, open(t, redis.Options{URL: store.URL(), LogLength: 100})} {
		near := rec.Revision
		near.N -= 50
		for cursor, reset := range map[core.Revision]bool{first.Revision: h != b, near: false} {
			list, err := h.Watch(backendtest.Within(t), ports.WatchRequest{Cursor: cursor})
			require.NoError(t, err)
			events := backendtest.Until(t, list, backendtest.Is(ports.WatchSynced))
			if reset {
				assert.Equal(t, ports.WatchReset, events[0].Kind)
				assert.Contains(t, events[0].Reason, "log does not reach back")
				require.Len(t, events, 3)
			}
			assert.Equal(t, rec, events[len(events)-2].Record)
			_, err = list.Next(backendtest.Within(t))
			require.ErrorIs(t, err, io.EOF)
		}
	}
}

// Many records come page by page, while others write.
func TestASnapshotWhileOthersWrite(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	b, other := open(t, redis.Options{URL: store.URL()}), open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, b, "s", time.Hour)
	const n = 2000
	recs := make([]*ports.Record, 0, n)
	for from := 0; from < n; from += 200 {
		var muts []ports.Mutation
		for i := from; i < from+200; i++ {
			muts = append(muts, ports.Mutation{Put: &ports.Put{Record: backendtest.Record(fmt.Sprintf("id-%d", i), "s")}})
		}
		res, err := b.Apply(backendtest.Within(t), muts)
		require.NoError(t, err)
		for _, r := range res {
			require.NoError(t, r.Err)
			recs = append(recs, r.Record)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() { // one goes as another comes: there are always n, or one less
		for i := 0; ctx.Err() == nil; i++ {
			old := recs[i%n]
			res, err := other.Apply(context.Background(), []ports.Mutation{{Delete: &ports.Delete{Key: old.Key, Generation: old.Generation, Cause: core.CauseDeregistered}}})
			if !assert.NoError(t, err) || !assert.NoError(t, res[0].Err) {
				return
			}
			next := backendtest.Record(fmt.Sprintf("next-%d", i), "s")
			res, err = other.Apply(context.Background(), []ports.Mutation{{Put: &ports.Put{Record: next}}})
			if !assert.NoError(t, err) || !assert.NoError(t, res[0].Err) {
				return
			}
			recs[i%n] = res[0].Record
		}
	})
	for range 10 {
		list, err := b.Watch(backendtest.Within(t), ports.WatchRequest{})
		require.NoError(t, err)
		events := backendtest.Until(t, list, backendtest.Is(ports.WatchSynced))
		assert.Contains(t, []int{n, n - 1}, len(events)-2)
		for _, ev := range events[1 : len(events)-1] {
			require.Equal(t, ports.WatchPut, ev.Kind)
			require.LessOrEqual(t, ev.Record.Revision.N, backendtest.Last(events).Cursor.N)
		}
	}
	cancel()
	writing.Wait()
}

// However much is due at once, and whoever comes first: nobody sees it.
func TestFault19WhatIsOverdueIsNotSeen(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	b := open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, b, "s", 2*time.Second)
	const n = 450 // more than one script removes
	for from := 0; from < n; from += 150 {
		var muts []ports.Mutation
		for i := from; i < from+150; i++ {
			muts = append(muts, ports.Mutation{Put: &ports.Put{Record: backendtest.Record(fmt.Sprintf("id-%d", i), "s")}})
		}
		res, err := b.Apply(backendtest.Within(t), muts)
		require.NoError(t, err)
		for _, r := range res {
			require.NoError(t, r.Err)
		}
	}
	require.NoError(t, store.Pause())
	over := time.After(2500 * time.Millisecond)
	<-over
	require.NoError(t, store.Resume())
	list, err := b.Watch(backendtest.Within(t), ports.WatchRequest{})
	require.NoError(t, err)
	assert.Len(t, backendtest.Until(t, list, backendtest.Is(ports.WatchSynced)), 2, "a Reset and a Synced")
	assert.Equal(t, core.CauseExpired, backendtest.Get(t, b, "id-0").Tombstone.Cause)
	require.False(t, renewed(t, b, "s"))
}

// A store that was emptied is another one, though it counts from the beginning again.
func TestAFlushedStore(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	b := open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	do(t, raw(t, store, 0), "FLUSHALL")
	backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
	synced := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	assert.Len(t, synced, 1)
	assert.NotEqual(t, rec.Revision.Epoch, backendtest.Last(synced).Cursor.Epoch)
	assert.False(t, renewed(t, b, "s"))
	backendtest.Session(t, b, "s2", time.Hour)
	again := backendtest.Put(t, b, backendtest.Record("a", "s2"), core.Generation{})
	backendtest.Until(t, w, isPut(again))
	// What only the meta key knew is as good as all.
	do(t, raw(t, store, 0), "DEL", "{prism:prism}:meta")
	backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
	assert.Len(t, backendtest.Until(t, w, backendtest.Is(ports.WatchSynced)), 1)
	assert.Nil(t, backendtest.Get(t, b, "a").Record)
}

// A restart with the data is none that anybody sees, and every session has its time again.
func TestARestartKeepsTheEpoch(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	b := open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, b, "s", 3*time.Second)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, rec.Revision)
	for range 2 {
		require.NoError(t, store.Stop(backendtest.Within(t)))
		over := time.After(3500 * time.Millisecond)
		<-over
		require.NoError(t, store.Start(backendtest.Within(t)))
		require.Eventually(t, func() bool { return b.Health(backendtest.Within(t)) == nil }, backendtest.Patience, 10*time.Millisecond)
		require.True(t, renewed(t, b, "s"), "nobody could renew it while the store was away")
		rec = backendtest.Put(t, b, *rec, rec.Generation)
		for _, ev := range backendtest.Until(t, w, isPut(rec)) {
			require.NotEqual(t, ports.WatchReset, ev.Kind)
		}
	}
}

// Of a server that comes back with less than it acknowledged, everybody learns, whoever asks first.
func TestARestartThatLostWrites(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	m := newMiddleman(t, store.Addresses()[0])
	saw, did := open(t, redis.Options{URL: m.url()}), open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, did, "s", time.Hour)
	rec := backendtest.Put(t, did, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, saw, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	do(t, raw(t, store, 0), "CONFIG", "SET", "appendonly", "no") // what comes now is lost
	gone := backendtest.Put(t, did, backendtest.Record("b", "s"), core.Generation{})
	backendtest.Until(t, w, isPut(gone))
	require.NoError(t, did.Close())
	elsewhere := backendtest.Nowhere(t)
	m.target.Store(&elsewhere)
	m.cut()
	require.NoError(t, store.Kill())
	require.NoError(t, store.Start(backendtest.Within(t)))
	// Another process, which knows of nothing, writes under the numbers that were lost.
	fresh := open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, fresh, "s2", time.Hour)
	for i := range 5 {
		backendtest.Put(t, fresh, backendtest.Record(fmt.Sprintf("c%d", i), "s2"), core.Generation{})
	}
	back := store.Addresses()[0]
	m.target.Store(&back)
	backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
	synced := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	assert.Len(t, synced, 7, "a, c0 to c4, and the end")
	assert.NotEqual(t, rec.Revision.Epoch, backendtest.Last(synced).Cursor.Epoch)
	assert.Nil(t, backendtest.Get(t, saw, "b").Record)
}

// A replica that takes over may lack what was acknowledged, and uses its revisions again.
func TestATakeover(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{Nodes: 3})
	m := newMiddleman(t, store.Addresses()[0])
	b := open(t, redis.Options{URL: m.url()})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	replica := raw(t, store, 1)
	require.Eventually(t, func() bool {
		return replica.HExists(backendtest.Within(t), "{prism:prism}:records", "api/a").Val()
	}, backendtest.Patience, 10*time.Millisecond)
	target := store.Addresses()[1]
	m.target.Store(&target)
	require.NoError(t, store.KillNode(0))
	do(t, replica, "REPLICAOF", "NO", "ONE")
	m.cut()
	backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
	synced := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	assert.NotEqual(t, rec.Revision.Epoch, backendtest.Last(synced).Cursor.Epoch)
	require.NotNil(t, backendtest.Get(t, b, "a").Record, "what had come there")
	again := backendtest.Put(t, b, *rec, rec.Generation)
	assert.Equal(t, backendtest.Last(synced).Cursor.Epoch, again.Revision.Epoch)
	backendtest.Until(t, w, isPut(again))
}

// A log that somebody removed cannot be waited for.
func TestALogThatIsGone(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	b := open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	client := raw(t, store, 0)
	log := "{prism:prism}:log:" + rec.Revision.Epoch
	do(t, client, "HINCRBY", "{prism:prism}:meta", "revision", 1) // a write that left nothing there
	backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	do(t, client, "DEL", log)
	rec = backendtest.Put(t, b, *rec, rec.Generation)
	backendtest.Until(t, w, isPut(rec))
	backendtest.Until(t, w, backendtest.Is(ports.WatchBookmark))
}

// However many records are deleted all the time, their tombstones go when the hour is over.
func TestTombstonesAreForgotten(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	b, client := open(t, redis.Options{URL: store.URL()}), raw(t, store, 0)
	b.StopProofs()
	soon := time.Now().Add(time.Hour).UnixMilli()
	stood, forget := []any{"HSET", "{prism:prism}:tombstones", "api/young", "{}"}, []any{"ZADD", "{prism:prism}:tombstones:forget", soon, "api/young"}
	for i := range 500 {
		id := fmt.Sprintf("api/id-%d", i)
		stood, forget = append(stood, id, "{}"), append(forget, 1, id)
	}
	do(t, client, stood...)
	do(t, client, forget...)
	_, err := b.Position(backendtest.Within(t)) // each process asks more than once a second
	require.NoError(t, err)
	ctx := backendtest.Within(t)
	assert.Equal(t, int64(1), client.HLen(ctx, "{prism:prism}:tombstones").Val())
	assert.True(t, client.HExists(ctx, "{prism:prism}:tombstones", "api/young").Val())
	assert.Equal(t, int64(1), client.ZCard(ctx, "{prism:prism}:tombstones:forget").Val())
}

// Not in parallel: the log is one for the program.
func TestEvictionIsWarnedOf(t *testing.T) {
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	do(t, raw(t, store, 0), "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	b, err := redis.Open(backendtest.Within(t), redis.Options{URL: store.URL()})
	slog.SetDefault(before)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	assert.Contains(t, out.String(), "allkeys-lru")
	assert.Contains(t, out.String(), "noeviction")
	assert.Equal(t, 1, strings.Count(out.String(), "\n"))
}
