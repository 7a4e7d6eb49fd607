package registry_test

// lifecycle_test.go: staying registered: heartbeats, ttls, take-over, adoption, recovery.

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

func TestRegisterIsSeenEverywhereWithOneEvent(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		assert.True(t, got.Created)
		assert.Equal(t, core.StatusUnknown, a.status("one"), "the caller's own host shows it before the caller hears of it")
		synctest.Wait()
		assert.Equal(t, core.StatusUnknown, b.status("one"))
		assert.Equal(t, []string{"service_registered one registered"}, a.taken())
		assert.Equal(t, []string{"service_registered one registered"}, b.taken())
	})
}

// Fault 1: steadily alive instances vanished after the TTL, as nothing sent heartbeats.
func TestFault01AliveInstancesStayBeyondTheTTL(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		auto := spec("auto")
		auto.Keepalive = core.KeepaliveAuto
		a.register(t, auto)
		got := a.register(t, spec("client"))
		for range 20 {
			sleep(250 * time.Second)
			require.Equal(t, core.HeartbeatRenewed, a.beat(t, got.Lease))
		}
		for _, h := range []*host{a, b} {
			assert.Equal(t, core.StatusUnknown, h.status("auto"))
			assert.Equal(t, core.StatusUnknown, h.status("client"))
			assert.Len(t, h.taken(), 2, "nobody sees an event for an instance that did not change")
		}
	})
}

func TestSilentClientExpiresAfterItsTTLAndNotBefore(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		sp := spec("one")
		sp.TTL = 10 * time.Second
		got := a.register(t, sp)
		sleep(9900 * time.Millisecond)
		require.Equal(t, core.StatusUnknown, b.status("one"))
		sleep(200 * time.Millisecond)
		assert.Equal(t, core.Status("absent"), b.status("one"))
		assert.Equal(t, core.HeartbeatExpired, a.beat(t, got.Lease))
		assert.Equal(t, core.HeartbeatExpired, b.beat(t, got.Lease), "any host knows")
		assert.Equal(t, []string{"service_registered one registered", "service_expired one expired"}, b.taken())
	})
}

func TestCrashOfAHostTakesItsOwnAwayWithinTheSessionTTL(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer b.stop(t)
		sp := spec("auto")
		sp.Keepalive = core.KeepaliveAuto
		a.register(t, sp)
		synctest.Wait()
		a.crash(t, s)
		sleep(9 * time.Second)
		assert.Equal(t, core.StatusUnknown, b.status("auto"))
		sleep(7 * time.Second)
		// b's own link was cut for an instant too, so it goes by the session alone.
		assert.Equal(t, core.Status("absent"), b.status("auto"))
	})
}

func TestClientsHaveTheirWholeTTLToReachAnotherHost(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer b.stop(t)
		sp := spec("one")
		sp.TTL = 20 * time.Second
		got := a.register(t, sp)
		sleep(5 * time.Second)
		a.crash(t, s)
		b.taken()
		sleep(19 * time.Second)
		require.Equal(t, core.HeartbeatRenewed, b.beat(t, got.Lease), "adopted")
		sleep(19 * time.Second)
		require.Equal(t, core.HeartbeatRenewed, b.beat(t, got.Lease))
		assert.Empty(t, b.taken(), "adoption is no event")
		sleep(21 * time.Second)
		assert.Equal(t, []string{"service_expired one expired"}, b.taken(), "the adopter keeps the ttl")
	})
}

func TestAdoptionMovesTheTTLClock(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		sp := spec("one")
		sp.TTL = 10 * time.Second
		got := a.register(t, sp)
		for range 8 { // heartbeats go round robin
			sleep(8 * time.Second)
			require.Equal(t, core.HeartbeatRenewed, b.beat(t, got.Lease))
			sleep(8 * time.Second)
			require.Equal(t, core.HeartbeatRenewed, a.beat(t, got.Lease))
		}
		assert.Len(t, a.taken(), 1)
	})
}

