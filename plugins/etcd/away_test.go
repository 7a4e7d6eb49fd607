package etcd_test

// away_test.go: servers of etcd that hang, were set back, or lost what they had.

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/etcd"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// A snapshot of yesterday is put back: the cluster, its id and its epoch are the same, and
// revisions that were given out are given out again.
func TestARestoredStoreHasANewEpoch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Dir: dir})
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	kept := backendtest.Put(t, b, backendtest.Record("kept", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))

	require.NoError(t, store.Stop(backendtest.Within(t)))
	found, err := filepath.Glob(filepath.Join(dir, "*", "node0", "data"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	backup := filepath.Join(dir, "backup")
	require.NoError(t, os.CopyFS(backup, os.DirFS(found[0])))
	require.NoError(t, store.Start(backendtest.Within(t)))
	for i := range 20 {
		backendtest.Put(t, b, backendtest.Record(fmt.Sprintf("lost-%d", i), "s"), core.Generation{})
	}
	cursor := backendtest.Last(backendtest.Until(t, w, func(ev ports.WatchEvent) bool {
		return ev.Kind == ports.WatchBookmark && ev.Cursor.N >= kept.Revision.N+20
	})).Cursor

	require.NoError(t, store.Stop(backendtest.Within(t)))
	require.NoError(t, os.RemoveAll(found[0]))
	require.NoError(t, os.CopyFS(found[0], os.DirFS(backup)))
	require.NoError(t, os.Chmod(found[0], 0o700))
	require.NoError(t, store.Start(backendtest.Within(t)))

	events := backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	synced := backendtest.Last(events)
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
	assert.Equal(t, synced.Cursor.Epoch, backendtest.Get(t, b, "kept").Record.Revision.Epoch)
	// Another process that held the old cursor learns it too.
	other := backendtest.Until(t, backendtest.Follow(t, open(t, store, etcd.Options{}), cursor), backendtest.Is(ports.WatchSynced))
	assert.Equal(t, ports.WatchReset, other[0].Kind)
}

// The data came from another cluster, as a restored snapshot or a mirror does.
func TestDataOfAnotherClusterHasANewEpoch(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	client := raw(t, store, "", "")
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	old := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{}).Revision.Epoch
	require.NoError(t, b.Close())
	_, err := client.Put(backendtest.Within(t), namespace+"/epoch", fmt.Sprintf(`{"v":1,"epoch":%q,"cluster":"abc"}`, old))
	require.NoError(t, err)
	b, other := open(t, store, etcd.Options{}), open(t, store, etcd.Options{})
	epoch := backendtest.Get(t, b, "a").Record.Revision.Epoch
	assert.NotEqual(t, old, epoch)
	assert.Equal(t, epoch, backendtest.Get(t, other, "a").Record.Revision.Epoch, "the same for all")
}

// One of three hangs, with its connections open: what can be asked of another is.
func TestAMemberThatHangs(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Nodes: 3})
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, rec.Revision)
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	leader, err := store.Leader(backendtest.Within(t))
	require.NoError(t, err)
	require.NoError(t, store.PauseNode((leader+1)%3))
	for range 6 { // some of them go to the one that hangs
		assert.Equal(t, rec, backendtest.Get(t, b, "a").Record)
		renewed, err := b.RenewSessions(backendtest.Within(t), []ports.SessionID{"s"})
		require.NoError(t, err)
		assert.False(t, renewed[0].Gone)
	}
	backendtest.Until(t, w, backendtest.Is(ports.WatchBookmark))
}

// Close ends what waits for a store that is away.
func TestCloseEndsCallsThatWait(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	b := open(t, store, etcd.Options{})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	require.NoError(t, store.Pause())
	ctx := backendtest.Within(t)
	calls := map[string]func() error{
		"RenewSessions": func() error { _, err := b.RenewSessions(ctx, []ports.SessionID{"s"}); return err },
		"OpenSession":   func() error { _, err := b.OpenSession(ctx, ports.SessionSpec{ID: "t", TTL: time.Hour}); return err },
		"CloseSession":  func() error { return b.CloseSession(ctx, "s") },
		"Get":           func() error { _, err := b.Get(ctx, []core.Key{rec.Key}); return err },
		"Watch":         func() error { _, err := b.Watch(ctx, ports.WatchRequest{}); return err },
		"Next": func() error {
			for {
				if _, err := w.Next(ctx); err != nil {
					return err
				}
			}
		},
	}
	type answer struct {
		what string
		err  error
	}
	began, ended := make(chan struct{}, len(calls)), make(chan answer, len(calls))
	for what, call := range calls {
		go func() {
			began <- struct{}{}
			ended <- answer{what, call()}
		}()
	}
	for range calls {
		<-began
	}
	start := time.Now()
	require.NoError(t, b.Close())
	for range calls {
		a := <-ended
		require.ErrorIs(t, a.err, ports.ErrClosed, a.what)
	}
	assert.Less(t, time.Since(start), backendtest.Patience/2)
	require.NoError(t, store.Resume())
}

// The network is away while the store is wiped and writes more than it had: the stream of
// before would go on from the same number.
func TestAWipedStoreThatHasCaughtUp(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	proxy, err := stores.NewProxy(store.Addresses()[0])
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	b, err := etcd.OpenWithoutAudits(backendtest.Within(t), etcd.Options{URL: "http://" + proxy.Address()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("old", "s"), core.Generation{})
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchBookmark))

	require.NoError(t, proxy.Set(stores.Refused))
	require.NoError(t, store.Wipe(backendtest.Within(t)))
	other := open(t, store, etcd.Options{})
	backendtest.Session(t, other, "t", time.Hour)
	const records = 50
	for i := range records {
		require.NotEqual(t, rec.Revision.Epoch, backendtest.Put(t, other, backendtest.Record(fmt.Sprint(i), "t"), core.Generation{}).Revision.Epoch)
	}
	require.NoError(t, proxy.Set(stores.Joined))
	reset, puts := false, 0
	for _, ev := range backendtest.Until(t, w, backendtest.Is(ports.WatchSynced)) {
		reset = reset || ev.Kind == ports.WatchReset
		if ev.Kind == ports.WatchPut {
			puts++
			assert.True(t, reset, "nothing of the new store before the Reset")
		}
	}
	assert.Equal(t, records, puts)
}
