package registry_test

// late_test.go: answers that come late or never, and what others do meanwhile.

import (
	"context"
	"errors"
	"strconv"
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

func TestUnknownOutcomeIsSettledByLooking(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		failures := 1
		s.hooks(nil, func(ports.Mutation) error {
			if failures--; failures >= 0 {
				return ports.ErrUnavailable
			}
			return nil
		})
		got := a.register(t, spec("one"))
		assert.True(t, got.Created)
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, got.Lease))
		assert.Equal(t, []string{"service_registered one registered"}, a.taken())
		failures = 1
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), Lease: got.Lease}))
		synctest.Wait()
		assert.Equal(t, []string{"service_deregistered one deregistered"}, a.taken())
	})
}

// What was asked for is done though its answer was lost, and its repetition finds it done.
func TestAWriteThatLandsLateIsFound(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		got := a.register(t, spec("one"))
		late := func() {
			s.refuse(ports.ErrUnavailable) // and this one comes after those who look have looked
			time.AfterFunc(time.Millisecond, func() { s.refuse(nil) })
			landed := false
			s.hooks(func(m ports.Mutation) {
				if landed {
					return
				}
				landed = true
				res, err := s.Backend.Apply(t.Context(), []ports.Mutation{m})
				assert.NoError(t, err)
				assert.NoError(t, res[0].Err)
			}, nil)
		}
		late()
		changed := spec("one")
		changed.Weight = new(7)
		up, err := a.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: changed, IfMatch: got.Instance.Revision})
		require.NoError(t, err)
		assert.Equal(t, 7, up.Instance.Weight)
		late()
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), Lease: got.Lease}))
		synctest.Wait()
		assert.Equal(t, core.Status("absent"), a.status("one"))
	})
}

// The store has ended the session, and nobody here knows it yet.
func TestAnUpdateUnderASessionThatEndedGoesUnderAnother(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		auto := spec("one")
		auto.Keepalive = core.KeepaliveAuto
		lease := a.register(t, auto).Lease
		s.setAway(true)
		sleep(time.Minute)
		s.setAway(false)
		auto.Weight = new(7)
		up, err := a.Update(t.Context(), registry.UpdateRequest{Lease: lease, Spec: auto})
		require.NoError(t, err)
		assert.Equal(t, 7, up.Instance.Weight)
		sleep(time.Minute)
		in, ok := a.Snapshot("svc").Get("one")
		require.True(t, ok)
		assert.Equal(t, 7, in.Weight)
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, lease))
	})
}

// gated is a store that opens a session only when told to.
type gated struct {
	*store
	gate chan struct{}
}

func (g gated) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	select {
	case <-g.gate:
		return g.store.OpenSession(ctx, spec)
	case <-ctx.Done():
		return ports.Session{}, ctx.Err()
	}
}

// Many wait for the session that one opens; that one's end is not theirs.
func TestWhoeverStopsOpeningASessionStopsNobodyElse(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		g := gated{store: s, gate: make(chan struct{})}
		r := registry.New(g, registry.Options{Defaults: core.StandardDefaults(), Publish: func(core.Event) {}})
		require.NoError(t, r.Start(t.Context()))
		defer func() { require.NoError(t, r.Close(context.WithoutCancel(t.Context()), true)) }()
		first, leave := context.WithCancel(t.Context())
		register := func(ctx context.Context, id string) chan error {
			answer := make(chan error, 1)
			go func() {
				_, err := r.Register(ctx, registry.RegisterRequest{Spec: spec(id)})
				answer <- err
			}()
			synctest.Wait()
			return answer
		}
		gone, stays := register(first, "gone"), register(t.Context(), "stays")
		leave()
		require.ErrorIs(t, <-gone, context.Canceled)
		close(g.gate)
		require.NoError(t, <-stays)
	})
}

// The view sees the record before the caller gives up, so that nothing more comes of it.
func TestWriteSeenBeforeItsCallerGaveUpIsCleanedUp(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("keeps-the-session"))
		s.hooks(nil, func(ports.Mutation) error {
			sleep(time.Second)
			return errors.New("the plugin died")
		})
		_, err := a.Register(t.Context(), registry.RegisterRequest{Spec: spec("one")})
		require.Error(t, err)
		assert.Equal(t, core.StatusUnknown, a.status("one"))
		s.hooks(nil, nil)
		sleep(5 * time.Second)
		assert.Equal(t, core.Status("absent"), a.status("one"))
	})
}

func TestWriteThatOutlivedItsCallerIsCleanedUp(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("keeps-the-session"))
		s.hooks(nil, func(ports.Mutation) error { return errors.New("the plugin died") })
		_, err := a.Register(t.Context(), registry.RegisterRequest{Spec: spec("one")})
		require.Error(t, err)
		s.hooks(nil, nil)
		sleep(5 * time.Second)
		assert.Equal(t, core.Status("absent"), a.status("one"))
	})
}

