package registry_test

// cutoff_test.go: a host that was cut off from the store comes back. What became of its
// instances shows in pieces, in an order that nobody chose, and some of it was forgotten.

import (
	"context"
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

// tampered is a backend whose questions or answers a test changes; nil: they pass.
type tampered struct {
	ports.Backend
	watch func(*ports.WatchRequest) error
	get   func([]ports.Found) error
	renew func(ask func() ([]ports.RenewResult, error)) ([]ports.RenewResult, error)
}

func (x *tampered) store() *store { return &store{Backend: x, cut: make(chan struct{})} }

func (x *tampered) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if x.watch != nil {
		if err := x.watch(&req); err != nil {
			return nil, err
		}
	}
	return x.Backend.Watch(ctx, req)
}

func (x *tampered) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	found, err := x.Backend.Get(ctx, keys)
	if err == nil && x.get != nil {
		err = x.get(found)
	}
	return found, err
}

func (x *tampered) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	ask := func() ([]ports.RenewResult, error) { return x.Backend.RenewSessions(ctx, ids) }
	if x.renew != nil {
		return x.renew(ask)
	}
	return ask()
}

// lying has the next renewal find its first session gone, which it is not.
func lying(next *atomic.Bool) func(func() ([]ports.RenewResult, error)) ([]ports.RenewResult, error) {
	return func(ask func() ([]ports.RenewResult, error)) ([]ports.RenewResult, error) {
		res, err := ask()
		if err == nil && next.Swap(false) {
			res[0].Gone = true
		}
		return res, err
	}
}

// owned registers an instance of the host's own, and returns its lease and where it is told
// that the instance has ended.
func (h *host) owned(t *testing.T, id string) (lease string, lost *core.HeartbeatState) {
	t.Helper()
	lost = new(core.HeartbeatState)
	got, err := h.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: spec(id)}, func(st core.HeartbeatState) { *lost = st })
	require.NoError(t, err)
	return got.Lease, lost
}

// An operator drained it before its session ended, and the news of both comes after a renewal
// that found the session gone: it comes back, and in maintenance.
func TestDrainedWhileItsHostWasCutOff(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var deaf atomic.Bool
		own := (&tampered{
			Backend: s.Backend,
			watch: func(*ports.WatchRequest) error {
				if deaf.Load() {
					return fmt.Errorf("%w: not yet", ports.ErrUnavailable)
				}
				return nil
			},
			renew: func(ask func() ([]ports.RenewResult, error)) ([]ports.RenewResult, error) {
				res, err := ask()
				if err == nil && res[0].Gone {
					deaf.Store(false)
				}
				return res, err
			},
		}).store()
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		lease, lost := a.owned(t, "one")
		synctest.Wait()
		own.setAway(true)
		require.NoError(t, b.set(t, "one", "maintenance", ""))
		sleep(20 * time.Second)
		require.Equal(t, core.Status("absent"), b.status("one"))
		deaf.Store(true)
		own.setAway(false)
		sleep(15 * time.Second) // one session_ttl
		assert.False(t, deaf.Load())
		assert.Equal(t, core.StatusMaintenance, b.status("one"))
		assert.Equal(t, core.StatusMaintenance, a.status("one"))
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, lease))
		assert.Equal(t, []core.Key{{Service: "svc", ID: "one"}}, a.Held())
		assert.Empty(t, *lost)
	})
}

// anew has every stream begin with a snapshot.
func anew(req *ports.WatchRequest) error {
	req.Cursor = core.Revision{}
	return nil
}

// forgotten is what a store knows of what was deleted more than an hour ago.
func forgotten(found []ports.Found) error {
	for i := range found {
		found[i].Tombstone = nil
	}
	return nil
}

func TestHostThatWasCutOffLongerThanTombstonesAreKept(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		own := (&tampered{
			Backend: s.Backend, watch: anew, get: forgotten,
			renew: func(ask func() ([]ports.RenewResult, error)) ([]ports.RenewResult, error) {
				time.Sleep(100 * time.Millisecond) // the snapshot is here before that
				return ask()
			},
		}).store()
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		lease, lost := a.owned(t, "one")
		synctest.Wait()
		a.taken()
		own.setAway(true)
		sleep(time.Minute)
		require.Equal(t, core.Status("absent"), b.status("one"))
		own.setAway(false)
		sleep(15 * time.Second) // one session_ttl
		assert.Equal(t, core.StatusUnknown, b.status("one"))
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, lease))
		assert.Empty(t, *lost)
		assert.Empty(t, a.taken())
	})
}

