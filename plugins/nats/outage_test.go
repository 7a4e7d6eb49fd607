package nats_test

// outage_test.go: after each reconnect the stream is read again, however long the server was away
// and whatever happened to the pump meanwhile.

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	prismnats "github.com/marketprism/prism/plugins/nats"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// happens waits for what the process does by itself.
func happens(t *testing.T, so func() bool) {
	t.Helper()
	require.Eventually(t, so, backendtest.Patience, 5*time.Millisecond)
}

// followsAnew waits until the pump has given up an attempt and is at another one.
func followsAnew(t *testing.T, b *prismnats.Backend, before any) {
	t.Helper()
	happens(t, func() bool { return b.Following() != before })
}

// What somebody purged by hand, of which nobody is told, shows once the stream is read again.
func TestWhatWasPurgedShowsAfterAReconnect(t *testing.T) {
	t.Parallel()
	cut := func(t *testing.T, store *stores.Cluster, how stores.Cut) {
		t.Helper()
		require.NoError(t, store.Cut(how))
	}
	for name, outage := range map[string]func(t *testing.T, store *stores.Cluster, b *prismnats.Backend){
		"of a server that restarts": func(t *testing.T, store *stores.Cluster, _ *prismnats.Backend) {
			t.Helper()
			require.NoError(t, store.Restart(backendtest.Within(t)))
		},
		"that the consumer outlives": func(t *testing.T, store *stores.Cluster, _ *prismnats.Backend) {
			t.Helper()
			cut(t, store, stores.Refused)
			cut(t, store, stores.Joined)
		},
		"while the pump asks how far the stream is": func(t *testing.T, store *stores.Cluster, b *prismnats.Backend) {
			t.Helper()
			before := b.Following()
			cut(t, store, stores.Refused)
			followsAnew(t, b, before)
			cut(t, store, stores.Joined)
		},
		"after which the pump is interrupted": func(t *testing.T, store *stores.Cluster, b *prismnats.Backend) {
			t.Helper()
			cut(t, store, stores.Refused)
			cut(t, store, stores.Joined)
			happens(t, func() bool { return b.Reconnects() == 1 })
			cut(t, store, stores.Blackholed)
			before := b.Following()
			followsAnew(t, b, before)
			before = b.Following()
			b.FollowAnew()
			followsAnew(t, b, before)
			cut(t, store, stores.Joined)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := stores.ForTest(t, stores.NATS, stores.Options{Proxied: true})
			b := open(t, store, prismnats.Options{})
			backendtest.Session(t, b, "s", time.Hour)
			rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
			stays := backendtest.Put(t, b, backendtest.Record("b", "s"), core.Generation{})
			w := backendtest.Follow(t, b, core.Revision{})
			backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
			stream, err := raw(t, store).Stream(backendtest.Within(t), streamName)
			require.NoError(t, err)
			require.NoError(t, stream.Purge(backendtest.Within(t), jetstream.WithPurgeSubject(recordSubject(namespace, rec.Key))))
			outage(t, store, b)
			backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
			events := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
			require.Len(t, events, 2)
			assert.Equal(t, stays, events[0].Record)
		})
	}
}

// A stream on one server of several may lose what no connection of ours tells of.
func TestWhatWasPurgedShowsAfterTheServerOfTheStreamRestarts(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{Nodes: 3})
	through := func(node int) *prismnats.Backend {
		b, err := prismnats.Open(backendtest.Within(t), prismnats.Options{URL: store.URLs()[node]})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		return b
	}
	require.NoError(t, through(0).Close())
	node, err := store.StreamLeader(backendtest.Within(t), streamName)
	require.NoError(t, err)
	b := through((node + 1) % store.Nodes())
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	stays := backendtest.Put(t, b, backendtest.Record("b", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	stream, err := raw(t, store).Stream(backendtest.Within(t), streamName)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(backendtest.Within(t), jetstream.WithPurgeSubject(recordSubject(namespace, rec.Key))))
	require.NoError(t, store.StopNode(backendtest.Within(t), node))
	require.NoError(t, store.StartNode(backendtest.Within(t), node))
	backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
	events := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	require.Len(t, events, 2)
	assert.Equal(t, stays, events[0].Record)
	assert.Zero(t, b.Reconnects())
}
