package etcd_test

// traps_test.go: what etcd does that a backend could trip over.

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/etcd"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestACursorBeforeACompactionIsReset(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	first := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	second := backendtest.Put(t, b, *first, first.Generation)
	second = backendtest.Put(t, b, *second, second.Generation)
	backendtest.Until(t, w, func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == second.Revision })
	_, err := raw(t, store, "", "").Compact(backendtest.Within(t), int64(second.Revision.N))
	require.NoError(t, err)

	// The stream that has passed goes on.
	third := backendtest.Put(t, b, *second, second.Generation)
	assert.Equal(t, third.Revision, backendtest.Last(backendtest.Until(t, w, backendtest.Is(ports.WatchPut))).Record.Revision)
	// A cursor of before gets everything anew, in the same stream.
	events := backendtest.Until(t, backendtest.Follow(t, b, first.Revision), backendtest.Is(ports.WatchSynced))
	assert.Equal(t, ports.WatchReset, events[0].Kind)
	assert.Contains(t, events[0].Reason, "compacted")
	require.Len(t, events, 3)
	assert.Equal(t, third, events[1].Record)
	// A list from such a cursor, too.
	list, err := b.Watch(backendtest.Within(t), ports.WatchRequest{Cursor: first.Revision})
	require.NoError(t, err)
	backendtest.Until(t, list, backendtest.Is(ports.WatchSynced))
	_, err = list.Next(backendtest.Within(t))
	require.ErrorIs(t, err, io.EOF)
}

// No process of Prism is alive as the session runs out; what it left still decides.
func TestExpiryNeedsNobody(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", 6*time.Second)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	require.NoError(t, b.Close())
	for resp := range client.Watch(backendtest.Within(t), namespace+"/instances/api/a", clientv3.WithRev(int64(rec.Revision.N)+1)) {
		require.NoError(t, resp.Err())
		if len(resp.Events) > 0 {
			require.Equal(t, mvccpb.Event_DELETE, resp.Events[0].Type)
			break
		}
	}

	b = open(t, store, etcd.Options{})
	for range 2 {
		tomb := backendtest.Get(t, b, "a").Tombstone
		require.NotNil(t, tomb)
		assert.Equal(t, core.CauseExpired, tomb.Cause)
		assert.Equal(t, rec.Generation, tomb.Generation)
		assert.Equal(t, rec.Session, tomb.Session)
		assert.True(t, tomb.Revision.After(rec.Revision))
		require.NoError(t, b.Audit(backendtest.Within(t))) // and after that the same
	}
	_, err := b.OpenSession(backendtest.Within(t), ports.SessionSpec{ID: "s", TTL: time.Second})
	require.ErrorIs(t, err, ports.ErrSessionGone)
	backendtest.Session(t, b, "s2", time.Hour)
	lower := backendtest.Record("a", "s2")
	lower.Generation = core.Generation{N: 0, Random: "Z"}
	res, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Put: &ports.Put{Record: lower}}})
	require.NoError(t, err)
	require.ErrorIs(t, res[0].Err, ports.ErrConflict)
	again := *rec
	again.Session = "s2"
	backendtest.Put(t, b, again, core.Generation{})
}

