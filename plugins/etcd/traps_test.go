package etcd_test

// traps_test.go: what etcd does that a backend could trip over.

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/etcd"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestACursorBeforeACompactionIsReset(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	b := open(t, store, etcd.Options{})
	session(t, b, "s", time.Hour)
	first := put(t, b, record("a", "s"), core.Generation{})
	w := follow(t, b, core.Revision{})
	until(t, w, is(ports.WatchSynced))
	second := put(t, b, *first, first.Generation)
	second = put(t, b, *second, second.Generation)
	until(t, w, func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == second.Revision })
	_, err := raw(t, store, "", "").Compact(within(t), int64(second.Revision.N))
	require.NoError(t, err)

	// The stream that has passed goes on.
	third := put(t, b, *second, second.Generation)
	assert.Equal(t, third.Revision, last(until(t, w, is(ports.WatchPut))).Record.Revision)
	// A cursor of before gets everything anew, in the same stream.
	events := until(t, follow(t, b, first.Revision), is(ports.WatchSynced))
	assert.Equal(t, ports.WatchReset, events[0].Kind)
	assert.Contains(t, events[0].Reason, "compacted")
	require.Len(t, events, 3)
	assert.Equal(t, third, events[1].Record)
	// A list from such a cursor, too.
	list, err := b.Watch(within(t), ports.WatchRequest{Cursor: first.Revision})
	require.NoError(t, err)
	until(t, list, is(ports.WatchSynced))
	_, err = list.Next(within(t))
	require.ErrorIs(t, err, io.EOF)
}

// No process of Prism is alive as the session runs out; what it left still decides.
func TestExpiryNeedsNobody(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	b := open(t, store, etcd.Options{})
	session(t, b, "s", time.Second)
	rec := put(t, b, record("a", "s"), core.Generation{})
	require.NoError(t, b.Close())
	for resp := range client.Watch(within(t), namespace+"/instances/api/a", clientv3.WithRev(int64(rec.Revision.N)+1)) {
		require.NoError(t, resp.Err())
		if len(resp.Events) > 0 {
			require.Equal(t, mvccpb.Event_DELETE, resp.Events[0].Type)
			break
		}
	}

	b = open(t, store, etcd.Options{})
	for range 2 {
		tomb := get(t, b, "a").Tombstone
		require.NotNil(t, tomb)
		assert.Equal(t, core.CauseExpired, tomb.Cause)
		assert.Equal(t, rec.Generation, tomb.Generation)
		assert.Equal(t, rec.Session, tomb.Session)
		assert.True(t, tomb.Revision.After(rec.Revision))
		require.NoError(t, b.Audit(within(t))) // and after that the same
	}
	_, err := b.OpenSession(within(t), ports.SessionSpec{ID: "s", TTL: time.Second})
	require.ErrorIs(t, err, ports.ErrSessionGone)
	session(t, b, "s2", time.Hour)
	lower := record("a", "s2")
	lower.Generation = core.Generation{N: 0, Random: "Z"}
	res, err := b.Apply(within(t), []ports.Mutation{{Put: &ports.Put{Record: lower}}})
	require.NoError(t, err)
	require.ErrorIs(t, res[0].Err, ports.ErrConflict)
	again := *rec
	again.Session = "s2"
	put(t, b, again, core.Generation{})
}

