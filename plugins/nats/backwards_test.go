package nats_test

// backwards_test.go: a stream that lost its last writes gives their sequences again. Who sees that, in
// whatever way, begins a new epoch.

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

// A write whose sequence the stream had reached before begins a new epoch, before it is answered.
func TestAWriteOfAnEarlierSequenceIsANewEpoch(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(t *testing.T, b *prismnats.Backend){
		"a Put": func(t *testing.T, b *prismnats.Backend) {
			t.Helper()
			res, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Put: &ports.Put{Record: backendtest.Record("a", "s")}}})
			require.NoError(t, err)
			if res[0].Err != nil { // else others saw it before
				require.ErrorIs(t, res[0].Err, ports.ErrUnavailable)
			}
		},
		"a renewal": func(t *testing.T, b *prismnats.Backend) {
			t.Helper()
			renew(t, b, "s")
		},
		"a session": func(t *testing.T, b *prismnats.Backend) {
			t.Helper()
			backendtest.Session(t, b, "new", time.Hour)
			renew(t, b, "new")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, stores.ForTest(t, stores.NATS, stores.Options{}), prismnats.Options{})
			backendtest.Session(t, b, "s", time.Hour)
			before := b.Epoch()
			b.Reach(1 << 40)
			write(t, b)
			assert.NotEqual(t, before, b.Epoch())
			after := b.Epoch()
			backendtest.Works(t, b)
			assert.Equal(t, after, b.Epoch(), "once is enough")
		})
	}
}

// A server loses its last writes, among them one that this process knows of, and others write on until the
// stream is further than it was. That it is read again shows what was lost.
func TestALostWriteIsFoundAsTheStreamIsReadAgain(t *testing.T) {
	t.Parallel()
	for name, rewritten := range map[string]bool{"what stood before": false, "another write at its sequence": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := stores.ForTest(t, stores.NATS, stores.Options{})
			proxy, err := stores.NewProxy(store.Addresses()[0])
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, proxy.Close()) })
			b, err := prismnats.Open(backendtest.Within(t), prismnats.Options{URL: "nats://" + proxy.Address()})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			backendtest.Session(t, b, "s", time.Hour)
			first := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
			require.NoError(t, store.Stop(backendtest.Within(t)))
			require.NoError(t, store.KeepData())
			require.NoError(t, store.Start(backendtest.Within(t)))

			js := raw(t, store)
			stream, err := js.Stream(backendtest.Within(t), streamName)
			require.NoError(t, err)
			reached := func() uint64 {
				info, err := stream.Info(backendtest.Within(t))
				require.NoError(t, err)
				return info.State.LastSeq
			}
			fill := func(to uint64) {
				for reached() < to {
					_, err := js.Publish(backendtest.Within(t), "prism.prism.health", nil)
					require.NoError(t, err)
				}
			}
			fill(first.Revision.N + 100) // the lost write stands beyond what is written as the server starts
			lost := *first
			lost.Body = []byte(`{"v":"lost"}`)
			lost = *backendtest.Put(t, b, lost, lost.Generation)
			w := backendtest.Follow(t, b, core.Revision{})
			events := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
			require.Equal(t, &lost, events[1].Record)
			require.NoError(t, proxy.Set(stores.Refused))
			known := reached()
			require.NoError(t, store.Kill())
			require.NoError(t, store.RevertData())
			require.NoError(t, store.Start(backendtest.Within(t)))
			want := *first
			if rewritten {
				want.Body = []byte(`{"v":"kept"}`)
				fill(lost.Revision.N - 1)
				ack, err := js.Publish(backendtest.Within(t), recordSubject(namespace, want.Key), document(t, want), jetstream.WithExpectLastSequence(lost.Revision.N-1))
				require.NoError(t, err)
				require.Equal(t, lost.Revision.N, ack.Sequence)
				want.Revision.N = ack.Sequence
			}
			fill(known + 100)
			require.NoError(t, proxy.Set(stores.Joined))

			backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
			events = backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
			want.Revision.Epoch = backendtest.Last(events).Cursor.Epoch
			require.Len(t, events, 2)
			assert.Equal(t, &want, events[0].Record)
			assert.NotEqual(t, first.Revision.Epoch, want.Revision.Epoch, "its sequences mean something else now")
			assert.Equal(t, &want, backendtest.Get(t, b, "a").Record)
		})
	}
}

// A record that was lost with the last writes was not removed: whoever held it must not take it for that.
func TestALostRecordIsNoDeletion(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	proxy, err := stores.NewProxy(store.Addresses()[0])
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	b, err := prismnats.Open(backendtest.Within(t), prismnats.Options{URL: "nats://" + proxy.Address()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	backendtest.Session(t, b, "s", time.Hour)
	backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	require.NoError(t, store.Stop(backendtest.Within(t)))
	require.NoError(t, store.KeepData())
	require.NoError(t, store.Start(backendtest.Within(t)))
	js := raw(t, store)
	for range 100 { // what is written as the server starts must not reach the lost record's sequence
		_, err := js.Publish(backendtest.Within(t), "prism.prism.health", nil)
		require.NoError(t, err)
	}
	backendtest.Put(t, b, backendtest.Record("b", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	epoch := backendtest.Last(backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))).Cursor.Epoch
	require.NoError(t, proxy.Set(stores.Refused))
	require.NoError(t, store.Kill())
	require.NoError(t, store.RevertData())
	require.NoError(t, store.Start(backendtest.Within(t)))
	require.NoError(t, proxy.Set(stores.Joined))

	backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
	events := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	require.Len(t, events, 2, "b is not there")
	assert.NotEqual(t, epoch, backendtest.Last(events).Cursor.Epoch, "and nobody removed it")
}
