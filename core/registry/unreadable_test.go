package registry_test

// unreadable_test.go: records that cannot be read, by the registry or by the backend itself.

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

// plant writes a record as another program would.
func plant(t *testing.T, s *store, id string, body string) ports.Record {
	t.Helper()
	sess, err := s.OpenSession(t.Context(), ports.SessionSpec{ID: ports.SessionID("planted-" + id), TTL: time.Hour})
	require.NoError(t, err)
	res, err := s.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{Record: ports.Record{
		Key: core.Key{Service: "svc", ID: id}, Generation: core.Generation{N: 1, Random: "x"}, Session: sess.ID, Body: []byte(body),
		State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown},
	}}}})
	require.NoError(t, err)
	require.NoError(t, res[0].Err)
	return *res[0].Record
}

// Fault 14: one corrupt record emptied the whole answer.
func TestFault14CorruptRecordIsLeftOutAlone(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("good"))
		plant(t, s, "corrupt", `{"v":1,"host":`)
		plant(t, s, "newer", `{"v":99,"host":"127.0.0.1","port":1}`)
		synctest.Wait()
		assert.Equal(t, 1, a.Snapshot("svc").Len())
		assert.Equal(t, 2, a.Status().Skipped)
		b := newHost(t, s)
		defer b.stop(t)
		assert.Equal(t, 1, b.Snapshot("svc").Len())
	})
}

// unreadable is a backend that cannot read the record of one id.
type unreadable struct {
	*store
	id string
}

func (u *unreadable) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	req.Cursor = core.Revision{} // all of it each time
	w, err := u.store.Watch(ctx, req)
	if err != nil {
		return w, err
	}
	return &skipping{Watcher: w, id: u.id}, nil
}

func (u *unreadable) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	found, err := u.store.Get(ctx, keys)
	for i := range found {
		if keys[i].ID == u.id {
			found[i] = ports.Found{}
		}
	}
	return found, err
}

type skipping struct {
	ports.Watcher
	id string
}

func (s *skipping) Next(ctx context.Context) (ports.WatchEvent, error) {
	ev, err := s.Watcher.Next(ctx)
	if err == nil && ev.Kind == ports.WatchPut && ev.Record.Key.ID == s.id {
		return ports.WatchEvent{Kind: ports.WatchSkipped, Key: ev.Record.Key, Reason: "half of it is missing"}, nil
	}
	return ev, err
}

// Fault 14, where the backend itself cannot read a record.
func TestFault14UnreadableRecordIsLeftOutAlone(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("bad"))
		a.register(t, spec("good"))
		b := newHost(t, &store{Backend: &unreadable{store: s, id: "bad"}, cut: make(chan struct{})})
		defer b.stop(t)
		for range 3 {
			require.Equal(t, core.StatusUnknown, b.status("good"))
			require.Equal(t, core.Status("absent"), b.status("bad"))
			require.Equal(t, 1, b.Status().Skipped)
			require.NoError(t, a.set(t, "bad", "healthy", ""))
			sleep(time.Minute) // an audit in between
		}
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: core.Key{Service: "svc", ID: "bad"}}))
		sleep(time.Second)
		assert.Zero(t, b.Status().Skipped, "gone")
	})
}

// What went while nobody looked is not unreadable for ever.
func TestWhatIsGoneIsNotUnreadable(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		plant(t, s, "corrupt", `{"v":1,"host":`)
		synctest.Wait()
		require.Equal(t, 1, a.Status().Skipped)
		s.setAway(true)
		sleep(time.Second)
		s.replace(t)
		s.setAway(false)
		sleep(30 * time.Second)
		assert.Zero(t, a.Status().Skipped)
	})
}

// What was known of a record before it became unreadable is no absence.
func TestUnreadableInASnapshotIsNotAbsent(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("one"))
		u := &unreadable{store: s}
		cut := &store{Backend: u, cut: make(chan struct{})}
		b := newHost(t, cut)
		defer b.stop(t)
		b.taken()
		cut.setAway(true)
		u.id = "one"
		cut.setAway(false)
		sleep(time.Minute)
		assert.NotEqual(t, core.Status("absent"), b.status("one"))
		assert.Empty(t, b.taken())
	})
}
