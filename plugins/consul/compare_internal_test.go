package consul

// compare_internal_test.go: states made into changes, without a store.

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// told is what compare sends.
func told(t *testing.T, a account, now uint64, snapshot bool, pairs ...*api.KVPair) []ports.WatchEvent {
	t.Helper()
	var feeds backendkit.Feeds
	defer feeds.Close()
	feed, err := feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
		if err := a.compare(ctx, to, layout{"prism"}, "api", pairs, epoch{id: "e"}, now, snapshot); err != nil {
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
	assert.Empty(t, told(t, a, 5, true, buried(4)), "a tombstone is no news in a snapshot")
	events := told(t, a, 6, false, record(6))
	require.Len(t, events, 1)
	assert.Equal(t, at(6), events[0].Record.Revision)
	assert.Empty(t, told(t, a, 6, false, record(6)), "nothing has moved")
	events = told(t, a, 8, false, buried(7))
	require.Len(t, events, 1)
	assert.Equal(t, core.CauseOperator, events[0].Tombstone.Cause)
	assert.Equal(t, at(7), events[0].Tombstone.Revision)
	assert.Empty(t, told(t, a, 9, false), "its tombstone was forgotten")
	assert.Empty(t, a)

	events = told(t, a, 10, false, buried(10))
	require.Len(t, events, 1, "what came and went between two looks is told too")
	told(t, a, 12, false, record(11))
	events = told(t, a, 20, false)
	require.Len(t, events, 1, "it has vanished")
	assert.Equal(t, ports.Tombstone{Key: key, Generation: rec.Generation, Session: "s", Cause: core.CauseUnknown, Revision: at(20)}, *events[0].Tombstone)
}

func TestCompareReportsWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	a := make(account)
	damaged := &api.KVPair{Key: "prism/records/api/a", Value: []byte("\x00"), ModifyIndex: 3}
	for _, snapshot := range []bool{true, false} {
		clear(a)
		events := told(t, a, 3, snapshot, damaged, &api.KVPair{Key: "prism/records/api/a/b", ModifyIndex: 3})
		require.Len(t, events, 1)
		assert.Equal(t, ports.WatchSkipped, events[0].Kind)
		assert.Equal(t, core.Key{Service: "api", ID: "a"}, events[0].Key)
		assert.NotEmpty(t, events[0].Reason)
		assert.Empty(t, told(t, a, 4, false, damaged), "once is enough")
	}
}

func TestHintsNameTheServiceThatMoved(t *testing.T) {
	t.Parallel()
	b := &Backend{keys: layout{"prism"}}
	v := b.readVersions(api.KVPairs{
		{Key: "prism/versions/epoch", Value: []byte(`{"v":1,"epoch":"e"}`), ModifyIndex: 2},
		{Key: "prism/versions/07", Value: []byte(`{"v":1,"service":"api-1.x","write":"w"}`), ModifyIndex: 9},
		{Key: "prism/versions/08", Value: []byte(`{"v":2}`), ModifyIndex: 8},
	}, 9)
	assert.Equal(t, epoch{id: "e", index: 2}, v.epoch)
	assert.Equal(t, map[string]uint64{"07": 9, "08": 8}, v.buckets)
	assert.Equal(t, map[string]string{"07": "api-1.x"}, v.hints)
}
