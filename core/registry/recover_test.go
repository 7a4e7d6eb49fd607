package registry_test

// recover_test.go: an instance is asserted again while something else happens to it: its new
// session ends, the store sweeps its record away, its ttl ends, it is updated.

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

func TestSessionThatEndsBeforeAReassertionIsAnswered(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var lies, fails atomic.Bool
		lie := lying(&lies)
		own := (&tampered{Backend: s.Backend, renew: func(ask func() ([]ports.RenewResult, error)) ([]ports.RenewResult, error) {
			if fails.Load() {
				return nil, fmt.Errorf("%w: not now", ports.ErrUnavailable)
			}
			return lie(ask)
		}}).store()
		a := newHost(t, own, func(o *registry.Options) { o.SessionTTL = 3 * time.Second })
		defer a.stop(t)
		lease, lost := a.owned(t, "one")
		synctest.Wait()
		late := false
		own.hooks(nil, func(m ports.Mutation) error {
			if m.Put != nil && !m.Put.Replaces.IsZero() && !late {
				late = true
				fails.Store(true)
				time.Sleep(3500 * time.Millisecond)
				fails.Store(false)
				time.Sleep(time.Second) // a renewal finds the new session gone, too
			}
			return nil
		})
		lies.Store(true)
		sleep(15 * time.Second)
		assert.True(t, late)
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, lease))
		assert.Empty(t, *lost)
		found, err := s.Get(t.Context(), []core.Key{{Service: "svc", ID: "one"}})
		require.NoError(t, err)
		assert.NotNil(t, found[0].Record)
	})
}

// Some stores end a session first and sweep its records away after that.
func TestRecordThatIsSweptAwayWhileItIsMoved(t *testing.T) {
	for _, cause := range []core.Cause{core.CauseExpired, core.CauseOperator} {
		t.Run(string(cause), func(t *testing.T) {
			run(t, func(t *testing.T, s *store) {
				var lies atomic.Bool
				own := (&tampered{Backend: s.Backend, renew: lying(&lies)}).store()
				a := newHost(t, own)
				defer a.stop(t)
				lease, lost := a.owned(t, "one")
				synctest.Wait()
				var swept atomic.Bool
				own.hooks(func(m ports.Mutation) {
					if m.Put == nil || m.Put.Replaces.IsZero() || swept.Swap(true) {
						return
					}
					res, err := s.Apply(t.Context(), []ports.Mutation{{Delete: &ports.Delete{
						Key: m.Key(), Generation: m.Put.Replaces, Cause: cause,
					}}})
					assert.NoError(t, err)
					assert.NoError(t, res[0].Err)
				}, nil)
				lies.Store(true)
				sleep(15 * time.Second) // one session_ttl
				assert.True(t, swept.Load())
				found, err := s.Get(t.Context(), []core.Key{{Service: "svc", ID: "one"}})
				require.NoError(t, err)
				if cause == core.CauseOperator {
					assert.Nil(t, found[0].Record)
					assert.Equal(t, core.HeartbeatDeregistered, *lost)
					return
				}
				assert.NotNil(t, found[0].Record)
				assert.Empty(t, *lost)
				assert.Equal(t, core.HeartbeatRenewed, a.beat(t, lease))
				assert.Equal(t, []string{"service_registered one registered"}, a.taken())
			})
		})
	}
}

// A session ends while a ttl's Delete is on its way: that comes to nothing, and the instance is
// asserted again, for a whole ttl.
func TestSessionThatEndsWhileATTLEnds(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var lies atomic.Bool
		own := (&tampered{Backend: s.Backend, renew: lying(&lies)}).store()
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		a.register(t, clientSpec("one", 10*time.Second))
		own.hooks(func(m ports.Mutation) {
			if m.Delete == nil {
				return
			}
			own.hooks(nil, nil)
			lies.Store(true)
			for lies.Load() {
				time.Sleep(10 * time.Millisecond)
			}
			res, err := s.Apply(t.Context(), []ports.Mutation{{Delete: &ports.Delete{
				Key: m.Delete.Key, Generation: m.Delete.Generation, Cause: core.CauseExpired,
			}}})
			assert.NoError(t, err)
			assert.NoError(t, res[0].Err)
			time.Sleep(100 * time.Millisecond) // the stream has shown that
		}, nil)
		sleep(30 * time.Second)
		assert.Equal(t, core.Status("absent"), a.status("one"))
		assert.Equal(t, []string{
			"service_registered one registered", "service_expired one expired",
			"service_registered one registered", "service_expired one expired",
		}, b.taken())
	})
}

