package nats

// mirror_internal_test.go: subjects, versions and the copy of the namespace, without a server.

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestSubjectsOfNamesAreTheirOwn(t *testing.T) {
	t.Parallel()
	names := []string{"a", "a.", "a..", "a.b", "a-b", "a_b", "ab", "A", "0", "r", "s", "epoch", strings.Repeat("n.", core.MaxName/2)}
	seen := make(map[string]bool)
	for _, namespace := range []string{"prism", "prism.r", "prism.r.a", "prismx"} {
		l, err := newLayout(namespace)
		require.NoError(t, err)
		for _, service := range names {
			for _, id := range names {
				key := core.Key{Service: service, ID: id}
				subject := l.record(key)
				assert.False(t, seen[subject], subject)
				seen[subject] = true
				assert.Equal(t, 4, strings.Count(subject, "."), "five tokens: %s", subject)
				back, ok := l.key(subject)
				assert.True(t, ok, subject)
				assert.Equal(t, key, back)
			}
			id, ok := l.sessionID(l.session(ports.SessionID(service)))
			assert.True(t, ok)
			assert.Equal(t, ports.SessionID(service), id)
		}
		for _, odd := range []string{l.epoch(), l.probe(), l.session("a"), l.prefix + "r.a", l.prefix + "r.a.b.c", l.prefix + "r..b", l.prefix + "r.a.", l.prefix + "r.a=2.b", ""} {
			_, ok := l.key(odd)
			assert.False(t, ok, odd)
		}
	}
}

func FuzzSubjects(f *testing.F) {
	f.Add("a.b", "c", "a=2Eb")
	l := layout{prefix: "prism.x."}
	f.Fuzz(func(t *testing.T, service, id, subject string) {
		key := core.Key{Service: service, ID: id}
		if key.Validate() == nil {
			back, ok := l.key(l.record(key))
			assert.True(t, ok)
			assert.Equal(t, key, back)
		}
		if back, ok := l.key(l.prefix + recordsRoom + subject); ok {
			assert.Equal(t, l.prefix+recordsRoom+subject, l.record(back), "one subject for each key")
		}
	})
}

func recordAt(seq uint64, id string, under ports.SessionID) *entry {
	key := core.Key{Service: "api", ID: id}
	e := &entry{seq: seq, key: key, gen: core.Generation{N: seq, Random: "r"}, session: under}
	e.doc.Record = &ports.Record{Key: key, Generation: e.gen, Session: under, Revision: core.Revision{Epoch: "e", N: seq}}
	return e
}

func tombAt(seq uint64, id string) *entry {
	key := core.Key{Service: "api", ID: id}
	e := &entry{seq: seq, key: key}
	e.doc.Tombstone = &ports.Tombstone{Key: key, Cause: core.CauseOperator, Revision: core.Revision{Epoch: "e", N: seq}}
	return e
}

func marker(seq uint64, id string) *entry {
	return &entry{seq: seq, key: core.Key{Service: "api", ID: id}}
}

func sequences(entries []*entry) []uint64 {
	seqs := make([]uint64, 0, len(entries))
	for _, e := range entries {
		seqs = append(seqs, e.seq)
	}
	return seqs
}

func reading(now *life) *mirror {
	m := newMirror()
	m.begin(now, true, 0, "all")
	m.takeSession("s", session{open: true, seq: 1})
	return m
}

func TestTheLatestOfEachKeyInOrder(t *testing.T) {
	t.Parallel()
	m := reading(&life{epoch: "e"})
	for seq := uint64(2); seq < 5000; seq++ {
		m.takeRecord(recordAt(seq, string(rune('a'+seq%5)), "s"), false)
	}
	m.takeRecord(tombAt(5000, "a"), false)
	assert.Equal(t, []uint64{4996, 4997, 4998, 4999, 5000}, sequences(m.after(0, true).entries))
	assert.Equal(t, []uint64{4999, 5000}, sequences(m.after(4998, true).entries))
	assert.Equal(t, []uint64{4996, 4997, 4998, 4999}, sequences(m.all().entries), "without the deletion")
	assert.Equal(t, uint64(5000), m.after(0, true).position)
	assert.Less(t, len(m.log), 1100, "what was replaced goes")
}

