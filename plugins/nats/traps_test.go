package nats_test

// traps_test.go: what NATS does that a backend could trip over.

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	prismnats "github.com/marketprism/prism/plugins/nats"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

const streamName = "PRISM_" + namespace

func sessionSubject(id ports.SessionID) string { return "prism." + namespace + ".s." + string(id) }

// document is the stored form of a record.
func document(t *testing.T, rec ports.Record) []byte {
	t.Helper()
	data, err := backendkit.Encode(backendkit.Document{Found: ports.Found{Record: &rec}})
	require.NoError(t, err)
	return data
}

// synced is a watch that has shown what stands: one that is still to do so shows no removal that comes
// before.
func synced(t *testing.T, b ports.Backend) ports.Watcher {
	t.Helper()
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	return w
}

// buried reads a watch up to the removal of a record, and returns the tombstone, which Get gives too.
func buried(t *testing.T, b ports.Backend, w ports.Watcher, id string) ports.Tombstone {
	t.Helper()
	ev := backendtest.Last(backendtest.Until(t, w, func(ev ports.WatchEvent) bool { return ev.Tombstone != nil && ev.Tombstone.Key.ID == id }))
	found := backendtest.Get(t, b, id)
	require.Nil(t, found.Record)
	require.Equal(t, ev.Tombstone, found.Tombstone)
	return *ev.Tombstone
}

// A server that stopped uncleanly may bring back what was replaced (nats-server#8505): a record
// whose session has ended goes again, whether a process is there to see it come or opens later.
func TestARevivedRecordOfAnEndedSessionGoes(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	js := raw(t, store)
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "closed", time.Hour)
	require.NoError(t, b.CloseSession(backendtest.Within(t), "closed"))
	w := synced(t, b)
	for id, under := range map[string]ports.SessionID{"seen-1": "closed", "seen-2": "never-was"} {
		_, err := js.Publish(backendtest.Within(t), recordSubject(namespace, core.Key{Service: "api", ID: id}), document(t, backendtest.Record(id, under)))
		require.NoError(t, err)
	}
	assert.Equal(t, core.CauseDeregistered, buried(t, b, w, "seen-1").Cause)
	w = synced(t, b)
	if backendtest.Get(t, b, "seen-2").Record != nil {
		assert.Equal(t, core.CauseExpired, buried(t, b, w, "seen-2").Cause)
	}
	require.NoError(t, b.Close())

	_, err := js.Publish(backendtest.Within(t), recordSubject(namespace, core.Key{Service: "api", ID: "found"}), document(t, backendtest.Record("found", "never-was")))
	require.NoError(t, err)
	b = open(t, store, prismnats.Options{})
	w = synced(t, b)
	if backendtest.Get(t, b, "found").Record != nil {
		buried(t, b, w, "found")
	}
	tomb := backendtest.Get(t, b, "found").Tombstone
	require.NotNil(t, tomb)
	assert.Equal(t, core.CauseExpired, tomb.Cause)
	assert.Empty(t, tomb.Actor+tomb.Reason)
}

// No process of Prism is alive as the session ends. NATS ends it all the same, and refuses the
// id; the record goes when the next process opens.
func TestSessionsEndWithNobodyThere(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	stream := func() jetstream.Stream {
		s, err := raw(t, store).Stream(backendtest.Within(t), streamName)
		require.NoError(t, err)
		return s
	}
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Second)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	require.NoError(t, b.Close())
	messages, err := stream().OrderedConsumer(backendtest.Within(t), jetstream.OrderedConsumerConfig{FilterSubjects: []string{sessionSubject("s")}})
	require.NoError(t, err)
	for marked := false; !marked; {
		msg, err := messages.Next(jetstream.FetchMaxWait(backendtest.Patience))
		require.NoError(t, err)
		marked = msg.Headers().Get(jetstream.MarkerReasonHeader) == "MaxAge"
	}

	b = open(t, store, prismnats.Options{})
	w := synced(t, b)
	if backendtest.Get(t, b, "a").Record != nil {
		buried(t, b, w, "a")
	}
	tomb := backendtest.Get(t, b, "a").Tombstone
	require.NotNil(t, tomb)
	assert.Equal(t, ports.Tombstone{Key: rec.Key, Generation: rec.Generation, Session: "s", Cause: core.CauseExpired, Revision: tomb.Revision}, *tomb)
	_, err = b.OpenSession(backendtest.Within(t), ports.SessionSpec{ID: "s", TTL: time.Second})
	require.ErrorIs(t, err, ports.ErrSessionGone)
}