func TestNewestRegistrationWinsAndTheOlderIsTold(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		var lost core.HeartbeatState
		first, err := a.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: spec("one")}, func(st core.HeartbeatState) { lost = st })
		require.NoError(t, err)
		synctest.Wait()
		second := b.register(t, spec("one"))
		assert.False(t, second.Created)
		synctest.Wait()
		assert.Equal(t, core.HeartbeatSuperseded, lost)
		assert.Equal(t, core.HeartbeatSuperseded, a.beat(t, first.Lease))
		assert.Equal(t, core.HeartbeatRenewed, b.beat(t, second.Lease))
		assert.Equal(t, []string{
			"service_registered one registered", "service_registered one takeover", "lease_superseded one takeover",
		}, a.taken())
		sleep(time.Hour)
		_, err = a.Register(t.Context(), registry.RegisterRequest{Spec: core.Spec{Service: "svc", ID: "one", Host: "127.0.0.1", Port: 1, CreateOnly: true}})
		require.NoError(t, err, "it expired meanwhile, so there is nothing in the way")
	})
}

func TestCreateOnlyRefuses(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("one"))
		sp := spec("one")
		sp.CreateOnly = true
		_, err := a.Register(t.Context(), registry.RegisterRequest{Spec: sp})
		require.ErrorIs(t, err, core.ErrConflict)
		assert.ErrorContains(t, err, "create_only")
	})
}

// Fault 25: a second registration of oneself overwrote the first handle.
func TestFault25SecondRegistrationOfOneselfEndsTheFirst(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		first := a.register(t, spec("one"))
		second := a.register(t, spec("one"))
		assert.Equal(t, core.HeartbeatSuperseded, a.beat(t, first.Lease))
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, second.Lease))
	})
}

func TestLeaseOfAnotherSecretIsUnknown(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		forged := core.NewLease(got.Instance.Key(), got.Instance.Generation).Token()
		assert.Equal(t, core.HeartbeatUnknown, a.beat(t, forged))
		assert.Equal(t, core.HeartbeatUnknown, b.beat(t, forged))
		assert.Equal(t, core.HeartbeatUnknown, a.beat(t, "nonsense"))
		err := a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), Lease: forged})
		require.ErrorIs(t, err, core.ErrLeaseExpired)
		require.Equal(t, core.StatusUnknown, a.status("one"))
	})
}

// Fault 2: after an expiry or a store's data loss nothing registered again.
func TestFault02EverythingComesBackAfterDataLoss(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		auto := spec("auto")
		auto.Keepalive = core.KeepaliveAuto
		a.register(t, auto)
		client := a.register(t, spec("client"))
		_, err := a.SetStatus(t.Context(), registry.StatusRequest{Key: client.Instance.Key(), Status: "maintenance", Reason: "disk"})
		require.NoError(t, err)
		synctest.Wait()
		a.taken()
		b.taken()

		s.setAway(true)
		s.replace(t)
		s.setAway(false)
		require.Equal(t, core.HeartbeatRenewed, a.beat(t, client.Lease), "from memory")
		sleep(7500*time.Millisecond + 2*time.Second)

		found, err := s.Get(t.Context(), []core.Key{{Service: "svc", ID: "auto"}, {Service: "svc", ID: "client"}})
		require.NoError(t, err)
		require.NotNil(t, found[0].Record)
		require.NotNil(t, found[1].Record)
		assert.Equal(t, core.DeclaredMaintenance, found[1].Record.State.Declared, "operator's maintenance survives re-assertion")
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, client.Lease))
		sleep(time.Minute)
		assert.Empty(t, a.taken(), "nobody sees an event for an instance that did not change")
		assert.Empty(t, b.taken())
		assert.Equal(t, core.StatusMaintenance, b.status("client"))
	})
}

