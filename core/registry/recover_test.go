package registry_test

// recover_test.go: an instance is asserted again while something else happens to it: its new
// session ends, the store sweeps its record away, its ttl ends, it is updated.

import (
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
