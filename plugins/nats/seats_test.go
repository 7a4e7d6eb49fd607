package nats_test

// seats_test.go: who follows sessions, and what the others are spared.

import (
	"fmt"
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

// four opens one process more than there are seats: the last one has none.
func four(t *testing.T, store *stores.Cluster) (all [4]*prismnats.Backend) {
	t.Helper()
	for i := range all {
		all[i] = open(t, store, prismnats.Options{})
	}
	for i, seat := range []int{0, 1, 2, -1} {
		require.Equal(t, seat, all[i].Seat())
	}
	return all
}

func renew(t *testing.T, b ports.Backend, id ports.SessionID) {
	t.Helper()
	renewed, err := b.RenewSessions(backendtest.Within(t), []ports.SessionID{id})
	require.NoError(t, err)
	require.False(t, renewed[0].Gone)
}

// delivered is what NATS sent to the consumers on some subjects, one number each.
func delivered(t *testing.T, js jetstream.JetStream, subjects ...string) (each []uint64) {
	t.Helper()
	stream, err := js.Stream(backendtest.Within(t), streamName)
	require.NoError(t, err)
	list := stream.ListConsumers(backendtest.Within(t))
	for info := range list.Info() {
		if assert.ObjectsAreEqual(subjects, info.Config.FilterSubjects) {
			each = append(each, info.Delivered.Consumer)
		}
	}
	require.NoError(t, list.Err())
	return each
}

// However many hosts there are, three get the renewals of all. The others get records.
func TestAHostWithoutASeatGetsNoRenewals(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	all, js := four(t, store), raw(t, store)
	for i, b := range all {
		backendtest.Session(t, b, ports.SessionID(fmt.Sprint("s-", i)), time.Hour)
	}
	const renewals = 20
	for range renewals {
		for i, b := range all {
			renew(t, b, ports.SessionID(fmt.Sprint("s-", i)))
		}
	}
	rec := backendtest.Put(t, all[0], backendtest.Record("a", "s-0"), core.Generation{})
	for _, b := range all { // it comes after the renewals
		w := backendtest.Follow(t, b, core.Revision{})
		backendtest.Until(t, w, func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == rec.Revision })
	}
	assert.Equal(t, []uint64{2}, delivered(t, js, "prism.prism.epoch", "prism.prism.r.>"), "the epoch and the record")
	seated := delivered(t, js, "prism.prism.epoch", "prism.prism.*.>")
	require.Len(t, seated, 3)
	for _, n := range seated {
		assert.GreaterOrEqual(t, n, uint64(renewals*len(all)))
	}
}

// A list is as far as the stream is, though nobody tells a host of others' renewals.
func TestListsDoNotWaitForRenewals(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	all := four(t, store)
	backendtest.Session(t, all[0], "s", time.Hour)
	rec := backendtest.Put(t, all[0], backendtest.Record("a", "s"), core.Generation{})
	began := time.Now()
	for range 50 {
		rec = backendtest.Put(t, all[0], *rec, rec.Generation)
		renew(t, all[0], "s")
		w, err := all[3].Watch(backendtest.Within(t), ports.WatchRequest{})
		require.NoError(t, err)
		events := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
		require.NoError(t, w.Close())
		require.Len(t, events, 3, "a Reset, the record, and that it is all")
		require.Equal(t, rec, events[1].Record)
		require.Greater(t, events[2].Cursor.N, rec.Revision.N)
	}
	assert.Less(t, time.Since(began), 15*time.Second, "a heartbeat for each would take half a minute")
}

// The first seat's holder dies. The next ones remove what expires, before anybody has taken its seat.
func TestTheDeathOfASweeperDelaysNoExpiry(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	all := four(t, store)
	backendtest.Session(t, all[3], "s", time.Second)
	backendtest.Put(t, all[3], backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, all[3], core.Revision{})
	all[0].Vanish()
	assert.Equal(t, core.CauseExpired, buried(t, all[3], w, "a").Cause)
	assert.Equal(t, -1, all[3].Seat())
}