// What ran out is attached to leases that fade, what lives and what was deleted is left alone.
func TestOrphansFade(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "lives", time.Hour)
	backendtest.Session(t, b, "ends", time.Hour)
	const each = 620 // more than a page
	for from := 0; from < each; from += 100 {
		var muts []ports.Mutation
		for i := from; i < min(from+100, each); i++ {
			ends, lives := backendtest.Record(fmt.Sprintf("%d-ends", i), "ends"), backendtest.Record(fmt.Sprintf("%d-lives", i), "lives")
			muts = append(muts, ports.Mutation{Put: &ports.Put{Record: ends}}, ports.Mutation{Put: &ports.Put{Record: lives}})
		}
		res, err := b.Apply(backendtest.Within(t), muts)
		require.NoError(t, err)
		for _, r := range res {
			require.NoError(t, r.Err)
		}
	}
	deleted := backendtest.Put(t, b, backendtest.Record("deleted", "lives"), core.Generation{})
	backendtest.Remove(t, b, deleted)
	w := backendtest.Follow(t, b, deleted.Revision)
	runOut(t, client, "ends")
	gone := 0
	backendtest.Until(t, w, func(ev ports.WatchEvent) bool {
		if ev.Kind == ports.WatchDelete && ev.Tombstone.Cause == core.CauseExpired {
			gone++
		}
		return gone == each
	})
	require.NoError(t, b.Audit(backendtest.Within(t)))

	life := func(key string) (attached bool, left time.Duration) {
		resp, err := client.Get(backendtest.Within(t), namespace+"/"+key)
		require.NoError(t, err)
		require.Len(t, resp.Kvs, 1, key)
		if resp.Kvs[0].Lease == 0 {
			return false, 0
		}
		ttl, err := client.TimeToLive(backendtest.Within(t), clientv3.LeaseID(resp.Kvs[0].Lease))
		require.NoError(t, err)
		return true, time.Duration(ttl.TTL) * time.Second
	}
	for key, want := range map[string]time.Duration{
		"wills/api/0-ends": ports.TombstoneLife, "wills/api/619-ends": ports.TombstoneLife, "instances/api/deleted": ports.TombstoneLife,
		"opened/ends": 24 * time.Hour, "wills/api/0-lives": 0, "wills/api/619-lives": 0, "opened/lives": 0,
	} {
		attached, left := life(key)
		assert.Equal(t, want > 0, attached, key)
		assert.GreaterOrEqual(t, left, want, key)
		assert.LessOrEqual(t, left, 2*want, key)
	}
	for range 2 {
		leases, err := client.Leases(backendtest.Within(t))
		require.NoError(t, err)
		assert.Len(t, leases.Leases, 3, "one session, one lease for tombstones, one for ids")
		require.NoError(t, open(t, store, etcd.Options{}).Audit(backendtest.Within(t))) // which finds nothing to do
	}
	// A record that comes back is not taken away by the lease of its tombstone.
	back := backendtest.Record("deleted", "lives")
	back.Generation = deleted.Generation.Next()
	backendtest.Put(t, b, back, core.Generation{})
	attached, _ := life("wills/api/deleted")
	assert.False(t, attached)
}

func TestOneProcessAudits(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	elected := 0
	for range 3 {
		mine, err := open(t, store, etcd.Options{}).Elected(backendtest.Within(t), time.Hour)
		require.NoError(t, err)
		if mine {
			elected++
		}
	}
	assert.Equal(t, 1, elected)
}

// The lease of tombstones may be gone: after a wipe, or since the clock stood still.
func TestALostLeaseOfTombstonesIsReplaced(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	backendtest.Remove(t, b, backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{}))
	resp, err := client.Get(backendtest.Within(t), namespace+"/instances/api/a")
	require.NoError(t, err)
	_, err = client.Revoke(backendtest.Within(t), clientv3.LeaseID(resp.Kvs[0].Lease))
	require.NoError(t, err)
	backendtest.Remove(t, b, backendtest.Put(t, b, backendtest.Record("b", "s"), core.Generation{}))
	require.NotNil(t, backendtest.Get(t, b, "b").Tombstone)
	require.NoError(t, b.CloseSession(backendtest.Within(t), "s"))
	// The same for that of ids.
	resp, err = client.Get(backendtest.Within(t), namespace+"/opened/s")
	require.NoError(t, err)
	_, err = client.Revoke(backendtest.Within(t), clientv3.LeaseID(resp.Kvs[0].Lease))
	require.NoError(t, err)
	backendtest.Session(t, b, "t", time.Hour)
	require.NoError(t, b.CloseSession(backendtest.Within(t), "t"))
	_, err = b.OpenSession(backendtest.Within(t), ports.SessionSpec{ID: "t", TTL: time.Hour})
	require.ErrorIs(t, err, ports.ErrSessionGone)
}