func TestFadedTombstones(t *testing.T) {
	t.Parallel()
	now := &life{epoch: "e"}
	m := reading(now)
	m.takeRecord(tombAt(5, "a"), false)
	m.takeRecord(marker(9, "a"), true)
	assert.Empty(t, m.after(0, true).entries)
	assert.Equal(t, uint64(9), m.after(0, false).position)
	assert.Equal(t, forgotten, m.resumable(now, now.revision(4), 9))
	assert.Empty(t, m.resumable(now, now.revision(5), 9))
	// A marker where a record stood: something gave that a TTL, and nobody knows why.
	m.takeRecord(recordAt(10, "b", "s"), false)
	m.takeRecord(marker(11, "b"), true)
	entries := m.after(9, true).entries
	require.Len(t, entries, 1)
	assert.Equal(t, ports.Tombstone{
		Key: entries[0].key, Generation: core.Generation{N: 10, Random: "r"}, Session: "s", Cause: core.CauseUnknown, Revision: core.Revision{Epoch: "e", N: 11},
	}, *entries[0].doc.Tombstone)
	assert.Empty(t, m.of("s"))
}

func TestCursors(t *testing.T) {
	t.Parallel()
	now := &life{epoch: "e"}
	m := reading(now)
	m.setFloor(7)
	for cursor, want := range map[core.Revision]string{
		{}: "without a cursor", {Epoch: "x", N: 9}: "another epoch", {Epoch: "e", N: 6}: "before this process", {Epoch: "e", N: 21}: "not reached",
	} {
		assert.Contains(t, m.resumable(now, cursor, 20), want)
	}
	assert.Empty(t, m.resumable(now, core.Revision{Epoch: "e", N: 7}, 20))
	assert.Contains(t, m.resumable(&life{epoch: "e"}, core.Revision{Epoch: "e", N: 9}, 20), "before this process", "another life, though of the same name")
}

// After a server's unclean stop all is read again: what came back and what is gone show.
func TestReadingAgain(t *testing.T) {
	t.Parallel()
	now := &life{epoch: "e"}
	m := reading(now)
	for seq, id := range map[uint64]string{5: "stays", 6: "lost", 7: "newer"} {
		m.takeRecord(recordAt(seq, id, "s"), false)
	}
	m.caughtUpNow(0, nil)
	assert.Equal(t, uint64(8), m.begin(now, false, 0, "all"), "on from where it was")
	before := m.after(0, true).turn
	assert.Equal(t, uint64(1), m.begin(now, true, 0, "all"))
	m.takeSession("s", session{open: true, seq: 1})
	m.takeRecord(recordAt(3, "revived", "ended"), false)
	m.takeRecord(recordAt(5, "stays", "s"), false)
	m.takeRecord(recordAt(7, "newer", "s"), false)
	m.takeRecord(recordAt(8, "added", "s"), false)
	missing := m.unseen()
	assert.Equal(t, []uint64{6}, sequences(missing))
	m.caughtUpNow(0, missing)
	assert.Equal(t, []uint64{3, 5, 7, 8}, sequences(m.after(0, true).entries))
	assert.Empty(t, m.unseen(), "until it is read again")
	assert.Equal(t, 2, m.after(0, true).turn-before, "one came back, one is gone")
	m.mu.Lock()
	defer m.mu.Unlock()
	assert.Contains(t, m.sweeps, ports.SessionID("ended"))
	assert.NotContains(t, m.sweeps, ports.SessionID("s"))
}

// A server that lost its last writes gives their sequences again.
func TestWhatWasLostIsUnseen(t *testing.T) {
	t.Parallel()
	now := &life{epoch: "e"}
	m := reading(now)
	for seq, id := range map[uint64]string{5: "stays", 6: "back", 7: "rewritten", 8: "revived"} {
		m.takeRecord(recordAt(seq, id, "s"), false)
	}
	m.caughtUpNow(8, nil)
	m.begin(now, true, 0, "all")
	m.takeRecord(recordAt(3, "back", "s"), false)
	m.takeRecord(recordAt(4, "revived", "s"), false)
	m.takeRecord(recordAt(5, "stays", "s"), false)
	other := recordAt(7, "rewritten", "s")
	other.stored = time.Unix(1, 0)
	m.takeRecord(other, false)
	m.takeRecord(recordAt(8, "revived", "s"), false)
	missing := m.unseen()
	slices.SortFunc(missing, func(a, b *entry) int { return bySequence(a, b.seq) })
	assert.Equal(t, []uint64{6, 7}, sequences(missing))
	assert.True(t, missing[0].undoneBy(3, time.Time{}))
	assert.True(t, missing[1].undoneBy(7, other.stored))
	assert.False(t, missing[1].undoneBy(7, time.Time{}.Local()), "the same")
	assert.False(t, missing[1].undoneBy(9, time.Time{}), "it comes further on")
}