// All holders of seats die at once, and with them their sessions. Another process takes a seat, and
// reads the sessions that it had passed over.
func TestTheDeathOfAllSweepersIsSeen(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	all := four(t, store)
	backendtest.Session(t, all[0], "s", time.Second)
	backendtest.Put(t, all[0], backendtest.Record("a", "s"), core.Generation{})
	backendtest.Session(t, all[1], "lives", time.Hour)
	stays := backendtest.Put(t, all[1], backendtest.Record("b", "lives"), core.Generation{})
	w := backendtest.Follow(t, all[3], core.Revision{})
	for _, b := range all[:3] {
		b.Vanish()
	}
	assert.Equal(t, core.CauseExpired, buried(t, all[3], w, "a").Cause)
	assert.NotEqual(t, -1, all[3].Seat())
	assert.Equal(t, stays, backendtest.Get(t, all[3], "b").Record)
	for _, ev := range backendtest.Until(t, w, backendtest.Is(ports.WatchBookmark)) {
		assert.Equal(t, ports.WatchBookmark, ev.Kind, "what it reads again is no change: %+v", ev)
	}
}

func TestASeatIsFreeWhenItsHolderCloses(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	all := four(t, store)
	require.NoError(t, all[1].Close())
	next := open(t, store, prismnats.Options{})
	assert.True(t, next.Seat() == 1 || all[3].Seat() == 1, "%d and %d", next.Seat(), all[3].Seat())
}

// least is the fewest messages that a process sent for one of many calls: at times it also sends for itself.
func least(t *testing.T, b *prismnats.Backend, do func(i int)) uint64 {
	t.Helper()
	fewest := ^uint64(0)
	for i := range 30 {
		before := b.Requests()
		do(i)
		fewest = min(fewest, b.Requests()-before)
	}
	return fewest
}

// A registration asks for its session and writes.
func TestAPutIsARequestAndAWrite(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	assert.Equal(t, uint64(2), least(t, b, func(i int) {
		backendtest.Put(t, b, backendtest.Record(fmt.Sprint("a-", i), "s"), core.Generation{})
	}))
	// A session as earlier versions wrote it does not say of which life it is: all is read.
	_, err := raw(t, store).Publish(backendtest.Within(t), sessionSubject("old"), []byte(`{"v":1,"ttl":3600,"opened_at":"2026-01-01T00:00:00Z"}`))
	require.NoError(t, err)
	assert.Equal(t, uint64(5), least(t, b, func(i int) {
		backendtest.Put(t, b, backendtest.Record(fmt.Sprint("b-", i), "old"), core.Generation{})
	}))
}

// What a process knows of a key may be old. Its writes are right all the same, and its refusals too.
func TestTwoProcessesWriteOneKeyInTurns(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	pair := [2]*prismnats.Backend{open(t, store, prismnats.Options{}), open(t, store, prismnats.Options{})}
	backendtest.Session(t, pair[0], "s", time.Hour)
	rec := backendtest.Put(t, pair[0], backendtest.Record("a", "s"), core.Generation{})
	for i := range 200 {
		rec = backendtest.Put(t, pair[i%2], *rec, rec.Generation)
		if i%20 == 0 {
			backendtest.Remove(t, pair[1-i%2], rec)
			rec.Generation = rec.Generation.Next()
			rec = backendtest.Put(t, pair[i%2], *rec, core.Generation{})
		}
	}
	require.NoError(t, pair[1].CloseSession(backendtest.Within(t), "s"))
	res, err := pair[0].Apply(backendtest.Within(t), []ports.Mutation{{Put: &ports.Put{Record: backendtest.Record("late", "s")}}})
	require.NoError(t, err)
	require.ErrorIs(t, res[0].Err, ports.ErrSessionGone)
}
