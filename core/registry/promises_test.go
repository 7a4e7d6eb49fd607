package registry_test

// promises_test.go: single sentences of what is promised about statuses, leases and outages
// that no other test depends on.

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

func TestStatusSetByHandResetsTheCounters(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("one"))
		a.check(t, "one", true)
		for range 3 { // two failures each time, and it takes three
			a.check(t, "one", false)
			a.check(t, "one", false)
			require.NoError(t, a.set(t, "one", "healthy", ""))
			require.Equal(t, core.StatusHealthy, a.status("one"))
		}
		require.NoError(t, a.set(t, "one", "unhealthy", ""))
		require.Equal(t, core.StatusUnhealthy, a.status("one"))
		a.check(t, "one", true)
		require.Equal(t, core.StatusUnhealthy, a.status("one"), "what was set holds until checks have decided")
		require.NoError(t, a.set(t, "one", "up", ""))
		a.check(t, "one", true)
		require.Equal(t, core.StatusUnhealthy, a.status("one"), "up resets them too")
		a.check(t, "one", true)
		assert.Equal(t, core.StatusHealthy, a.status("one"))
	})
}

func TestNewRegistrationBeginsUnobserved(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		first := a.register(t, spec("one"))
		a.check(t, "one", true)
		a.check(t, "one", false)
		a.check(t, "one", false)
		require.Equal(t, core.HeartbeatRenewed, b.beat(t, first.Lease))
		require.Equal(t, core.StatusHealthy, b.status("one"), "adoption keeps what was observed")
		b.register(t, spec("one"))
		assert.Equal(t, core.StatusUnknown, b.status("one"))
		in, _ := b.Snapshot("svc").Get("one")
		assert.Zero(t, in.State.Streak)
	})
}

func TestMaintenanceEndsWithItsRecord(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		got := a.register(t, spec("one"))
		require.NoError(t, a.set(t, "one", "maintenance", ""))
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), Lease: got.Lease}))
		a.register(t, spec("one"))
		assert.Equal(t, core.StatusUnknown, a.status("one"))
	})
}

func TestRegisteredAtIsOfTheRegistration(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		registered := got.Instance.RegisteredAt
		shown := func(h *host) core.Instance {
			in, ok := h.Snapshot("svc").Get("one")
			require.True(t, ok)
			return in
		}
		require.Equal(t, time.Now(), registered)
		sleep(time.Minute)
		require.Equal(t, core.HeartbeatRenewed, b.beat(t, got.Lease))
		synctest.Wait()
		assert.Equal(t, registered, shown(a).RegisteredAt, "adoption")
		assert.Equal(t, time.Now(), shown(a).UpdatedAt)
		assert.Equal(t, b.Owner(), shown(a).Owner)
		sleep(time.Minute)
		_, err := b.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: spec("one")})
		require.NoError(t, err)
		assert.Equal(t, registered, shown(b).RegisteredAt, "update")
		s.setAway(true)
		s.replace(t)
		s.setAway(false)
		sleep(10 * time.Second)
		c := newHost(t, s)
		defer c.stop(t)
		assert.Equal(t, registered, shown(c).RegisteredAt, "re-assertion after a loss of data")
	})
}

func TestRestartTakesOverItsOwnRecord(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		old := a.register(t, spec("")) // the id follows from service, host and port
		a.crash(t, s)
		b := newHost(t, s)
		defer b.stop(t)
		again := b.register(t, spec(""))
		assert.False(t, again.Created)
		assert.Equal(t, 1, b.Snapshot("svc").Len(), "no ghost beside it")
		assert.Equal(t, core.HeartbeatSuperseded, b.beat(t, old.Lease))
	})
}

func TestSupersededIsLoggedLoudly(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var log bytes.Buffer
		a := newHost(t, s, func(o *registry.Options) {
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
		})
		b := newHost(t, s)
		defer b.stop(t)
		a.register(t, spec("one"))
		b.register(t, spec("one"))
		synctest.Wait()
		a.stop(t) // nobody writes to log any more
		assert.Contains(t, log.String(), "a newer registration has taken over the instance")
	})
}