// The record still stands under the dead session when its instance is asserted, and before it is
// moved from there an update writes it under another one.
func TestUpdateThatIsQuickerThanTheRecovery(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var lies atomic.Bool
		own := (&tampered{Backend: s.Backend, renew: lying(&lies)}).store()
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		lease, _ := a.owned(t, "one")
		synctest.Wait()
		changed := clientSpec("one", time.Minute)
		changed.Keepalive = core.KeepaliveClient
		written, proceed, answered := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		var creates, writes atomic.Int32
		own.hooks(func(m ports.Mutation) {
			if m.Put != nil && m.Put.Replaces.IsZero() && creates.Add(1) == 1 {
				go func() {
					_, err := a.Update(t.Context(), registry.UpdateRequest{Lease: lease, Spec: changed})
					answered <- err
				}()
				<-written
			}
		}, func(m ports.Mutation) error {
			if m.Put != nil && !m.Put.Replaces.IsZero() && writes.Add(1) == 1 {
				close(written)
				<-proceed // its answer comes when the recovery is over
			}
			return nil
		})
		lies.Store(true)
		sleep(8 * time.Second)
		close(proceed)
		require.NoError(t, <-answered)
		assert.Equal(t, int32(1), creates.Load())
		for _, h := range []*host{a, b} {
			in, ok := h.Snapshot("svc").Get("one")
			require.True(t, ok)
			assert.Equal(t, core.KeepaliveClient, in.Keepalive)
		}
		sleep(58 * time.Second)
		assert.Equal(t, core.StatusUnknown, b.status("one"))
		sleep(4 * time.Second)
		assert.Equal(t, core.Status("absent"), b.status("one"), "it is kept as the update says")
	})
}

// As before, and the session of the update ended too.
func TestUpdateIsNotUndoneByTheRecovery(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var lies atomic.Bool
		own := (&tampered{Backend: s.Backend, renew: lying(&lies)}).store()
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		lease, lost := a.owned(t, "one")
		in, _ := a.Snapshot("svc").Get("one")
		in.Weight = 5
		body, err := core.EncodeBody(in, nil)
		require.NoError(t, err)
		_, err = s.OpenSession(t.Context(), ports.SessionSpec{ID: "ended", TTL: time.Minute})
		require.NoError(t, err)
		synctest.Wait()
		own.hooks(func(m ports.Mutation) {
			if m.Put == nil || !m.Put.Replaces.IsZero() {
				return
			}
			own.hooks(nil, nil)
			rec := m.Put.Record
			rec.Session, rec.Body = "ended", body
			res, err := s.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{Record: rec, Replaces: rec.Generation}}})
			assert.NoError(t, err)
			assert.NoError(t, res[0].Err)
		}, nil)
		lies.Store(true)
		sleep(15 * time.Second) // one session_ttl
		for _, h := range []*host{a, b} {
			in, ok := h.Snapshot("svc").Get("one")
			require.True(t, ok)
			assert.Equal(t, 5, in.Weight)
		}
		found, err := s.Get(t.Context(), []core.Key{{Service: "svc", ID: "one"}})
		require.NoError(t, err)
		assert.NotEqual(t, ports.SessionID("ended"), found[0].Record.Session)
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, lease))
		assert.Empty(t, *lost)
	})
}