// That the session is open is read before the record is written.
func TestAPutThatComesAfterItsSessionsEndGoes(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	b, other := open(t, store, prismnats.Options{}), open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	w := backendtest.Follow(t, b, core.Revision{})
	ended := time.Now()
	require.NoError(t, b.CommitAfter(backendtest.Within(t), backendtest.Record("late", "s"), func() {
		require.NoError(t, other.CloseSession(backendtest.Within(t), "s"))
		ended = time.Now()
	}))
	buried(t, b, w, "late")
	assert.Less(t, time.Since(ended), prismnats.Info().Limits.MaxExpiryDelay+5*time.Second)
}

// CloseSession waits for the Puts of its own process that read the session as open.
func TestClosingWaitsForPutsUnderWay(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	b := open(t, store, prismnats.Options{})
	for round := range 20 {
		id := ports.SessionID(fmt.Sprintf("s-%d", round))
		backendtest.Session(t, b, id, time.Hour)
		var muts []ports.Mutation
		for i := range 50 {
			muts = append(muts, ports.Mutation{Put: &ports.Put{Record: backendtest.Record(fmt.Sprintf("%d-%d", round, i), id)}})
		}
		applied := make(chan error, 1)
		go func() {
			_, err := b.Apply(backendtest.Within(t), muts)
			applied <- err
		}()
		require.NoError(t, b.CloseSession(backendtest.Within(t), id))
		keys := make([]core.Key, len(muts))
		for i, m := range muts {
			keys[i] = m.Key()
		}
		found, err := b.Get(backendtest.Within(t), keys)
		require.NoError(t, err)
		for i, f := range found {
			require.Nil(t, f.Record, keys[i])
		}
		require.NoError(t, <-applied)
	}
}

// Who closes a session may die over it. Others finish what it began.
func TestOthersFinishTheClosingOfASession(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	_, err := raw(t, store).Publish(backendtest.Within(t), sessionSubject("s"), []byte(`{"v":1,"ttl":3600,"closed":true}`))
	require.NoError(t, err)
	assert.Equal(t, core.CauseDeregistered, buried(t, b, w, "a").Cause)
}

// A stream that was purged, or removed, is a new epoch, which open watches learn of.
func TestAStreamThatWasEmptiedIsANewEpoch(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]func(t *testing.T, js jetstream.JetStream){
		"purged": func(t *testing.T, js jetstream.JetStream) {
			t.Helper()
			stream, err := js.Stream(backendtest.Within(t), streamName)
			require.NoError(t, err)
			require.NoError(t, stream.Purge(backendtest.Within(t)))
		},
		"removed": func(t *testing.T, js jetstream.JetStream) {
			t.Helper()
			require.NoError(t, js.DeleteStream(backendtest.Within(t), streamName))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := stores.ForTest(t, stores.NATS, stores.Options{})
			b := open(t, store, prismnats.Options{})
			backendtest.Session(t, b, "s", time.Hour)
			rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
			w := backendtest.Follow(t, b, core.Revision{})
			backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
			empty(t, raw(t, store))
			events := backendtest.Until(t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSynced })
			assert.NotEqual(t, rec.Revision.Epoch, backendtest.Last(events).Cursor.Epoch)
			assert.Equal(t, ports.Found{}, backendtest.Get(t, b, "a"))
			renewed, err := b.RenewSessions(backendtest.Within(t), []ports.SessionID{"s"})
			require.NoError(t, err)
			assert.True(t, renewed[0].Gone)
			backendtest.Works(t, b)
		})
	}
}

// Sequences that run backwards, as after the restoring of a backup, are a new epoch.
func TestARestoredStreamIsANewEpoch(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	js := raw(t, store)
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	stream, err := js.Stream(backendtest.Within(t), streamName)
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	kept := make(map[string][]byte)
	for _, subject := range []string{"prism.prism.epoch", sessionSubject("s"), recordSubject(namespace, rec.Key)} {
		msg, err := stream.GetLastMsgForSubject(backendtest.Within(t), subject)
		require.NoError(t, err)
		kept[subject] = msg.Data
	}
	for range 50 {
		rec = backendtest.Put(t, b, *rec, rec.Generation)
	}
	w := backendtest.Follow(t, b, rec.Revision)
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	require.NoError(t, js.DeleteStream(backendtest.Within(t), streamName))
	// The backend makes it anew too, when it comes to that; what matters is what stands there then.
	_, err = js.CreateOrUpdateStream(backendtest.Within(t), config)
	require.NoError(t, err)
	for subject, data := range kept {
		_, err := js.Publish(backendtest.Within(t), subject, data)
		require.NoError(t, err)
	}
	events := backendtest.Until(t, w, func(ev ports.WatchEvent) bool {
		return ev.Kind == ports.WatchSynced && ev.Cursor.Epoch != rec.Revision.Epoch
	})
	assert.NotEqual(t, rec.Revision.Epoch, backendtest.Last(events).Cursor.Epoch)
}