// Who takes a seat has passed over sessions, and reads all until it has them.
func TestASeatBeginsWithSessions(t *testing.T) {
	t.Parallel()
	now := &life{epoch: "e"}
	m := newMirror()
	assert.Equal(t, uint64(1), m.begin(now, false, noSeat, "records"))
	m.takeRecord(recordAt(5, "a", "unknown"), false)
	m.caughtUpNow(9, nil)
	_, due, _ := m.nextSweep()
	assert.False(t, due, "no session is known, and none has ended")
	assert.Equal(t, uint64(10), m.begin(now, false, noSeat, "records"))
	m.caughtUpNow(9, nil)
	for range 2 { // the consumer may not come about
		assert.Equal(t, uint64(1), m.begin(now, false, 0, "all"))
	}
	m.takeSession("open", session{open: true, seq: 2})
	m.takeRecord(recordAt(5, "a", "unknown"), false)
	m.takeRecord(recordAt(11, "b", "open"), false)
	m.caughtUpNow(11, nil)
	id, due, _ := m.nextSweep()
	assert.True(t, due)
	assert.Equal(t, ports.SessionID("unknown"), id)
	assert.Equal(t, uint64(12), m.begin(now, false, 1, "all"), "one seat is as good as another")
	m.caughtUpNow(11, nil)
	assert.Equal(t, uint64(12), m.begin(now, false, noSeat, "records"))
	m.again("open", 0)
	_, due, _ = m.nextSweep()
	assert.False(t, due, "who lost its seat leaves it to others")
}

// What a Put may take from the mirror, and when it must not.
func TestWhatStandsInTheMirror(t *testing.T) {
	t.Parallel()
	now := &life{epoch: "e"}
	m := reading(now)
	a := recordAt(5, "a", "s")
	a.doc.Record.Body = []byte("{}")
	m.takeRecord(a, false)
	m.takeRecord(tombAt(6, "b"), false)
	wanted := func(ids ...string) (w []backendkit.Wanted) {
		for _, id := range ids {
			w = append(w, backendkit.Wanted{Key: core.Key{Service: "api", ID: id}})
		}
		return w
	}
	assert.Nil(t, m.standing(now, wanted("a")), "not all was read")
	m.caughtUpNow(6, nil)
	assert.Nil(t, m.standing(&life{epoch: "e"}, wanted("a")), "another life")
	got := m.standing(now, wanted("a", "b", "c"))
	require.Len(t, got, 3)
	assert.Equal(t, []uint64{5, 6, 0}, []uint64{got[0].Version, got[1].Version, got[2].Version})
	assert.Equal(t, a.doc.Record, got[0].Record)
	got[0].Record.Body[0], got[0].Record.Session, got[1].Tombstone.Actor = 'x', "other", "other"
	again := m.standing(now, wanted("a", "b"))
	assert.Equal(t, "{}", string(again[0].Record.Body))
	assert.Equal(t, ports.SessionID("s"), again[0].Record.Session)
	assert.Empty(t, again[1].Tombstone.Actor)
	m.noteOwn(now, a.key, 8)
	assert.Nil(t, m.standing(now, wanted("b", "a")), "our own write of it has not come yet")
	assert.NotNil(t, m.standing(now, wanted("b")))
	m.takeRecord(recordAt(8, "a", "s"), false)
	m.noteOwn(now, a.key, 8)
	assert.Equal(t, uint64(8), m.standing(now, wanted("a"))[0].Version)
	bad := recordAt(9, "a", "s")
	bad.doc, bad.flaw = backendkit.Document{}, assert.AnError
	m.takeRecord(bad, false)
	assert.Nil(t, m.standing(now, wanted("a")), "the leader says what is wrong with it")
}

