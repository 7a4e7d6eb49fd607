package memory_test

// store_test.go: what is particular to this backend, by a fake clock: its bounds.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

func open(t *testing.T) *memory.Backend {
	t.Helper()
	b, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func openSession(t *testing.T, b *memory.Backend, id ports.SessionID, ttl time.Duration) {
	t.Helper()
	_, err := b.OpenSession(t.Context(), ports.SessionSpec{ID: id, TTL: ttl})
	require.NoError(t, err)
}

func put(t *testing.T, b *memory.Backend, rec ports.Record, replaces core.Generation) *ports.Record {
	t.Helper()
	res, err := b.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{Record: rec, Replaces: replaces}}})
	require.NoError(t, err)
	require.NoError(t, res[0].Err)
	return res[0].Record
}

func get(t *testing.T, b *memory.Backend, k core.Key) ports.Found {
	t.Helper()
	found, err := b.Get(t.Context(), []core.Key{k})
	require.NoError(t, err)
	return found[0]
}

func rec(id string, session ports.SessionID) ports.Record {
	return ports.Record{Key: core.Key{Service: "svc", ID: id}, Generation: core.Generation{N: 1, Random: "r"}, Session: session, Body: []byte(`{"v":1}`)}
}

func next(t *testing.T, w ports.Watcher) ports.WatchEvent {
	t.Helper()
	ev, err := w.Next(t.Context())
	require.NoError(t, err)
	return ev
}

func TestOpenRefusesABadNamespace(t *testing.T) {
	_, err := memory.Open(t.Context(), memory.Options{Namespace: "a/b"})
	require.ErrorIs(t, err, ports.ErrInvalid)
	require.ErrorContains(t, err, "namespace")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = memory.Open(ctx, memory.Options{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestASessionEndsExactlyAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		openSession(t, b, "long", time.Hour)
		synctest.Wait()                                   // the goroutine sleeps until then
		openSession(t, b, "short", 2250*time.Millisecond) // the nearest deadline now, and no time of a bookmark
		put(t, b, rec("a", "short"), core.Generation{})
		time.Sleep(time.Second)
		_, err := b.RenewSessions(t.Context(), []ports.SessionID{"short"})
		require.NoError(t, err)

		w, err := b.Watch(t.Context(), ports.WatchRequest{Follow: true})
		require.NoError(t, err)
		renewed := time.Now()
		ev := next(t, w)
		for ev.Kind != ports.WatchDelete {
			ev = next(t, w)
		}
		assert.Equal(t, 2250*time.Millisecond, time.Since(renewed))
		assert.Equal(t, core.CauseExpired, ev.Tombstone.Cause)
	})
}

// Whether its goroutine or an operation comes first: nobody sees a session after its deadline.
func TestAnOperationAtTheDeadlineComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		for i := range 100 {
			id := ports.SessionID(fmt.Sprintf("s%d", i))
			openSession(t, b, id, time.Second)
			time.Sleep(time.Second)
			res, err := b.RenewSessions(t.Context(), []ports.SessionID{id})
			require.NoError(t, err)
			require.True(t, res[0].Gone)
		}
	})
}

func TestATombstoneIsKeptForItsLifeAndThenForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		openSession(t, b, "s", 100*time.Hour)
		for _, id := range []string{"a", "b"} {
			r := put(t, b, rec(id, "s"), core.Generation{})
			_, err := b.Apply(t.Context(), []ports.Mutation{{Delete: &ports.Delete{Key: r.Key, Generation: r.Generation, Cause: core.CauseOperator}}})
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		a, bb := rec("a", "s").Key, rec("b", "s").Key
		time.Sleep(ports.TombstoneLife - 2*time.Minute - time.Nanosecond)
		assert.NotNil(t, get(t, b, a).Tombstone)
		time.Sleep(time.Nanosecond)
		assert.Nil(t, get(t, b, a).Tombstone)
		assert.NotNil(t, get(t, b, bb).Tombstone, "deleted a minute later")
		put(t, b, rec("a", "s"), core.Generation{}) // what it forbade is allowed again
	})
}

func TestANewerTombstoneOutlivesTheOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		openSession(t, b, "s", 100*time.Hour)
		r := rec("a", "s")
		for range 2 {
			r.Generation = r.Generation.Next()
			put(t, b, r, core.Generation{})
			_, err := b.Apply(t.Context(), []ports.Mutation{{Delete: &ports.Delete{Key: r.Key, Generation: r.Generation, Cause: core.CauseOperator}}})
			require.NoError(t, err)
			time.Sleep(ports.TombstoneLife / 2)
		}
		tomb := get(t, b, r.Key).Tombstone // at the end of the first one's life
		require.NotNil(t, tomb)
		assert.Equal(t, r.Generation, tomb.Generation)
	})
}

func TestAnEndedSessionIsRememberedForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		openSession(t, b, "s", time.Second)
		time.Sleep(time.Second + 24*time.Hour - time.Nanosecond)
		_, err := b.OpenSession(t.Context(), ports.SessionSpec{ID: "s", TTL: time.Second})
		require.ErrorIs(t, err, ports.ErrSessionGone)
		time.Sleep(time.Nanosecond)
		openSession(t, b, "s", time.Second) // forgotten, so that memory stays bounded
	})
}

