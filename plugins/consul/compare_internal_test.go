package consul

// compare_internal_test.go: states made into changes, without a store.

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// told is what a watcher is told of one key, at which a pair stands, or nothing does.
func told(t *testing.T, a account, pair *api.KVPair, now uint64, snapshot bool) []ports.WatchEvent {
	t.Helper()
	var feeds backendkit.Feeds
	defer feeds.Close()
	key := core.Key{Service: "api", ID: "a"}
	feed, err := feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
		var err error
		if pair != nil {
			err = a.tell(ctx, to, key, pair, epoch{id: "e"}, snapshot)
		} else {
			err = a.gone(ctx, to, key, epoch{id: "e"}, now)
		}
		if err != nil {
			return err
		}
		return io.EOF
	})
	require.NoError(t, err)
	var events []ports.WatchEvent
	for {
		ev, err := feed.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return events
		}
		require.NoError(t, err)
		events = append(events, ev)
	}
}

func stored(t *testing.T, id string, index uint64, found ports.Found) *api.KVPair {
	t.Helper()
	value, err := backendkit.Encode(backendkit.Document{Found: found})
	require.NoError(t, err)
	return &api.KVPair{Key: "prism/records/api/" + id, Value: value, ModifyIndex: index}
}

func TestCompareSendsWhatIsNew(t *testing.T) {
	t.Parallel()
	key := core.Key{Service: "api", ID: "a"}
	rec := &ports.Record{Key: key, Generation: core.Generation{N: 1, Random: "x"}, Session: "s", Body: []byte(`{"v":1}`), State: core.State{Declared: core.DeclaredUp}}
	tomb := &ports.Tombstone{Key: key, Generation: rec.Generation, Session: "s", Cause: core.CauseOperator, Actor: "ops"}
	record := func(index uint64) *api.KVPair { return stored(t, "a", index, ports.Found{Record: rec}) }
	buried := func(index uint64) *api.KVPair { return stored(t, "a", index, ports.Found{Tombstone: tomb}) }
	at := func(n uint64) core.Revision { return core.Revision{Epoch: "e", N: n} }

	a := make(account)
	assert.Empty(t, told(t, a, buried(4), 5, true), "a tombstone is no news in a snapshot")
	events := told(t, a, record(6), 6, false)
	require.Len(t, events, 1)
	assert.Equal(t, at(6), events[0].Record.Revision)
	assert.True(t, a.stands(key))
	assert.Empty(t, told(t, a, record(6), 6, false), "nothing has moved")
	events = told(t, a, buried(7), 8, false)
	require.Len(t, events, 1)
	assert.Equal(t, core.CauseOperator, events[0].Tombstone.Cause)
	assert.Equal(t, at(7), events[0].Tombstone.Revision)
	assert.False(t, a.stands(key))
	assert.Empty(t, told(t, a, nil, 9, false), "its tombstone was forgotten")
	assert.Empty(t, a)

	events = told(t, a, buried(10), 10, false)
	require.Len(t, events, 1, "what came and went between two looks is told too")
	told(t, a, record(11), 12, false)
	events = told(t, a, nil, 20, false)
	require.Len(t, events, 1, "it has vanished")
	assert.Equal(t, ports.Tombstone{Key: key, Generation: rec.Generation, Session: "s", Cause: core.CauseUnknown, Revision: at(20)}, *events[0].Tombstone)
}

func TestWhatCannotBeReadIsReported(t *testing.T) {
	t.Parallel()
	a := make(account)
	damaged := &api.KVPair{Key: "prism/records/api/a", Value: []byte("\x00"), ModifyIndex: 3}
	for _, snapshot := range []bool{true, false} {
		clear(a)
		events := told(t, a, damaged, 3, snapshot)
		require.Len(t, events, 1)
		assert.Equal(t, ports.WatchSkipped, events[0].Kind)
		assert.Equal(t, core.Key{Service: "api", ID: "a"}, events[0].Key)
		assert.NotEmpty(t, events[0].Reason)
		assert.Empty(t, told(t, a, damaged, 4, false), "once is enough")
	}
}

func TestTheLatestWriteNamesRecords(t *testing.T) {
	t.Parallel()
	of := func(service, id, document string) written {
		return written{key: core.Key{Service: service, ID: id}, document: document}
	}
	for value, want := range map[string][]written{
		`{"v":1,"write":"w","keys":["api-1.x/a","web/b"]}`:      {of("api-1.x", "a", ""), of("web", "b", "")},
		`{"v":1,"keys":["api/a","api/b"],"documents":["x"]}`:    {of("api", "a", "x"), of("api", "b", "")},
		`{"v":1,"keys":["","api/a"],"documents":["x","y","z"]}`: {of("api", "a", "y")},
		`{"v":1,"keys":["","api","api/b/c","../x"]}`:            nil,
		`{"v":1,"keys":7}`: nil,
		`by hand`:          nil,
		`{"v":1,"keys":[` + strings.Repeat(`"api/a",`, 99) + `"api/b"]}`: slices.Repeat([]written{of("api", "a", "")}, maxNamed),
	} {
		_, got := readLatest([]byte(value))
		assert.Equal(t, want, got, value)
	}
}

// Documents are shown from the first on, as far as they are small together.
func TestTheLatestWriteShowsWhatIsSmall(t *testing.T) {
	t.Parallel()
	half := strings.Repeat("<", maxShown/2)
	for _, tc := range []struct{ documents, shown []string }{
		{[]string{"a", "b"}, []string{"a", "b"}},
		{[]string{half, half, "c"}, []string{half, half}},
		{[]string{"a", half + half, "c"}, []string{"a"}},
		{[]string{half + half + "x", "b"}, nil},
		{slices.Repeat([]string{"a"}, maxNamed+1), slices.Repeat([]string{"a"}, maxNamed)},
	} {
		j := latestJSON{Epoch: "e"}
		for i, d := range tc.documents {
			j.note(core.Key{Service: "api", ID: string(rune('a' + i))}, []byte(d))
		}
		epoch, of := readLatest(j.encode())
		assert.Equal(t, "e", epoch)
		require.Len(t, of, min(len(tc.documents), maxNamed))
		var shown []string
		for i, w := range of {
			assert.Equal(t, string(rune('a'+i)), w.key.ID)
			if w.document != "" {
				shown = append(shown, w.document)
			}
		}
		assert.Equal(t, tc.shown, shown)
	}
}

func TestWhatWasWrittenComesInItsOrder(t *testing.T) {
	t.Parallel()
	a := make(account)
	key := func(id string) core.Key { return core.Key{Service: "api", ID: id} }
	a.set(key("told"), sent{index: 7, stands: true})
	a.set(key("told before"), sent{index: 6, stands: true})
	m := moves{key("told"): 7, key("told before"): 9, key("b"): 8, key("a"): 8, key("z"): 5}
	assert.Equal(t, []core.Key{key("z"), key("a"), key("b"), key("told before")}, m.writtenSince(a))
}