func TestHeartbeatsOfOthersInstancesInAnOutage(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		synctest.Wait()
		s.setAway(true)
		assert.Equal(t, core.HeartbeatUnavailable, b.beat(t, got.Lease), "keep calm and try again")
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, got.Lease))
		s.setAway(false)
		assert.Equal(t, core.HeartbeatRenewed, b.beat(t, got.Lease))
	})
}

func TestWriteWaitsForAStoreThatIsSoonBack(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		s.setAway(true)
		back := time.AfterFunc(2*time.Second, func() { s.setAway(false) })
		defer back.Stop()
		_, err := a.Register(t.Context(), registry.RegisterRequest{Spec: spec("one")})
		require.NoError(t, err)

		s.setAway(true)
		defer s.setAway(false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		started := time.Now()
		_, err = a.Register(ctx, registry.RegisterRequest{Spec: spec("two")})
		require.ErrorIs(t, err, core.ErrUnavailable)
		assert.Equal(t, time.Second, time.Since(started), "its own deadline counts")
	})
}

func TestViewIsStaleWithinFiveSecondsAndNotBefore(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		for range 100 { // nothing happens, and that is proved all the time
			sleep(time.Second)
			require.False(t, a.Freshness().Stale)
			require.LessOrEqual(t, a.Freshness().Age, ports.MaxBookmarkGap)
		}
		age := a.Freshness().Age
		s.setAway(true)
		sleep(4900*time.Millisecond - age)
		assert.False(t, a.Freshness().Stale)
		sleep(200 * time.Millisecond)
		assert.True(t, a.Freshness().Stale)
		assert.Equal(t, 5100*time.Millisecond, a.Freshness().Age)
		s.setAway(false)
		sleep(time.Second)
		assert.False(t, a.Freshness().Stale)
	})
}

// shared says of a backend that several machines use it.
type shared struct{ *store }

func (s shared) Info() ports.Info {
	info := s.store.Info()
	info.Capabilities.MultiHost = true
	return info
}

func TestLoopbackHostInASharedStoreIsWarnedOf(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		alone := newHost(t, s)
		defer alone.stop(t)
		several := newHost(t, &store{Backend: shared{s}, cut: make(chan struct{})})
		defer several.stop(t)
		for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
			sp := spec("one")
			sp.Host = host
			assert.Empty(t, alone.register(t, sp).Warnings)
			got := several.register(t, sp).Warnings
			require.Len(t, got, 1, host)
			assert.Contains(t, got[0], "reachable from its own machine only")
		}
		sp := spec("one")
		sp.Host = "10.0.0.7"
		assert.Empty(t, several.register(t, sp).Warnings)
	})
}

func TestNobodyReachesTheViewThroughWhatIsHandedOut(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var seen []core.Instance
		a := newHost(t, s, func(o *registry.Options) {
			o.Defaults.AllowExec = true
			o.Track = func(in core.Instance) { seen = append(seen, in) }
			publish := o.Publish
			o.Publish = func(e core.Event) { seen = append(seen, e.Instance); publish(e) }
		})
		defer a.stop(t)
		sp := spec("one")
		sp.Check = &core.Check{Type: core.CheckExec, Command: []string{"true"}}
		seen = append(seen, a.register(t, sp).Instance)
		set, err := a.SetStatus(t.Context(), registry.StatusRequest{Key: core.Key{Service: "svc", ID: "one"}, Status: "healthy"})
		require.NoError(t, err)
		got, _ := a.Snapshot("svc").Get("one")
		seen = append(seen, set, got, a.Snapshot("svc").At(0))
		seen = append(seen, a.Snapshot("svc").Instances()...)
		require.Greater(t, len(seen), 7)
		for _, in := range seen {
			in.Check.Command[0] = "false"
			now, _ := a.Snapshot("svc").Get("one")
			require.Equal(t, "true", now.Check.Command[0])
		}
	})
}
