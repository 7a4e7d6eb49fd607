package registry_test

// critical_test.go: instances that are unhealthy for too long are removed, and no others.

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
)

// critical registers an instance that is removed after 30 s of being unhealthy.
func (h *host) critical(t *testing.T) registry.Registered {
	t.Helper()
	sp := spec("one")
	sp.Check = &core.Check{DeregisterAfter: 30 * time.Second}
	return h.register(t, sp)
}

// fail lets checks fail for n seconds, once a second.
func (h *host) fail(t *testing.T, n int) {
	t.Helper()
	for range n {
		h.check(t, "one", false)
		sleep(time.Second)
	}
}

func TestCriticalIsCountedOverUpdatesAndAdoptions(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.critical(t)
		a.fail(t, 9)
		sp := spec("one")
		sp.Check = &core.Check{DeregisterAfter: 30 * time.Second}
		_, err := a.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: sp})
		require.NoError(t, err)
		for _, h := range []*host{b, a} { // heartbeats go round robin
			require.Equal(t, core.HeartbeatRenewed, h.beat(t, got.Lease))
			h.fail(t, 10)
		}
		require.Equal(t, core.StatusUnhealthy, a.status("one"), "29 s")
		sleep(time.Second)
		a.check(t, "one", false)
		assert.Equal(t, core.Status("absent"), a.status("one"))
		assert.Equal(t, core.HeartbeatExpired, b.beat(t, got.Lease))
	})
}

func TestHealthyInBetweenBeginsAnew(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.critical(t)
		a.fail(t, 25)
		a.check(t, "one", true)
		a.check(t, "one", true)
		require.Equal(t, core.StatusHealthy, a.status("one"))
		a.fail(t, 30)
		require.Equal(t, core.StatusUnhealthy, a.status("one"), "for 28 s now")
		a.fail(t, 2)
		a.check(t, "one", true)
		require.Equal(t, core.StatusUnhealthy, a.status("one"), "a check that passes removes nothing")
		a.check(t, "one", false)
		assert.Equal(t, core.Status("absent"), a.status("one"))
	})
}

func TestNoCheckRemovesWhatIsDrainedOrLeaving(t *testing.T) {
	for _, declared := range []string{"maintenance", "stopping"} {
		run(t, func(t *testing.T, s *store) {
			a := newHost(t, s)
			defer a.stop(t)
			a.critical(t)
			a.fail(t, 10)
			require.NoError(t, a.set(t, "one", declared, ""))
			a.fail(t, 200)
			require.Equal(t, core.Status(declared), a.status("one"))
			require.NoError(t, a.set(t, "one", "up", ""))
			a.fail(t, 30)
			require.Equal(t, core.StatusUnhealthy, a.status("one"), "counted from then on")
			a.check(t, "one", false)
			assert.Equal(t, core.Status("absent"), a.status("one"))
		})
	}
}

func TestUnhealthyIsKeptWhereNothingIsToRemoveIt(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		sp := spec("one")
		sp.Keepalive = core.KeepaliveAuto // deregister_after is off
		a.register(t, sp)
		a.fail(t, 1000)
		assert.Equal(t, core.StatusUnhealthy, a.status("one"))
	})
}