// A store is found empty, goes on for a while, and is then set back to a backup, or to the one that
// stood there before: an epoch that was over is in force again.
func TestAnEpochThatWasOverComesBack(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		other := newStore(t)
		swap := func() {
			s.setAway(true)
			sleep(2 * time.Second)
			s.mu.Lock()
			s.Backend, other.Backend = other.Backend, s.Backend
			s.mu.Unlock()
			s.setAway(false)
			sleep(30 * time.Second)
		}
		defer func() { assert.NoError(t, other.Close()) }()
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		lease := a.register(t, spec("one")).Lease
		epoch := b.Status().Epoch
		swap()
		require.NotEqual(t, epoch, b.Status().Epoch)
		swap()
		require.Equal(t, epoch, b.Status().Epoch)
		a.taken()
		b.register(t, spec("two"))
		sleep(time.Second)
		assert.Equal(t, []string{"service_registered two registered"}, a.taken())
		for _, h := range []*host{a, b} {
			assert.Equal(t, core.StatusUnknown, h.status("one"))
			assert.Equal(t, core.StatusUnknown, h.status("two"))
		}
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, lease))
	})
}

// lead has the address of a store lead to another one for some seconds.
func (s *store) lead(to ports.Backend) {
	s.setAway(true)
	s.mu.Lock()
	s.Backend = to
	s.mu.Unlock()
	s.setAway(false)
	sleep(5 * time.Second)
}

// For some seconds the address of one host's store leads to another, empty one, as when a name is
// set wrong; then it leads back. What others hold in the store has not changed at all.
func TestAnEpochThatComesBackInTimeShowsWhatWasAbsentMeanwhile(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		other := newStore(t)
		defer func() { assert.NoError(t, other.Close()) }()
		mine := &store{Backend: s.Backend, cut: make(chan struct{})}
		a, b := newHost(t, s), newHost(t, mine)
		defer a.stop(t)
		defer b.stop(t)
		a.register(t, spec("one"))
		sleep(time.Second)
		require.Equal(t, []string{"service_registered one registered"}, b.taken())
		epoch := b.Status().Epoch
		mine.lead(other.Backend)
		require.NotEqual(t, epoch, b.Status().Epoch)
		mine.lead(s.Backend)
		require.Equal(t, epoch, b.Status().Epoch)
		sleep(time.Minute)
		assert.Empty(t, b.taken())
		assert.Equal(t, core.StatusUnknown, b.status("one"))
	})
}

// backup is a store that shows every revision as one of its epoch, and fewer writes than there were.
type backup struct {
	ports.Backend
	epoch string
}

type fromBackup struct {
	ports.Watcher
	epoch string
}

func (b backup) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	req.Cursor = core.Revision{}
	w, err := b.Backend.Watch(ctx, req)
	return fromBackup{w, b.epoch}, err
}

func (f fromBackup) Next(ctx context.Context) (ports.WatchEvent, error) {
	ev, err := f.Watcher.Next(ctx)
	if err != nil {
		return ev, err
	}
	if ev.Record != nil {
		rec := *ev.Record
		rec.Revision.Epoch = f.epoch
		ev.Record = &rec
	}
	if ev.Tombstone != nil {
		tomb := *ev.Tombstone
		tomb.Revision.Epoch = f.epoch
		ev.Tombstone = &tomb
	}
	if !ev.Cursor.IsZero() {
		ev.Cursor.Epoch = f.epoch
	}
	return ev, nil
}

// A backup has lower numbers than the view has seen of its epoch.
func TestABackupIsShownThoughItsNumbersWereSeenBefore(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		empty, old := newStore(t), newStore(t)
		defer func() { assert.NoError(t, errors.Join(empty.Close(), old.Close())) }()
		mine := &store{Backend: s.Backend, cut: make(chan struct{})}
		a, b, c := newHost(t, s), newHost(t, mine), newHost(t, old)
		defer a.stop(t)
		defer b.stop(t)
		defer c.stop(t)
		for range 5 { // the same id under a high number
			a.register(t, spec("one"))
		}
		sleep(time.Second)
		epoch := b.Status().Epoch
		c.register(t, spec("one")) // and a low one
		mine.lead(empty.Backend)
		mine.lead(backup{old.Backend, epoch})
		require.Equal(t, epoch, b.Status().Epoch)
		in, ok := b.Snapshot("svc").Get("one")
		require.True(t, ok)
		assert.Equal(t, c.Owner(), in.Owner)
		sleep(time.Minute)
		assert.Equal(t, core.StatusUnknown, b.status("one"))
	})
}