// A second registration of what is held here hangs, and the store carries it out when its caller
// is gone: the newest wins, and nobody holds it.
func TestTakeOverThatOutlivedItsCallerIsCleanedUp(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		stuck := &stuck{Backend: s.Backend}
		a := newHost(t, &store{Backend: stuck, cut: make(chan struct{})})
		defer a.stop(t)
		first := a.register(t, spec("one"))
		a.register(t, spec("keeps-the-session"))
		stuck.hangs.Store(true)
		_, err := a.Register(t.Context(), registry.RegisterRequest{Spec: spec("one")})
		require.Error(t, err)
		stuck.hangs.Store(false)
		res, err := s.Apply(t.Context(), []ports.Mutation{{Put: stuck.late}})
		require.NoError(t, err)
		require.NoError(t, res[0].Err)
		sleep(5 * time.Second)
		assert.Equal(t, core.Status("absent"), a.status("one"))
		assert.Equal(t, core.HeartbeatSuperseded, a.beat(t, first.Lease))
		assert.Len(t, a.Held(), 1)
	})
}

// stuck keeps back the first Put that it is given while it hangs.
type stuck struct {
	ports.Backend
	hangs atomic.Bool
	late  *ports.Put
}

func (b *stuck) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if !b.hangs.Load() || muts[0].Put == nil {
		return b.Backend.Apply(ctx, muts)
	}
	if b.late == nil {
		b.late = muts[0].Put
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A host of many instances has several sessions of a class. The answer to a registration is lost, the
// store is away for a moment, and the registration that is repeated finds what it did itself.
func TestARegistrationThatIsRepeatedKeepsItsSession(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		for n := range 1010 {
			a.register(t, spec("n"+strconv.Itoa(n)))
		}
		for n := range 20 { // there is room in both
			key := core.Key{Service: "svc", ID: "n" + strconv.Itoa(n)}
			require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: key}))
		}
		require.Equal(t, 2, a.Status().Sessions)
		for n := range 10 {
			lost := false
			s.hooks(nil, func(ports.Mutation) error {
				if lost {
					return nil
				}
				lost = true
				s.setAway(true)
				time.AfterFunc(100*time.Millisecond, func() { s.setAway(false) })
				return ports.ErrUnavailable
			})
			a.taken()
			once := spec("once" + strconv.Itoa(n))
			once.CreateOnly = true
			a.register(t, once)
			sleep(3 * time.Second)
			assert.Equal(t, []string{"service_registered " + once.ID + " registered"}, a.taken())
		}
	})
}

// A heartbeat reaches another host, the store moves the instance there, and the caller does not
// wait for the answer: the client lives, and comes again at its next heartbeat.
func TestAdoptionThatOutlivedItsCallerIsKeptAlive(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		b.register(t, spec("keeps-the-session"))
		lease := a.register(t, spec("one")).Lease
		sleep(time.Second)
		ctx, giveUp := context.WithCancel(t.Context())
		s.hooks(nil, func(ports.Mutation) error {
			giveUp()
			return ctx.Err()
		})
		require.Equal(t, core.HeartbeatUnavailable, b.Heartbeat(ctx, []string{lease})[0].State)
		s.hooks(nil, nil)
		b.taken()
		sleep(100 * time.Second)
		assert.Empty(t, a.Held())
		assert.Len(t, b.Held(), 2)
		assert.Empty(t, b.taken())
		assert.Equal(t, core.HeartbeatRenewed, b.beat(t, lease))
		sleep(301 * time.Second)
		assert.Contains(t, b.taken(), "service_expired one expired", "its ttl is kept as ever")
	})
}

// Another host has removed it, and the view does not know yet.
func TestCreateOnlyAsksTheStore(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		slow := &store{Backend: s.Backend, cut: make(chan struct{})}
		a, b := newHost(t, slow), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		key := b.register(t, spec("one")).Instance.Key()
		synctest.Wait()
		slow.setAway(true)
		synctest.Wait()
		require.NoError(t, b.Deregister(t.Context(), registry.DeregisterRequest{Key: key}))
		slow.setAway(false)
		once := spec("one")
		once.CreateOnly = true
		got := a.register(t, once)
		assert.True(t, got.Created)
		_, err := a.Register(t.Context(), registry.RegisterRequest{Spec: once})
		require.ErrorIs(t, err, core.ErrConflict)
	})
}

// The answer to a removal is lost, and before anybody looks the instance is registered anew.
func TestARemovalIsNotRepeatedOnWhatCameAfterIt(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		again := make(chan string, 1)
		s.hooks(nil, func(m ports.Mutation) error {
			if m.Delete == nil {
				return nil
			}
			s.hooks(nil, nil)
			again <- b.register(t, spec("one")).Lease
			return ports.ErrUnavailable
		})
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), Actor: "alice"}))
		synctest.Wait()
		assert.Equal(t, core.StatusUnknown, a.status("one"))
		assert.Equal(t, core.HeartbeatRenewed, b.beat(t, <-again))
	})
}
