package backendtest

// words.go: records, sessions and streams in few words.

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Patience is how long a test waits for what has to come.
const Patience = time.Minute

// Within is the test's context, for as long as Patience.
func Within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Session opens a session.
func Session(t *testing.T, b ports.Backend, id ports.SessionID, ttl time.Duration) {
	t.Helper()
	_, err := b.OpenSession(Within(t), ports.SessionSpec{ID: id, TTL: ttl, Host: "test"})
	require.NoError(t, err)
}

// Record is one of the service "api", of a generation of its own.
func Record(id string, under ports.SessionID) ports.Record {
	return ports.Record{
		Key: core.Key{Service: "api", ID: id}, Generation: core.Generation{}.Next(), Session: under, Owner: "test", Body: []byte(`{"v":1}`),
		State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown},
	}
}

// Put stores a record and returns it as it stands.
func Put(t *testing.T, b ports.Backend, rec ports.Record, replaces core.Generation) *ports.Record {
	t.Helper()
	res, err := b.Apply(Within(t), []ports.Mutation{{Put: &ports.Put{Record: rec, Replaces: replaces}}})
	require.NoError(t, err)
	require.NoError(t, res[0].Err)
	return res[0].Record
}

// Remove deletes a record.
func Remove(t *testing.T, b ports.Backend, rec *ports.Record) {
	t.Helper()
	res, err := b.Apply(Within(t), []ports.Mutation{{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: core.CauseOperator}}})
	require.NoError(t, err)
	require.NoError(t, res[0].Err)
}

// Get reads a key of the service "api".
func Get(t *testing.T, b ports.Backend, id string) ports.Found {
	t.Helper()
	found, err := b.Get(Within(t), []core.Key{{Service: "api", ID: id}})
	require.NoError(t, err)
	return found[0]
}

// Follow watches all services from a cursor on.
func Follow(t *testing.T, b ports.Backend, cursor core.Revision) ports.Watcher {
	t.Helper()
	w, err := b.Watch(Within(t), ports.WatchRequest{Cursor: cursor, Follow: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// Until reads on to an event for which so is true, and returns all that came.
func Until(t *testing.T, w ports.Watcher, so func(ev ports.WatchEvent) bool) []ports.WatchEvent {
	t.Helper()
	ctx := Within(t)
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

// Is asks for an event of a kind.
func Is(kind ports.WatchKind) func(ev ports.WatchEvent) bool {
	return func(ev ports.WatchEvent) bool { return ev.Kind == kind }
}

// Last is the event that Until asked for.
func Last(events []ports.WatchEvent) ports.WatchEvent { return events[len(events)-1] }
