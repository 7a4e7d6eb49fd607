package etcd

// layout_internal_test.go: keys, versions and epochs, without a server.

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestKeysOfNamesAreTheirOwn(t *testing.T) {
	t.Parallel()
	l := layout("prism/")
	names := []string{"a", "a.", "a-b", "a_b", "ab", "A", "0", "instances", "epoch", strings.Repeat("n", core.MaxName)}
	seen := make(map[string]core.Key)
	for _, service := range names {
		for _, id := range names {
			key := core.Key{Service: service, ID: id}
			record := l.record(key)
			assert.NotContains(t, seen, record)
			seen[record] = key
			back, ok := l.key(record)
			assert.True(t, ok)
			assert.Equal(t, key, back)
			of := l.of(service)
			assert.True(t, of.from <= record && record < of.to, record)
			assert.True(t, l.all().from <= of.from && of.to <= l.all().to)
			for _, other := range names {
				if span := l.of(other); other != service {
					assert.False(t, span.from <= record && record < span.to, "%s in the range of %s", record, other)
				}
			}
			assert.True(t, l.ours(record) && l.ours(l.will(key)))
			_, ok = l.key(l.will(key))
			assert.False(t, ok)
		}
	}
	for _, odd := range []string{"prism/instances/a", "prism/instances/a/b/c", "prism/instances//b", "prism/instances/a/", "prismx/instances/a/b", "prism/epoch", ""} {
		_, ok := l.key(odd)
		assert.False(t, ok, odd)
	}
	for key, ours := range map[string]bool{
		l.epoch(): true, l.audit(): true, l.session("s"): true, l.opened("s"): true, "prism/epochs": false, "prism/config": false, "prism/instances": false,
	} {
		assert.Equal(t, ours, l.ours(key), key)
	}
}

func TestLeasesOfSessions(t *testing.T) {
	t.Parallel()
	one, other := &Backend{keys: "prism/"}, &Backend{keys: "prismx/"}
	seen := make(map[any]bool)
	for _, b := range []*Backend{one, other} {
		for _, id := range []ports.SessionID{"s", "S", "s.", "t"} {
			lease := b.lease(id)
			assert.Positive(t, lease)
			assert.False(t, seen[lease])
			seen[lease] = true
		}
	}
}

func TestWhatStandsAtAKey(t *testing.T) {
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
	will := encode(ports.Found{Tombstone: &ports.Tombstone{Key: key, Generation: gen, Session: "s", Cause: core.CauseExpired}})
	a := &answer{life: &life{epoch: "e"}, revision: 50}
	for name, tt := range map[string]struct {
		record, will *mvccpb.KeyValue
		version      uint64
		revision     uint64
		cause        core.Cause
		isRecord     bool
		refused      bool
	}{
		"nothing":              {},
		"a record":             {record: &mvccpb.KeyValue{Value: record, ModRevision: 7}, will: &mvccpb.KeyValue{Value: will, ModRevision: 5}, version: 15, revision: 7, isRecord: true},
		"a deletion":           {record: &mvccpb.KeyValue{Value: tomb, ModRevision: 7, Lease: 9}, version: 15, revision: 7, cause: core.CauseOperator},
		"an expiry":            {will: &mvccpb.KeyValue{Value: will, ModRevision: 5}, version: 10, revision: 50, cause: core.CauseExpired},
		"an expiry that fades": {will: &mvccpb.KeyValue{Value: will, ModRevision: 30, Lease: 9}, version: 60, revision: 30, cause: core.CauseExpired},
		"a corrupt record":     {record: &mvccpb.KeyValue{Value: []byte("{"), ModRevision: 7}, will: &mvccpb.KeyValue{Value: will, ModRevision: 5}, version: 15},
		"another key's":        {record: &mvccpb.KeyValue{Value: []byte(strings.Replace(string(record), `"api"`, `"web"`, 1)), ModRevision: 7}, version: 15},
		"a newer format":       {record: &mvccpb.KeyValue{Value: []byte(`{"v":99}`), ModRevision: 7}, version: 15, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := a.interpret(key, tt.record, tt.will)
			assert.Equal(t, tt.version, l.Version)
			assert.Equal(t, tt.refused, l.Err != nil)
			assert.Equal(t, tt.isRecord, l.Record != nil)
			assert.Equal(t, tt.cause != "", l.Tombstone != nil)
			if l.Record != nil {
				assert.Equal(t, core.Revision{Epoch: "e", N: tt.revision}, l.Record.Revision)
			}
			if l.Tombstone != nil {
				assert.Equal(t, core.Revision{Epoch: "e", N: tt.revision}, l.Tombstone.Revision)
				assert.Equal(t, tt.cause, l.Tombstone.Cause)
				assert.Equal(t, gen, l.Tombstone.Generation)
			}
		})
	}
}

func TestLivesOfTheStore(t *testing.T) {
	t.Parallel()
	value := func(epoch string) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Value: []byte(`{"v":1,"epoch":"` + epoch + `","cluster":"c1"}`)}
	}
	b := &Backend{keys: "prism/"}
	judge := func(stored *mvccpb.KeyValue, cluster uint64, revision, floor int64) (string, string) {
		now, why, err := b.judge(stored, cluster, revision, b.life.Load(), floor)
		require.NoError(t, err)
		if now == nil {
			return "", why
		}
		return now.epoch, why
	}
	_, why := judge(nil, 0xc1, 10, 0)
	assert.Contains(t, why, "none")
	epoch, why := judge(value("one"), 0xc1, 10, 0)
	assert.Equal(t, []string{"one", ""}, []string{epoch, why})
	_, why = judge(value("one"), 0xc1, 9, 10)
	assert.Contains(t, why, "backwards")
	epoch, why = judge(value("one"), 0xc1, 10, 10)
	assert.Equal(t, []string{"one", ""}, []string{epoch, why})
	_, why = judge(value("one"), 0xc2, 11, 10)
	assert.Contains(t, why, "another cluster")
	epoch, why = judge(value("two"), 0xc1, 3, 10)
	assert.Equal(t, []string{"two", ""}, []string{epoch, why}, "somebody else was first to begin a new one")
	assert.Equal(t, "two", b.life.Load().epoch)

	l := b.life.Load()
	for _, n := range []int64{5, 9, 7} {
		l.note(n)
	}
	assert.Equal(t, int64(9), l.seen.Load())
	assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, newEpoch())
	first := newEpoch()
	assert.NotEqual(t, first, newEpoch())
}