// A reader that the history has passed gets one Reset, and then everything.
func TestASlowReaderIsReset(t *testing.T) {
	for _, tt := range []struct {
		name  string
		body  int // bytes; the history is bounded by changes and by bytes
		write int // changes
		reset bool
	}{
		{"within the history", 10, 64<<10 - 1, false},
		{"more changes than it holds", 10, 64<<10 + 1, true},
		{"more bytes than it holds", 64 << 10, 1<<10 + 1, true},
		{"no more bytes than it holds", 64 << 10, 1<<10 - 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t)
			openSession(t, b, "s", time.Hour)
			w, err := b.Watch(t.Context(), ports.WatchRequest{Follow: true})
			require.NoError(t, err)
			require.Equal(t, ports.WatchReset, next(t, w).Kind)
			require.Equal(t, ports.WatchSynced, next(t, w).Kind)

			r := rec("a", "s")
			r.Body = []byte(strings.Repeat("x", tt.body))
			var last *ports.Record
			var replaces core.Generation
			for range tt.write {
				last = put(t, b, r, replaces)
				replaces = r.Generation
			}
			resets, puts := 0, 0
			for seen := uint64(0); seen < last.Revision.N; {
				switch ev := next(t, w); ev.Kind {
				case ports.WatchReset:
					resets++
				case ports.WatchPut:
					puts++
					seen = ev.Record.Revision.N
				default:
				}
			}
			if tt.reset {
				assert.Equal(t, []int{1, 1}, []int{resets, puts})
			} else {
				assert.Equal(t, []int{0, tt.write}, []int{resets, puts})
			}
		})
	}
}

func TestBookmarksComeOnlyToWhoeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		w, err := b.Watch(t.Context(), ports.WatchRequest{Follow: true})
		require.NoError(t, err)
		next(t, w) // Reset
		next(t, w) // Synced
		for range 3 {
			began := time.Now()
			assert.Equal(t, ports.WatchBookmark, next(t, w).Kind)
			assert.Equal(t, ports.MaxBookmarkGap/2, time.Since(began))
		}
		time.Sleep(time.Hour)
		began := time.Now()
		assert.Equal(t, ports.WatchBookmark, next(t, w).Kind, "one, not 3,600")
		assert.Zero(t, time.Since(began))
		next(t, w)
		assert.Equal(t, ports.MaxBookmarkGap/2, time.Since(began))
	})
}

// By the fake clock, so that the next bookmark does not do what was forgotten.
func TestABlockedNextReturnsAtOnce(t *testing.T) {
	for name, end := range map[string]func(b *memory.Backend, w ports.Watcher, cancel func()) error{
		"the backend closes": func(b *memory.Backend, _ ports.Watcher, _ func()) error { return b.Close() },
		"the watch closes":   func(_ *memory.Backend, w ports.Watcher, _ func()) error { return w.Close() },
		"the context ends":   func(_ *memory.Backend, _ ports.Watcher, cancel func()) error { cancel(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t)
				w, err := b.Watch(t.Context(), ports.WatchRequest{Follow: true})
				require.NoError(t, err)
				next(t, w) // Reset
				next(t, w) // Synced
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began, took := time.Now(), time.Hour
				go func() {
					_, err = w.Next(ctx)
					took = time.Since(began)
				}()
				synctest.Wait()
				require.NoError(t, end(b, w, cancel))
				synctest.Wait()
				require.Error(t, err)
				require.Zero(t, took)
			})
		})
	}
}

func TestWhatIsHandedOutBelongsToTheCaller(t *testing.T) {
	b := open(t)
	openSession(t, b, "s", time.Hour)
	w, err := b.Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	want := []byte(`{"v":1}`)
	scribble := func(r *ports.Record) {
		require.Equal(t, want, r.Body)
		copy(r.Body, "XXXXXXX")
		r.Owner = "scribbled over"
	}
	scribble(put(t, b, rec("a", "s"), core.Generation{}))
	scribble(get(t, b, rec("a", "s").Key).Record)
	ev := next(t, w)
	for ev.Kind != ports.WatchPut {
		ev = next(t, w)
	}
	scribble(ev.Record)
	stored := get(t, b, rec("a", "s").Key).Record
	assert.Equal(t, want, stored.Body)
	assert.Empty(t, stored.Owner)
}

func TestMutationsThatCanNeverSucceed(t *testing.T) {
	b := open(t)
	openSession(t, b, "s", time.Hour)
	noGeneration := rec("a", "s")
	noGeneration.Generation = core.Generation{}
	res, err := b.Apply(t.Context(), []ports.Mutation{
		{}, {Put: &ports.Put{Record: rec("a", "s")}, Delete: &ports.Delete{Key: rec("a", "s").Key}}, {Put: &ports.Put{Record: noGeneration}},
	})
	require.NoError(t, err)
	for _, r := range res {
		require.ErrorIs(t, r.Err, ports.ErrInvalid)
	}
	_, err = b.Get(t.Context(), make([]core.Key, ports.MaxBatch+1))
	require.ErrorIs(t, err, ports.ErrInvalid)
	_, err = b.Watch(t.Context(), ports.WatchRequest{Services: []string{"a/b"}})
	require.ErrorIs(t, err, ports.ErrInvalid)
}

func TestManySessionsEndInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		const sessions = 100
		for i := range sessions {
			id := ports.SessionID(fmt.Sprintf("s%d", i))
			openSession(t, b, id, time.Duration(1+(i*37)%sessions)*time.Second)
			put(t, b, rec(string(id), id), core.Generation{})
		}
		began := time.Now()
		for gone := range sessions {
			time.Sleep(time.Duration(gone+1)*time.Second - time.Since(began))
			synctest.Wait()
			w, err := b.Watch(t.Context(), ports.WatchRequest{})
			require.NoError(t, err)
			left := 0
			for {
				ev, err := w.Next(t.Context())
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				if ev.Kind == ports.WatchPut {
					left++
				}
			}
			require.Equal(t, sessions-gone-1, left)
		}
	})
}
