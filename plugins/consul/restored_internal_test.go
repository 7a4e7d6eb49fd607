package consul

// restored_internal_test.go: a watch that hears of a restored backup only after others have
// written to it. It is held in between, as it would have to be waiting at the wrong moment.

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// restored is a namespace, and one process that watches and writes.
type restored struct {
	b      *Backend
	client *api.Client
	first  core.Key
	beside core.Key // in the bucket of first
	apart  core.Key // in another one
	stand  map[core.Key]*ports.Record
}

func newRestored(t *testing.T) *restored {
	t.Helper()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	b, err := Open(t.Context(), Options{URL: store.URL()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	r := &restored{b: b, client: b.client, stand: make(map[core.Key]*ports.Record), first: core.Key{Service: "api", ID: "first"}}
	for n := 0; r.beside.ID == "" || r.apart.ID == ""; n++ {
		k := core.Key{Service: "api", ID: fmt.Sprintf("other-%d", n)}
		if bucketOf(k) == bucketOf(r.first) {
			r.beside = k
		} else {
			r.apart = k
		}
	}
	_, err = b.OpenSession(t.Context(), ports.SessionSpec{ID: "s-1", TTL: time.Hour})
	require.NoError(t, err)
	return r
}

// put writes a record anew.
func (r *restored) put(t *testing.T, k core.Key) {
	t.Helper()
	rec := ports.Record{Key: k, Session: "s-1", Owner: "test", State: core.State{Declared: core.DeclaredUp}, Body: []byte(`{"v":1}`)}
	put := &ports.Put{Record: rec}
	if was := r.stand[k]; was != nil {
		put.Replaces = was.Generation
	}
	put.Record.Generation = put.Replaces.Next()
	r.apply(t, ports.Mutation{Put: put})
}

func (r *restored) remove(t *testing.T, k core.Key) {
	t.Helper()
	r.apply(t, ports.Mutation{Delete: &ports.Delete{Key: k, Generation: r.stand[k].Generation, Cause: core.CauseDeregistered}})
}

func (r *restored) apply(t *testing.T, m ports.Mutation) {
	t.Helper()
	results, err := r.b.Apply(t.Context(), []ports.Mutation{m})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	if m.Put != nil {
		r.stand[m.Put.Record.Key] = results[0].Record
	} else {
		delete(r.stand, m.Delete.Key)
	}
}

// saved is a backup, and what stood as it was made.
func (r *restored) saved(t *testing.T) (restore func()) {
	t.Helper()
	backup, _, err := r.client.Snapshot().Save(nil)
	require.NoError(t, err)
	stood := maps.Clone(r.stand)
	return func() {
		require.NoError(t, r.client.Snapshot().Restore(nil, backup))
		require.NoError(t, backup.Close())
		r.stand = stood
	}
}

// held is a watch that has sent its snapshot, and then does what it is told.
type held struct {
	ports.Watcher
	steps chan func(ctx context.Context, w *watch, to *backendkit.Feed) error
	done  chan error
}

func (r *restored) watch(t *testing.T) *held {
	t.Helper()
	at, err := r.b.standing(t.Context())
	require.NoError(t, err)
	h := &held{steps: make(chan func(context.Context, *watch, *backendkit.Feed) error), done: make(chan error, 1)}
	h.Watcher, err = r.b.feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
		w := &watch{b: r.b, at: at, follow: true}
		for {
			select {
			case step := <-h.steps:
				h.done <- step(ctx, w, to)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.Close()) })
	h.does(t, func(ctx context.Context, w *watch, to *backendkit.Feed) error {
		return w.snapshot(ctx, to, "the first")
	})
	h.until(t, ports.WatchReset)
	h.until(t, ports.WatchSynced)
	return h
}

// does lets it take a step.
func (h *held) does(t *testing.T, step func(ctx context.Context, w *watch, to *backendkit.Feed) error) {
	t.Helper()
	h.steps <- step
	require.NoError(t, <-h.done)
}

// until reads up to an event of a kind, and returns it with the records that came before.
func (h *held) until(t *testing.T, kind ports.WatchKind) (ports.WatchEvent, map[core.Key]*ports.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	records := make(map[core.Key]*ports.Record)
	for {
		ev, err := h.Next(ctx)
		require.NoError(t, err)
		if ev.Kind == kind {
			return ev, records
		}
		require.NotEqual(t, ports.WatchReset, ev.Kind, ev.Reason)
		if ev.Kind == ports.WatchPut {
			records[ev.Record.Key] = ev.Record
		}
	}
}

// followsOn lets it follow, until it has to begin anew, which it then does.
func (h *held) followsOn() {
	h.steps <- func(ctx context.Context, w *watch, to *backendkit.Feed) error {
		reset, err := w.changes(ctx, to)
		if err != nil {
			return err
		}
		return w.snapshot(ctx, to, reset)
	}
}

// begun asks that it begins anew, in a new epoch and with all that stands.
func (r *restored) begun(t *testing.T, h *held) {
	t.Helper()
	h.followsOn()
	reset, _ := h.until(t, ports.WatchReset)
	assert.Contains(t, reset.Reason, "set back")
	_, records := h.until(t, ports.WatchSynced)
	assert.Len(t, records, len(r.stand))
	for k, want := range r.stand {
		require.Contains(t, records, k)
		assert.Equal(t, want.Generation, records[k].Generation)
		assert.Equal(t, want.Revision.N, records[k].Revision.N)
		assert.NotEqual(t, want.Revision.Epoch, records[k].Revision.Epoch)
	}
}

func TestARestoreThatOthersWriteOver(t *testing.T) {
	t.Parallel()
	put := func(keys ...func(r *restored) core.Key) func(t *testing.T, r *restored) {
		return func(t *testing.T, r *restored) {
			t.Helper()
			for _, k := range keys {
				r.put(t, k(r))
			}
		}
	}
	first, beside, apart := func(r *restored) core.Key { return r.first }, func(r *restored) core.Key { return r.beside }, func(r *restored) core.Key { return r.apart }
	for name, c := range map[string]struct {
		kept, undone, after func(t *testing.T, r *restored)
	}{
		"a change, in another bucket":       {put(first), put(first), put(apart)},
		"a registration, in another bucket": {put(apart), put(first), put(apart)},
		"a change, in the same bucket":      {put(first, beside), put(first), put(beside)},
		"a removal, in the same bucket": {put(first, beside), func(t *testing.T, r *restored) {
			t.Helper()
			r.remove(t, r.first)
		}, put(beside)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRestored(t)
			c.kept(t, r)
			restore := r.saved(t)
			c.undone(t, r)
			h := r.watch(t)
			restore()
			c.after(t, r)
			r.begun(t, h)
		})
	}
}