// The consumer that a process follows the stream with may vanish, with the server that had it.
func TestAConsumerThatVanishesIsReplaced(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	js := raw(t, store)
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	stream, err := js.Stream(backendtest.Within(t), streamName)
	require.NoError(t, err)
	names := stream.ConsumerNames(backendtest.Within(t))
	for name := range names.Name() {
		require.NoError(t, stream.DeleteConsumer(backendtest.Within(t), name))
	}
	require.NoError(t, names.Err())
	rec = backendtest.Put(t, b, *rec, rec.Generation)
	events := backendtest.Until(t, w, func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == rec.Revision })
	for _, ev := range events {
		assert.NotEqual(t, ports.WatchReset, ev.Kind, "it goes on where it was")
	}
}

// A publish that is sent again, because its answer was lost, is carried out once.
func TestAPublishThatIsRepeatedIsOne(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	first, second, err := b.PublishAgain(backendtest.Within(t), core.Key{Service: "api", ID: "a"}, document(t, backendtest.Record("a", "s")))
	require.NoError(t, err)
	assert.Equal(t, first, second)
	assert.Equal(t, first, backendtest.Get(t, b, "a").Record.Revision.N)
}

// An id of a session is a part of a subject: one with wildcards must not find another's session.
func TestIDsThatAreWildcards(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	for _, id := range []ports.SessionID{"*", ">", "", "a b"} {
		res, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Put: &ports.Put{Record: backendtest.Record("a", id)}}})
		require.NoError(t, err)
		require.ErrorIs(t, res[0].Err, ports.ErrSessionGone, "%q", id)
		renewed, err := b.RenewSessions(backendtest.Within(t), []ports.SessionID{id})
		require.NoError(t, err)
		assert.True(t, renewed[0].Gone, "%q", id)
		require.NoError(t, b.CloseSession(backendtest.Within(t), id))
	}
	renewed, err := b.RenewSessions(backendtest.Within(t), []ports.SessionID{"s"})
	require.NoError(t, err)
	assert.False(t, renewed[0].Gone)
}

// What the README says stands in the stream, which people read with NATS' own tool.
func TestWhatStandsInTheStream(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s.1", 1500*time.Millisecond)
	rec := backendtest.Put(t, b, backendtest.Record("v1.2", "s.1"), core.Generation{})
	stream, err := raw(t, store).Stream(backendtest.Within(t), streamName)
	require.NoError(t, err)
	stands := func(subject string) (map[string]any, string) {
		msg, err := stream.GetLastMsgForSubject(backendtest.Within(t), subject)
		require.NoError(t, err, subject)
		var doc map[string]any
		require.NoError(t, json.Unmarshal(msg.Data, &doc))
		return doc, msg.Header.Get("Nats-TTL")
	}
	doc, ttl := stands("prism.prism.s.s=2E1")
	assert.Equal(t, "2", ttl, "whole seconds, rounded up")
	assert.Equal(t, map[string]any{"v": 1.0, "host": "test", "ttl": 2.0, "opened_at": doc["opened_at"], "epoch": doc["epoch"]}, doc)
	doc, ttl = stands("prism.prism.r.api.v1=2E2")
	assert.Empty(t, ttl)
	assert.Equal(t, "v1.2", doc["id"])
	doc, _ = stands("prism.prism.epoch")
	assert.Equal(t, rec.Revision.Epoch, doc["epoch"])
	backendtest.Remove(t, b, rec)
	doc, ttl = stands("prism.prism.r.api.v1=2E2")
	assert.Equal(t, "operator", doc["cause"])
	assert.Equal(t, "3660", ttl, "an hour and more")
}

// A server that comes back is read from its beginning: what is still there is no change.
func TestAServerThatComesBackIsNoChange(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	b := open(t, store, prismnats.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	for i := range 50 {
		backendtest.Put(t, b, backendtest.Record(fmt.Sprintf("a-%d", i), "s"), core.Generation{})
	}
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	for range 3 {
		require.NoError(t, store.Restart(backendtest.Within(t)))
		rec := backendtest.Put(t, b, backendtest.Record("after-"+core.Generation{}.Next().Random, "s"), core.Generation{})
		events := backendtest.Until(t, w, func(ev ports.WatchEvent) bool {
			return ev.Kind == ports.WatchBookmark && ev.Cursor.N >= rec.Revision.N
		})
		puts := 0
		for _, ev := range events {
			if ev.Kind == ports.WatchPut {
				puts++
			}
			assert.Contains(t, []ports.WatchKind{ports.WatchPut, ports.WatchBookmark}, ev.Kind, "%+v", ev)
		}
		assert.Equal(t, 1, puts)
	}
	found, err := b.Get(backendtest.Within(t), []core.Key{{Service: "api", ID: "a-0"}, {Service: "api", ID: "a-49"}})
	require.NoError(t, err)
	assert.NotNil(t, found[0].Record)
	assert.NotNil(t, found[1].Record)
}