func TestNothingIsConcludedFromAnAbsenceThatNobodyExplains(t *testing.T) {
	for _, silent := range []string{"why it is gone", "whether its session lives"} {
		t.Run(silent, func(t *testing.T) {
			run(t, func(t *testing.T, s *store) {
				var silence atomic.Bool
				why := silent == "why it is gone"
				own := (&tampered{
					Backend: s.Backend, watch: anew,
					get: func(found []ports.Found) error {
						if why && silence.Load() {
							return fmt.Errorf("%w: not now", ports.ErrUnavailable)
						}
						return forgotten(found)
					},
					renew: func(ask func() ([]ports.RenewResult, error)) ([]ports.RenewResult, error) {
						time.Sleep(100 * time.Millisecond) // the snapshot is here before that
						if !why && silence.Load() {
							return nil, fmt.Errorf("%w: not now", ports.ErrUnavailable)
						}
						return ask()
					},
				}).store()
				a := newHost(t, own)
				defer a.stop(t)
				lease, lost := a.owned(t, "one")
				synctest.Wait()
				own.setAway(true)
				sleep(time.Minute)
				silence.Store(true)
				own.setAway(false)
				sleep(time.Second)
				silence.Store(false)
				sleep(15 * time.Second) // one session_ttl
				assert.Equal(t, core.HeartbeatRenewed, a.beat(t, lease))
				assert.Empty(t, *lost)
				found, err := s.Get(t.Context(), []core.Key{{Service: "svc", ID: "one"}})
				require.NoError(t, err)
				assert.NotNil(t, found[0].Record)
			})
		})
	}
}

// Its session lives, so somebody deleted it, though the store has forgotten who.
func TestAbsenceUnderALivingSessionIsADeregistration(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var deaf atomic.Bool
		own := (&tampered{
			Backend: s.Backend,
			watch: func(req *ports.WatchRequest) error {
				if deaf.Load() {
					time.Sleep(time.Minute)
					return fmt.Errorf("%w: not yet", ports.ErrUnavailable)
				}
				return anew(req)
			},
		}).store()
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		_, lost := a.owned(t, "one")
		a.owned(t, "keeps-the-session")
		synctest.Wait()
		deaf.Store(true)
		own.setAway(true)
		own.setAway(false)
		require.NoError(t, b.Deregister(t.Context(), registry.DeregisterRequest{Key: core.Key{Service: "svc", ID: "one"}}))
		sleep(ports.TombstoneLife + time.Minute)
		deaf.Store(false)
		sleep(2 * time.Minute)
		assert.Equal(t, core.HeartbeatDeregistered, *lost)
		assert.Equal(t, core.Status("absent"), a.status("one"))
		assert.Equal(t, core.Status("absent"), b.status("one"))
	})
}

// A client went silent, and the backend went away with the answer to the Delete that says so.
func TestTTLThatEndsWithoutAnAnswerHasEnded(t *testing.T) {
	for name, watch := range map[string]func(*ports.WatchRequest) error{"resumed": nil, "read anew": anew} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *store) {
				own := (&tampered{Backend: s.Backend, watch: watch}).store()
				a, b := newHost(t, own), newHost(t, s)
				defer a.stop(t)
				defer b.stop(t)
				lease := a.register(t, clientSpec("one", 10*time.Second)).Lease
				own.hooks(func(m ports.Mutation) {
					if m.Delete != nil {
						own.setAway(true)
						time.Sleep(100 * time.Millisecond) // the stream has ended
					}
				}, func(m ports.Mutation) error {
					if m.Delete != nil {
						return fmt.Errorf("%w: the plugin died", ports.ErrUnavailable)
					}
					return nil
				})
				sleep(10500 * time.Millisecond)
				own.hooks(nil, nil)
				own.setAway(false)
				sleep(4 * time.Second)
				assert.Equal(t, core.HeartbeatExpired, a.beat(t, lease))
				sleep(30 * time.Second)
				assert.Equal(t, core.Status("absent"), a.status("one"))
				assert.Equal(t, []string{"service_registered one registered", "service_expired one expired"}, b.taken())
			})
		})
	}
}