// Fault 13: an outage looked like "no instances".
func TestFault13OutageKeepsTheViewAndSaysStale(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		auto := spec("auto")
		auto.Keepalive = core.KeepaliveAuto
		a.register(t, auto)
		short := spec("client")
		short.TTL = 10 * time.Second
		client := a.register(t, short)
		sleep(3 * time.Second) // a bookmark, from which the watch resumes
		b.taken()
		s.setAway(true)
		sleep(5500 * time.Millisecond)
		require.True(t, b.Freshness().Stale)
		sleep(10 * time.Minute) // every session and ttl has run out meanwhile
		assert.Equal(t, core.StatusUnknown, b.status("auto"))
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, client.Lease))
		_, err := a.Register(t.Context(), registry.RegisterRequest{Spec: spec("new")})
		require.ErrorIs(t, err, core.ErrUnavailable)
		s.setAway(false)
		sleep(7500*time.Millisecond + 2*time.Second)
		assert.Equal(t, core.StatusUnknown, b.status("auto"))
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, client.Lease))
		assert.Empty(t, b.taken())
		assert.False(t, b.Freshness().Stale)
		sleep(9 * time.Second)
		assert.Equal(t, core.StatusUnknown, b.status("client"), "the ttl's clock started whole")
		sleep(3 * time.Minute)
		assert.Equal(t, []string{"service_expired client expired"}, b.taken())
	})
}

// An outage is as long as the time between its two events, although the last proof was earlier.
func TestRecoverySaysHowLongTheOutageWas(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		at, reason := map[core.EventType]time.Time{}, ""
		h := newHost(t, s, func(o *registry.Options) {
			o.Publish = func(e core.Event) { at[e.Type], reason = time.Now(), e.Reason }
		})
		defer h.stop(t)
		sleep(3500 * time.Millisecond) // between two bookmarks
		s.setAway(true)
		sleep(time.Minute)
		s.setAway(false)
		sleep(30 * time.Second)
		outage := at[core.EventRecovered].Sub(at[core.EventDegraded])
		assert.GreaterOrEqual(t, outage, time.Minute)
		assert.Equal(t, "the view is current again, "+outage.Round(time.Millisecond).String()+" after the outage was noticed", reason)
	})
}

func TestInstanceThatDiedInTheOutageGoesAfterTheHold(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer b.stop(t)
		auto := spec("auto")
		auto.Keepalive = core.KeepaliveAuto
		a.register(t, auto)
		synctest.Wait()
		s.setAway(true)
		_ = a.Close(context.WithoutCancel(t.Context()), false)
		sleep(time.Minute)
		s.setAway(false)
		b.taken()
		sleep(20 * time.Second)
		assert.Equal(t, core.StatusUnknown, b.status("auto"), "not believed before 1.5 session_ttl")
		sleep(4 * time.Second)
		assert.Equal(t, core.Status("absent"), b.status("auto"))
		assert.Equal(t, []string{"service_expired auto expired"}, b.taken())
	})
}

// While the store is away again nobody can show that an instance lives: no absence is believed.
func TestAbsencesAreNotBelievedWhileTheStoreIsAwayAgain(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		b := newHost(t, s)
		defer b.stop(t)
		auto := spec("auto")
		auto.Keepalive = core.KeepaliveAuto
		a.register(t, auto)
		synctest.Wait()
		b.taken()
		s.setAway(true)
		sleep(time.Minute)
		s.replace(t)
		s.refuse(ports.ErrUnavailable) // the owner cannot write yet
		s.setAway(false)
		sleep(10 * time.Second)
		s.setAway(true) // 12.5 s of the hold are left
		sleep(time.Minute)
		require.Equal(t, core.StatusUnknown, b.status("auto"))
		s.setAway(false)
		sleep(11 * time.Second)
		require.Equal(t, core.StatusUnknown, b.status("auto"), "it stopped while the store was away")
		s.refuse(nil)
		sleep(time.Minute)
		assert.Equal(t, core.StatusUnknown, b.status("auto"))
		assert.Empty(t, b.taken())
	})
}