// What the latest write shows may be undone before its bucket is read.
func TestARestoreAfterTheWakeUp(t *testing.T) {
	t.Parallel()
	r := newRestored(t)
	r.put(t, r.first)
	restore := r.saved(t)
	h := r.watch(t)
	r.put(t, r.first)
	h.does(t, func(ctx context.Context, w *watch, to *backendkit.Feed) error {
		latest, err := r.b.getAfter(ctx, r.b.keys.latest(), w.at.index, bookmarkEvery)
		if err != nil {
			return err
		}
		_, _, err = w.show(ctx, to, latest)
		return err
	})
	restore()
	r.put(t, r.apart)
	r.begun(t, h)
}

// Who edits a record with Consul's own tools moves nothing else, which is no sign of a backup.
func TestARecordThatIsEditedByHandIsNoRestore(t *testing.T) {
	t.Parallel()
	r := newRestored(t)
	r.put(t, r.first)
	r.put(t, r.beside)
	pairs, err := r.b.read(t.Context(), r.b.keys.record(r.first))
	require.NoError(t, err)
	_, err = r.client.KV().Put(&api.KVPair{Key: pairs[0].Key, Value: append(pairs[0].Value, '\n')}, nil)
	require.NoError(t, err)
	h := r.watch(t)
	r.put(t, r.beside)
	h.followsOn()
	_, records := h.until(t, ports.WatchBookmark)
	require.Contains(t, records, r.beside)
	h.until(t, ports.WatchBookmark)
}