func TestWhenToLookAfterASession(t *testing.T) {
	t.Parallel()
	planned := func(do func(m *mirror)) (at time.Duration, is bool) {
		m := reading(&life{epoch: "e"})
		do(m)
		m.mu.Lock()
		defer m.mu.Unlock()
		when, is := m.sweeps["s"]
		return time.Until(when), is
	}
	ends := func(closed bool) session { return session{seq: 9, doc: sessionJSON{Closed: closed}} }
	_, is := planned(func(m *mirror) {
		m.takeRecord(recordAt(5, "a", "s"), false)
		m.caughtUpNow(0, nil)
	})
	assert.False(t, is, "it is open")
	_, is = planned(func(m *mirror) {
		m.takeRecord(recordAt(5, "a", "s"), false)
		m.takeSession("s", ends(false))
	})
	assert.False(t, is, "until all was read, it may have been renewed further on")
	at, is := planned(func(m *mirror) {
		m.caughtUpNow(0, nil)
		m.takeRecord(recordAt(5, "a", "s"), false)
		m.takeSession("s", ends(false))
	})
	assert.True(t, is)
	assert.LessOrEqual(t, at, time.Duration(0), "the first seat at once")
	at, is = planned(func(m *mirror) {
		m.caughtUpNow(0, nil)
		m.takeRecord(recordAt(5, "a", "s"), false)
		m.takeSession("s", ends(true))
	})
	assert.True(t, is)
	assert.Greater(t, at, closersTime/2, "first it is the closer's turn")
	_, is = planned(func(m *mirror) {
		m.caughtUpNow(0, nil)
		m.takeSession("s", ends(false))
		m.takeRecord(recordAt(10, "late", "s"), false)
	})
	assert.True(t, is, "a Put that came after the end")
	_, is = planned(func(m *mirror) {
		m.caughtUpNow(0, nil)
		m.takeRecord(recordAt(5, "a", "s"), false)
		m.takeSession("s", ends(false))
		m.takeRecord(tombAt(10, "a"), false)
	})
	assert.False(t, is, "somebody was faster")
}

func TestWhatStandsAtASubject(t *testing.T) {
	t.Parallel()
	key := core.Key{Service: "api", ID: "a"}
	gen := core.Generation{N: 3, Random: "X"}
	encode := func(f ports.Found) []byte {
		value, err := backendkit.Encode(backendkit.Document{Found: f})
		require.NoError(t, err)
		return value
	}
	record := encode(ports.Found{Record: &ports.Record{Key: key, Generation: gen, Session: "s", Body: []byte(`{}`)}})
	tomb := encode(ports.Found{Tombstone: &ports.Tombstone{Key: key, Generation: gen, Cause: core.CauseOperator}})
	l := &life{epoch: "e"}
	at := core.Revision{Epoch: "e", N: 7}
	loaded := l.interpret(key, &message{seq: 7, data: record})
	assert.Equal(t, at, loaded.Record.Revision)
	loaded = l.interpret(key, &message{seq: 7, data: tomb})
	assert.Equal(t, at, loaded.Tombstone.Revision)
	for name, m := range map[string]*message{
		"a marker":         {seq: 7, header: map[string][]string{"Nats-Marker-Reason": {"MaxAge"}}},
		"a corrupt record": {seq: 7, data: []byte("{")},
		"another key's":    {seq: 7, data: []byte(strings.Replace(string(record), `"api"`, `"web"`, 1))},
	} {
		assert.Equal(t, backendkit.Loaded{Version: 7}, l.interpret(key, m), name)
	}
	assert.Equal(t, backendkit.Loaded{}, l.interpret(key, nil))
	require.Error(t, l.interpret(key, &message{seq: 7, data: []byte(`{"v":99}`)}).Err)
}

func TestSessionsAsTheyStand(t *testing.T) {
	t.Parallel()
	assert.Equal(t, session{}, readSession(nil))
	open := readSession(&message{seq: 3, data: []byte(`{"v":1,"ttl":15}`)})
	assert.True(t, open.open)
	assert.Equal(t, 15*time.Second, open.ttl())
	for _, ended := range []*message{
		{seq: 3, data: []byte(`{"v":1,"ttl":15,"closed":true}`)},
		{seq: 3, data: []byte(`{"v":1}`)},
		{seq: 3, data: []byte(`no`)},
		{seq: 3, data: []byte(`{"v":1,"ttl":15}`), header: map[string][]string{"Nats-Marker-Reason": {"MaxAge"}}},
	} {
		s := readSession(ended)
		assert.False(t, s.open, string(ended.data))
		assert.Equal(t, uint64(3), s.seq)
	}
}

func TestEpochsAndVersions(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, newEpoch())
	first := newEpoch()
	assert.NotEqual(t, first, newEpoch())
	for _, version := range []string{"2.11.3", "2.12.0", "2.12.3-RC.1", "v2.15.2", "3.0.0"} {
		require.NoError(t, checkVersion("nats://x", version))
	}
	for d, want := range map[time.Duration]int64{time.Second: 1, 1001 * time.Millisecond: 2, 1500 * time.Millisecond: 2, time.Hour: 3600} {
		assert.Equal(t, want, seconds(d))
	}
}