// Fault 20: a status update brought a deregistered instance back. Fault 28: deregistering an
// unknown id said that it had worked.
func TestFault20And28WritesToWhatIsGone(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		got := a.register(t, spec("one"))
		key := got.Instance.Key()
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: key, Lease: got.Lease}))
		_, err := a.SetStatus(t.Context(), registry.StatusRequest{Key: key, Status: "healthy"})
		require.ErrorIs(t, err, core.ErrNotFound)
		_, err = a.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: spec("one")})
		require.ErrorIs(t, err, core.ErrDeregistered)
		require.ErrorIs(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: key}), core.ErrNotFound)
		assert.Equal(t, core.Status("absent"), a.status("one"))
		assert.Equal(t, core.HeartbeatDeregistered, a.beat(t, got.Lease))
	})
}

func TestOperatorsDeletionIsNotUndoneByAnOwnerThatWasCutOff(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		own := &store{Backend: s.Backend, cut: make(chan struct{})}
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		auto := spec("auto")
		auto.Keepalive = core.KeepaliveAuto
		var lost core.HeartbeatState
		_, err := a.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: auto}, func(st core.HeartbeatState) { lost = st })
		require.NoError(t, err)
		synctest.Wait()
		own.setAway(true)
		require.NoError(t, b.Deregister(t.Context(), registry.DeregisterRequest{Key: core.Key{Service: "svc", ID: "auto"}, Actor: "alice"}))
		sleep(10 * time.Minute)
		own.setAway(false)
		sleep(time.Minute)
		assert.Equal(t, core.HeartbeatDeregistered, lost)
		assert.Equal(t, core.Status("absent"), a.status("auto"))
		assert.Equal(t, core.Status("absent"), b.status("auto"))
	})
}

// Fault 7: a write in flight at shutdown resurrected an entry.
func TestFault07CloseWaitsForWritesInFlight(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		reached, proceed := make(chan struct{}), make(chan struct{})
		s.hooks(func(m ports.Mutation) {
			if m.Put != nil {
				close(reached)
				<-proceed
			}
		}, nil)
		failed := make(chan error, 1)
		go func() {
			_, err := a.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: spec("one")}, func(core.HeartbeatState) {})
			failed <- err
		}()
		<-reached
		closed := make(chan error, 1)
		go func() { closed <- a.Close(context.WithoutCancel(t.Context()), true) }()
		synctest.Wait()
		close(proceed)
		require.NoError(t, <-failed)
		require.NoError(t, <-closed)
		found, err := s.Get(t.Context(), []core.Key{{Service: "svc", ID: "one"}})
		require.NoError(t, err)
		assert.Nil(t, found[0].Record)
		_, err = a.Register(t.Context(), registry.RegisterRequest{Spec: spec("two")})
		require.ErrorIs(t, err, core.ErrClosed)
	})
}

// Whoever hears of a change finds it in the view, however long its events take.
func TestTheViewShowsWhatEventsTellOf(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		type seen struct {
			event  core.EventType
			status core.Status
		}
		var there *host
		var saw []seen // one goroutine at a time publishes
		there = newHost(t, s, func(o *registry.Options) {
			o.Publish = func(e core.Event) {
				if e.Service != "" {
					saw = append(saw, seen{e.Type, there.status(e.ID)})
				}
			}
		})
		here := newHost(t, s)
		lease := here.register(t, spec("a")).Lease
		synctest.Wait()
		require.NoError(t, here.set(t, "a", "maintenance", ""))
		synctest.Wait()
		require.NoError(t, here.Deregister(t.Context(), registry.DeregisterRequest{Key: core.Key{Service: "svc", ID: "a"}, Lease: lease}))
		synctest.Wait()
		here.stop(t)
		there.stop(t)
		require.Len(t, saw, 3)
		assert.Equal(t, seen{core.EventRegistered, core.StatusUnknown}, saw[0])
		assert.Equal(t, seen{core.EventStatusChanged, core.StatusMaintenance}, saw[1])
		assert.Equal(t, seen{core.EventDeregistered, "absent"}, saw[2])
	})
}
