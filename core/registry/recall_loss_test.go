package registry_test

// recall_loss_test.go: a host comes back with its journal, and the store has lost something, or never had it.

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

func TestWhatTheStoreLostDuringARestartIsRegisteredAgain(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		other := newHost(t, s)
		defer other.stop(t)
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		lease := first.register(t, clientSpec("client", time.Minute)).Lease
		first.register(t, autoSpec("auto"))
		_, err := first.SetStatus(t.Context(), registry.StatusRequest{Key: core.Key{Service: "svc", ID: "auto"}, Status: "maintenance"})
		require.NoError(t, err)
		sleep(time.Second)
		other.taken()
		first.crash(t, s)
		s.replace(t)
		sleep(5 * time.Second)
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		assert.Equal(t, core.HeartbeatRenewed, second.beat(t, lease), "from memory, until it is written")
		sleep(7500 * time.Millisecond)
		found, err := s.Get(t.Context(), []core.Key{{Service: "svc", ID: "client"}, {Service: "svc", ID: "auto"}})
		require.NoError(t, err)
		require.NotNil(t, found[0].Record)
		require.NotNil(t, found[1].Record)
		assert.Equal(t, core.DeclaredMaintenance, found[1].Record.State.Declared)
		sleep(40 * time.Second)
		assert.Equal(t, core.HeartbeatRenewed, second.beat(t, lease))
		sleep(50 * time.Second)
		assert.Empty(t, other.taken())
		assert.Empty(t, second.taken())
		assert.Equal(t, core.StatusMaintenance, other.status("auto"))
	})
}

func TestWhatTheStoreLostBeforeALateRestartStaysGone(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		first.register(t, autoSpec("auto"))
		first.register(t, clientSpec("client", time.Minute))
		first.crash(t, s)
		s.replace(t)
		sleep(20 * time.Second) // more than the session of auto has, less than that of client
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		sleep(10 * time.Second)
		assert.Equal(t, []core.Key{{Service: "svc", ID: "client"}}, second.Held())
		assert.Equal(t, []string{"client"}, notes.ids())
	})
}

func TestANewerRegistrationInANewStoreWinsOverTheJournal(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		first.register(t, autoSpec("a"))
		older := first.register(t, autoSpec("a")).Instance
		first.crash(t, s)
		s.replace(t)
		other := newHost(t, s)
		defer other.stop(t)
		other.register(t, autoSpec("a"))
		other.register(t, autoSpec("a"))
		newest := other.register(t, autoSpec("a")).Instance
		require.Positive(t, newest.Generation.Compare(older.Generation))
		other.taken()
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		sleep(10 * time.Second)
		assert.Empty(t, second.Held())
		assert.Empty(t, second.taken())
		assert.Empty(t, other.taken())
	})
}

func TestAnUnacknowledgedRegistrationGoesAfterARestart(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		first.register(t, autoSpec("kept"))
		killed := notes.safe() // the host ends between the store's answer and its own
		first.register(t, autoSpec("lost"))
		first.crash(t, s)
		second := newHost(t, s, journaled(killed))
		defer second.stop(t)
		sleep(time.Second)
		assert.Equal(t, core.StatusUnknown, second.status("lost"))
		sleep(2 * time.Second)
		assert.Equal(t, []string{"service_deregistered lost orphan"}, second.taken())
		assert.Len(t, second.Held(), 1)
	})
}

func TestAnUnacknowledgedTakeOverGoesAfterARestart(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		first.register(t, autoSpec("a"))
		killed := notes.safe()
		first.register(t, autoSpec("a"))
		first.crash(t, s)
		second := newHost(t, s, journaled(killed))
		defer second.stop(t)
		assert.Empty(t, second.Held())
		sleep(3 * time.Second)
		assert.Equal(t, []string{"service_deregistered a orphan"}, second.taken())
	})
}

// An instance moves to a host that ends before it can note that: its client knows nothing of it.
func TestAnUnacknowledgedAdoptionIsKeptAliveAfterARestart(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		other := newHost(t, s)
		defer other.stop(t)
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		first.register(t, spec("keeps-the-session"))
		lease := other.register(t, spec("one")).Lease
		sleep(time.Second)
		killed := notes.safe()
		require.Equal(t, core.HeartbeatRenewed, first.beat(t, lease))
		first.crash(t, s)
		second := newHost(t, s, journaled(killed))
		defer second.stop(t)
		sleep(100 * time.Second)
		assert.Empty(t, second.taken())
		assert.Len(t, second.Held(), 2)
		assert.Equal(t, core.HeartbeatRenewed, second.beat(t, lease))
	})
}

func TestAnOrphanIsRemovedWhenTheStoreIsBack(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		first.register(t, clientSpec("kept", 5*time.Minute))
		killed := notes.safe()
		first.register(t, clientSpec("lost", 5*time.Minute))
		first.crash(t, s)
		second := newHost(t, s, journaled(killed))
		defer second.stop(t)
		sleep(time.Second)
		s.setAway(true)
		sleep(5 * time.Second)
		s.setAway(false)
		sleep(10 * time.Second)
		assert.Equal(t, []string{"service_deregistered lost orphan"}, second.taken())
	})
}

func TestOwnInstancesThatTheStoreLostAndNobodyClaimsGo(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		_, err := first.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: spec("a")}, func(core.HeartbeatState) {})
		require.NoError(t, err)
		first.crash(t, s)
		s.replace(t)
		// The store takes nothing until the time to claim it is over.
		s.hooks(nil, func(ports.Mutation) error { return fmt.Errorf("%w: full", ports.ErrUnavailable) })
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		sleep(14 * time.Second)
		assert.Len(t, second.Held(), 1)
		s.hooks(nil, nil)
		sleep(10 * time.Second)
		assert.Empty(t, second.Held())
		assert.Equal(t, []string{"service_deregistered a orphan"}, second.taken())
	})
}