// The store was away for all, and a client asks another host than before, which is back first.
func TestHeartbeatForWhatExpiredInAnOutageOfAll(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		own := (&tampered{Backend: s.Backend}).store()
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		lease := a.register(t, clientSpec("one", 10*time.Second)).Lease
		synctest.Wait()
		a.taken()
		b.taken()
		own.setAway(true)
		s.setAway(true)
		sleep(time.Minute)
		s.setAway(false)
		sleep(5 * time.Second)
		found, err := s.Get(t.Context(), []core.Key{{Service: "svc", ID: "one"}})
		require.NoError(t, err)
		require.NotNil(t, found[0].Tombstone, "it expired")
		forged := core.NewLease(found[0].Tombstone.Key, found[0].Tombstone.Generation).Token()
		assert.Equal(t, core.HeartbeatExpired, b.beat(t, forged))
		assert.Equal(t, core.HeartbeatRenewed, b.beat(t, lease))
		own.setAway(false)
		for range 10 {
			sleep(5 * time.Second)
			require.Equal(t, core.HeartbeatRenewed, b.beat(t, lease))
		}
		assert.Empty(t, a.taken(), "nobody sees an event for an instance that did not change")
		assert.Empty(t, b.taken())
		assert.Empty(t, a.Held())
		assert.Len(t, b.Held(), 1)
	})
}

// What somebody did meanwhile is the answer, although this host has not heard of it yet.
func TestHeartbeatForWhatWasDeregisteredAfterAnOutageOfAll(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		own := (&tampered{Backend: s.Backend}).store()
		var deaf atomic.Bool
		late := (&tampered{Backend: s, watch: func(*ports.WatchRequest) error {
			if deaf.Load() {
				return fmt.Errorf("%w: not yet", ports.ErrUnavailable)
			}
			return nil
		}}).store()
		a, b, c := newHost(t, own), newHost(t, s), newHost(t, late)
		defer a.stop(t)
		defer b.stop(t)
		defer c.stop(t)
		lease := a.register(t, clientSpec("one", 10*time.Second)).Lease
		synctest.Wait()
		own.setAway(true)
		s.setAway(true)
		sleep(time.Minute)
		s.setAway(false)
		sleep(5 * time.Second)
		require.Equal(t, core.StatusUnknown, c.status("one"), "its absence is being held")
		deaf.Store(true)
		late.setAway(true)
		late.setAway(false)
		require.Equal(t, core.HeartbeatRenewed, b.beat(t, lease))
		require.NoError(t, b.Deregister(t.Context(), registry.DeregisterRequest{Key: core.Key{Service: "svc", ID: "one"}}))
		require.Equal(t, core.StatusUnknown, c.status("one"))
		assert.Equal(t, core.HeartbeatDeregistered, c.beat(t, lease))
		deaf.Store(false)
		own.setAway(false)
	})
}

// A store that went back in time remembers the end of an earlier registration, and not the one that lives.
func TestATombstoneOfAnEarlierRegistrationEndsNoLaterOne(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer b.stop(t)
		first := a.register(t, spec("one"))
		key := first.Instance.Key()
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: key, Lease: first.Lease}))
		second := a.register(t, spec("one"))
		synctest.Wait()
		b.taken()
		s.setAway(true)
		_ = a.Close(context.WithoutCancel(t.Context()), false)
		s.replace(t)
		_, err := s.Backend.OpenSession(t.Context(), ports.SessionSpec{ID: "then", TTL: time.Hour})
		require.NoError(t, err)
		body, err := core.EncodeBody(first.Instance, nil)
		require.NoError(t, err)
		for _, m := range []ports.Mutation{
			{Put: &ports.Put{Record: ports.Record{Key: key, Generation: first.Instance.Generation, Session: "then", Body: body, State: first.Instance.State}}},
			{Delete: &ports.Delete{Key: key, Generation: first.Instance.Generation, Cause: core.CauseDeregistered}},
		} {
			res, err := s.Backend.Apply(t.Context(), []ports.Mutation{m})
			require.NoError(t, err)
			require.NoError(t, res[0].Err)
		}
		s.setAway(false)
		sleep(2 * time.Second)
		assert.Equal(t, core.HeartbeatRenewed, b.beat(t, second.Lease))
		assert.Empty(t, b.taken())
	})
}
