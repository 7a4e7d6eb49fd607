package redis_test

// support_test.go: records, sessions and streams in few words.

import (
	"context"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/redis"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// patience is how long a test waits for what has to come.
const patience = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open opens a backend for the time of a test.
func open(t *testing.T, o redis.Options) *redis.Backend {
	t.Helper()
	b, err := redis.Open(within(t), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// raw is a client of a server itself, for one without TLS and authentication.
func raw(t *testing.T, store *stores.Cluster, node int) *goredis.Client {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: store.Addresses()[node]})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// do sends a command.
func do(t *testing.T, client *goredis.Client, command ...any) {
	t.Helper()
	require.NoError(t, client.Do(within(t), command...).Err(), "%v", command)
}

func session(t *testing.T, b ports.Backend, id ports.SessionID, ttl time.Duration) {
	t.Helper()
	_, err := b.OpenSession(within(t), ports.SessionSpec{ID: id, TTL: ttl, Host: "test"})
	require.NoError(t, err)
}

func renewed(t *testing.T, b ports.Backend, id ports.SessionID) bool {
	t.Helper()
	res, err := b.RenewSessions(within(t), []ports.SessionID{id})
	require.NoError(t, err)
	return !res[0].Gone
}

func record(id string, under ports.SessionID) ports.Record {
	return ports.Record{
		Key: core.Key{Service: "api", ID: id}, Generation: core.Generation{}.Next(), Session: under, Owner: "test", Body: []byte(`{"v":1}`),
		State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown},
	}
}

func tryPut(t *testing.T, b ports.Backend, rec ports.Record, replaces core.Generation) ports.MutationResult {
	t.Helper()
	res, err := b.Apply(within(t), []ports.Mutation{{Put: &ports.Put{Record: rec, Replaces: replaces}}})
	require.NoError(t, err)
	return res[0]
}

func put(t *testing.T, b ports.Backend, rec ports.Record, replaces core.Generation) *ports.Record {
	t.Helper()
	res := tryPut(t, b, rec, replaces)
	require.NoError(t, res.Err)
	return res.Record
}

func get(t *testing.T, b ports.Backend, id string) ports.Found {
	t.Helper()
	found, err := b.Get(within(t), []core.Key{{Service: "api", ID: id}})
	require.NoError(t, err)
	return found[0]
}

func follow(t *testing.T, b ports.Backend, cursor core.Revision) ports.Watcher {
	t.Helper()
	w, err := b.Watch(within(t), ports.WatchRequest{Cursor: cursor, Follow: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// until reads on to an event for which so is true, and returns all that came.
func until(t *testing.T, w ports.Watcher, so func(ev ports.WatchEvent) bool) []ports.WatchEvent {
	t.Helper()
	ctx := within(t)
	var events []ports.WatchEvent
	for {
		ev, err := w.Next(ctx)
		require.NoError(t, err, "%+v", events)
		events = append(events, ev)
		if so(ev) {
			return events
		}
	}
}

func is(kind ports.WatchKind) func(ev ports.WatchEvent) bool {
	return func(ev ports.WatchEvent) bool { return ev.Kind == kind }
}

func isPut(rec *ports.Record) func(ev ports.WatchEvent) bool {
	return func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == rec.Revision }
}

func last(events []ports.WatchEvent) ports.WatchEvent { return events[len(events)-1] }

// works uses every part of a backend.
func works(t *testing.T, b ports.Backend) {
	t.Helper()
	require.NoError(t, b.Health(within(t)))
	session(t, b, "works-"+ports.SessionID(core.Generation{}.Next().Random), time.Hour)
	id := ports.SessionID("s-" + core.Generation{}.Next().Random)
	session(t, b, id, time.Hour)
	require.True(t, renewed(t, b, id))
	w := follow(t, b, core.Revision{})
	until(t, w, is(ports.WatchSynced))
	rec := put(t, b, record(string(id), id), core.Generation{})
	until(t, w, isPut(rec))
	until(t, w, is(ports.WatchBookmark))
	rec = put(t, b, *rec, rec.Generation)
	require.Equal(t, rec, get(t, b, string(id)).Record)
	require.NoError(t, b.CloseSession(within(t), id))
	until(t, w, is(ports.WatchDelete))
	require.NotNil(t, get(t, b, string(id)).Tombstone)
}
