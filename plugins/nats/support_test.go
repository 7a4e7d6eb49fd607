package nats_test

// support_test.go: records, sessions and streams in few words.

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	prismnats "github.com/marketprism/prism/plugins/nats"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

const namespace = "prism"

// patience is how long a test waits for what has to come.
const patience = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open opens a backend on the store for the time of a test.
func open(t *testing.T, store *stores.Cluster, o prismnats.Options) *prismnats.Backend {
	t.Helper()
	o.URL = url(store)
	b, err := prismnats.Open(within(t), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// raw is JetStream itself, of a server without TLS and login.
func raw(t *testing.T, store *stores.Cluster) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(url(store), nats.Timeout(patience))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	return js
}

func session(t *testing.T, b ports.Backend, id ports.SessionID, ttl time.Duration) {
	t.Helper()
	_, err := b.OpenSession(within(t), ports.SessionSpec{ID: id, TTL: ttl, Host: "test"})
	require.NoError(t, err)
}

func record(id string, under ports.SessionID) ports.Record {
	return ports.Record{
		Key: core.Key{Service: "api", ID: id}, Generation: core.Generation{}.Next(), Session: under, Owner: "test", Body: []byte(`{"v":1}`),
		State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown},
	}
}

func put(t *testing.T, b ports.Backend, rec ports.Record, replaces core.Generation) *ports.Record {
	t.Helper()
	res, err := b.Apply(within(t), []ports.Mutation{{Put: &ports.Put{Record: rec, Replaces: replaces}}})
	require.NoError(t, err)
	require.NoError(t, res[0].Err)
	return res[0].Record
}

func remove(t *testing.T, b ports.Backend, rec *ports.Record) {
	t.Helper()
	res, err := b.Apply(within(t), []ports.Mutation{{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: core.CauseOperator}}})
	require.NoError(t, err)
	require.NoError(t, res[0].Err)
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
	t.Cleanup(func() { _ = w.Close() }) // nothing is left to be learnt from it
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

func last(events []ports.WatchEvent) ports.WatchEvent { return events[len(events)-1] }