// What a record's end shows of it is in its will where the record cannot be read.
func TestTheEndOfACorruptRecord(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	b := open(t, store, etcd.Options{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	require.NoError(t, ways.VandalOf(documents{store}).Corrupt(backendtest.Within(t), namespace, rec.Key))
	assert.Equal(t, rec.Key, backendtest.Last(backendtest.Until(t, w, backendtest.Is(ports.WatchSkipped))).Key)
	runOut(t, raw(t, store, "", ""), "s")
	tomb := backendtest.Last(backendtest.Until(t, w, backendtest.Is(ports.WatchDelete))).Tombstone
	assert.Equal(t, rec.Generation, tomb.Generation)
	assert.Equal(t, rec.Session, tomb.Session)
	assert.Equal(t, core.CauseExpired, tomb.Cause)
	assert.True(t, tomb.Revision.After(rec.Revision))
}

// A session's end is one response of etcd, sent in fragments where it is large.
func TestTheEndOfLargeRecords(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	b := open(t, store, etcd.Options{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	backendtest.Session(t, b, "s", time.Hour)
	const records = 60
	for i := range records {
		rec := backendtest.Record(fmt.Sprint(i), "s")
		rec.Body = []byte(`"` + strings.Repeat("x", ports.MaxBodyBytes-2) + `"`)
		backendtest.Put(t, b, rec, core.Generation{})
	}
	runOut(t, raw(t, store, "", ""), "s")
	seen := make(map[core.Key]core.Cause)
	backendtest.Until(t, w, func(ev ports.WatchEvent) bool {
		if ev.Kind == ports.WatchDelete {
			seen[ev.Tombstone.Key] = ev.Tombstone.Cause
		}
		return len(seen) == records
	})
	for key, cause := range seen {
		assert.Equal(t, core.CauseExpired, cause, key)
	}
}

// A key that is none of a record's is reported, and hides nothing.
func TestAKeyThatIsNoRecord(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	b, err := overTheWire(store).Open(backendtest.Within(t), namespace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	backendtest.Session(t, b, "s", time.Hour)
	backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	_, err = raw(t, store, "", "").Put(backendtest.Within(t), namespace+"/instances/api/b/c", "x")
	require.NoError(t, err)
	w := backendtest.Follow(t, b, core.Revision{})
	var kinds []ports.WatchKind
	for _, ev := range backendtest.Until(t, w, backendtest.Is(ports.WatchSynced)) {
		kinds = append(kinds, ev.Kind)
		if ev.Kind == ports.WatchSkipped {
			assert.Contains(t, ev.Reason, "prism/instances/api/b/c")
		}
	}
	assert.ElementsMatch(t, []ports.WatchKind{ports.WatchReset, ports.WatchPut, ports.WatchSkipped, ports.WatchSynced}, kinds)
	_, err = raw(t, store, "", "").Delete(backendtest.Within(t), namespace+"/instances/api/b/c")
	require.NoError(t, err)
	last := backendtest.Put(t, b, backendtest.Record("z", "s"), core.Generation{})
	for _, ev := range backendtest.Until(t, w, func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == last.Revision }) {
		assert.NotEqual(t, ports.WatchDelete, ev.Kind)
	}
}

// What happens between reading and writing undoes the decision.
func TestWritesAreConditional(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	b, other := open(t, store, etcd.Options{}), open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	backendtest.Session(t, b, "t", time.Hour)
	require.NoError(t, b.CommitAfter(backendtest.Within(t), backendtest.Record("nothing", "s"), func() {}))
	for what, between := range map[string]func(id string){
		"a record": func(id string) { backendtest.Put(t, other, backendtest.Record(id, "t"), core.Generation{}) },
		"a record that was deleted again": func(id string) {
			backendtest.Remove(t, other, backendtest.Put(t, other, backendtest.Record(id, "t"), core.Generation{}))
		},
		"a record that ran out": func(id string) {
			backendtest.Session(t, other, ports.SessionID("s-"+id), time.Hour)
			backendtest.Put(t, other, backendtest.Record(id, ports.SessionID("s-"+id)), core.Generation{})
			_, err := client.Delete(backendtest.Within(t), recordKey(namespace, core.Key{Service: "api", ID: id})) // as the end of its lease does
			require.NoError(t, err)
		},
		"another epoch": func(string) {
			_, err := client.Put(backendtest.Within(t), namespace+"/epoch", `{"v":1,"epoch":"another","cluster":"1"}`)
			require.NoError(t, err)
		},
	} {
		id := strings.ReplaceAll(what, " ", "-")
		require.ErrorIs(t, b.CommitAfter(backendtest.Within(t), backendtest.Record(id, "s"), func() { between(id) }), backendkit.ErrStale, what)
	}
	err := b.CommitAfter(backendtest.Within(t), backendtest.Record("closed", "s"), func() { require.NoError(t, other.CloseSession(backendtest.Within(t), "s")) })
	require.ErrorIs(t, err, ports.ErrSessionGone)
}