// What ran out is attached to leases that fade, what lives and what was deleted is left alone.
func TestOrphansFade(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	b := open(t, store, etcd.Options{})
	session(t, b, "lives", time.Hour)
	session(t, b, "ends", time.Second)
	const each = 620 // more than a page
	for from := 0; from < each; from += 100 {
		var muts []ports.Mutation
		for i := from; i < min(from+100, each); i++ {
			ends, lives := record(fmt.Sprintf("%d-ends", i), "ends"), record(fmt.Sprintf("%d-lives", i), "lives")
			muts = append(muts, ports.Mutation{Put: &ports.Put{Record: ends}}, ports.Mutation{Put: &ports.Put{Record: lives}})
		}
		res, err := b.Apply(within(t), muts)
		require.NoError(t, err)
		for _, r := range res {
			require.NoError(t, r.Err)
		}
		renewed, err := b.RenewSessions(within(t), []ports.SessionID{"ends"})
		require.NoError(t, err)
		require.False(t, renewed[0].Gone)
	}
	deleted := put(t, b, record("deleted", "lives"), core.Generation{})
	remove(t, b, deleted)
	w := follow(t, b, deleted.Revision)
	gone := 0
	until(t, w, func(ev ports.WatchEvent) bool {
		if ev.Kind == ports.WatchDelete && ev.Tombstone.Cause == core.CauseExpired {
			gone++
		}
		return gone == each
	})
	require.NoError(t, b.Audit(within(t)))

	life := func(key string) (attached bool, left time.Duration) {
		resp, err := client.Get(within(t), namespace+"/"+key)
		require.NoError(t, err)
		require.Len(t, resp.Kvs, 1, key)
		if resp.Kvs[0].Lease == 0 {
			return false, 0
		}
		ttl, err := client.TimeToLive(within(t), clientv3.LeaseID(resp.Kvs[0].Lease))
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
	leases, err := client.Leases(within(t))
	require.NoError(t, err)
	assert.Len(t, leases.Leases, 3, "one session, one lease for tombstones, one for ids")
	// A record that comes back is not taken away by the lease of its tombstone.
	back := record("deleted", "lives")
	back.Generation = deleted.Generation.Next()
	put(t, b, back, core.Generation{})
	attached, _ := life("wills/api/deleted")
	assert.False(t, attached)
}

func TestOneProcessAudits(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	elected := 0
	for range 3 {
		mine, err := open(t, store, etcd.Options{}).Elected(within(t), time.Hour)
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
	session(t, b, "s", time.Hour)
	remove(t, b, put(t, b, record("a", "s"), core.Generation{}))
	resp, err := client.Get(within(t), namespace+"/instances/api/a")
	require.NoError(t, err)
	_, err = client.Revoke(within(t), clientv3.LeaseID(resp.Kvs[0].Lease))
	require.NoError(t, err)
	remove(t, b, put(t, b, record("b", "s"), core.Generation{}))
	require.NotNil(t, get(t, b, "b").Tombstone)
	require.NoError(t, b.CloseSession(within(t), "s"))
}

// A session's end is one response of etcd, sent in fragments where it is large.
func TestTheEndOfLargeRecords(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	b := open(t, store, etcd.Options{})
	w := follow(t, b, core.Revision{})
	until(t, w, is(ports.WatchSynced))
	session(t, b, "s", 5*time.Second)
	const records = 60
	for i := range records {
		rec := record(fmt.Sprint(i), "s")
		rec.Body = []byte(`"` + strings.Repeat("x", ports.MaxBodyBytes-2) + `"`)
		put(t, b, rec, core.Generation{})
	}
	seen := make(map[core.Key]core.Cause)
	until(t, w, func(ev ports.WatchEvent) bool {
		if ev.Kind == ports.WatchDelete {
			seen[ev.Tombstone.Key] = ev.Tombstone.Cause
		}
		return len(seen) == records
	})
	for key, cause := range seen {
		assert.Equal(t, core.CauseExpired, cause, key)
	}
}

// A snapshot of yesterday is put back: the cluster, its id and its epoch are the same, and
// revisions that were given out are given out again.
func TestARestoredStoreHasANewEpoch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Dir: dir})
	b := open(t, store, etcd.Options{})
	session(t, b, "s", time.Hour)
	kept := put(t, b, record("kept", "s"), core.Generation{})
	w := follow(t, b, core.Revision{})
	until(t, w, is(ports.WatchSynced))

	require.NoError(t, store.Stop(within(t)))
	found, err := filepath.Glob(filepath.Join(dir, "*", "node0", "data"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	backup := filepath.Join(dir, "backup")
	require.NoError(t, os.CopyFS(backup, os.DirFS(found[0])))
	require.NoError(t, store.Start(within(t)))
	for i := range 20 {
		put(t, b, record(fmt.Sprintf("lost-%d", i), "s"), core.Generation{})
	}
	cursor := last(until(t, w, func(ev ports.WatchEvent) bool {
		return ev.Kind == ports.WatchBookmark && ev.Cursor.N >= kept.Revision.N+20
	})).Cursor

	require.NoError(t, store.Stop(within(t)))
	require.NoError(t, os.RemoveAll(found[0]))
	require.NoError(t, os.CopyFS(found[0], os.DirFS(backup)))
	require.NoError(t, os.Chmod(found[0], 0o700))
	require.NoError(t, store.Start(within(t)))

	events := until(t, w, is(ports.WatchSynced))
	synced := last(events)
	assert.NotEqual(t, cursor.Epoch, synced.Cursor.Epoch)
	var records []string
	reset := false
	for _, ev := range events {
		reset = reset || ev.Kind == ports.WatchReset
		if ev.Kind == ports.WatchPut {
			assert.True(t, reset, "nothing of the restored store before the Reset")
			records = append(records, ev.Record.Key.ID)
		}
	}
	assert.Equal(t, []string{"kept"}, records)
	assert.Equal(t, synced.Cursor.Epoch, get(t, b, "kept").Record.Revision.Epoch)
	// Another process that held the old cursor learns it too.
	other := until(t, follow(t, open(t, store, etcd.Options{}), cursor), is(ports.WatchSynced))
	assert.Equal(t, ports.WatchReset, other[0].Kind)
}

// The data came from another cluster, as a restored snapshot or a mirror does.
func TestDataOfAnotherClusterHasANewEpoch(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	b := open(t, store, etcd.Options{})
	session(t, b, "s", time.Hour)
	old := put(t, b, record("a", "s"), core.Generation{}).Revision.Epoch
	require.NoError(t, b.Close())
	_, err := client.Put(within(t), namespace+"/epoch", fmt.Sprintf(`{"v":1,"epoch":%q,"cluster":"abc"}`, old))
	require.NoError(t, err)
	b, other := open(t, store, etcd.Options{}), open(t, store, etcd.Options{})
	epoch := get(t, b, "a").Record.Revision.Epoch
	assert.NotEqual(t, old, epoch)
	assert.Equal(t, epoch, get(t, other, "a").Record.Revision.Epoch, "the same for all")
}

// One of three hangs: calls that it would answer end with their context, and the next attempt
// is another's.
func TestAMemberThatHangs(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Nodes: 3})
	b := open(t, store, etcd.Options{})
	session(t, b, "s", time.Hour)
	rec := put(t, b, record("a", "s"), core.Generation{})
	leader, err := store.Leader(within(t))
	require.NoError(t, err)
	require.NoError(t, store.PauseNode((leader+1)%3))
	served := 0
	for deadline := time.Now().Add(patience); served < 20; {
		require.True(t, time.Now().Before(deadline), "only %d calls were served", served)
		found, err := b.Get(within(t), []core.Key{rec.Key})
		if err == nil {
			assert.Equal(t, rec, found[0].Record)
			served++
		} else {
			require.ErrorIs(t, err, ports.ErrUnavailable)
		}
	}
}
