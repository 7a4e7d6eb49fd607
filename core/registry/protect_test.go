package registry_test

// protect_test.go: the protect threshold, fields of other versions, and the audit.

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

// dying registers n instances whose ttl runs out together.
func (h *host) dying(t *testing.T, n int, ttl time.Duration) {
	t.Helper()
	for i := range n {
		sp := spec(fmt.Sprintf("dying-%d", i))
		sp.TTL = ttl
		h.register(t, sp)
	}
}

func (h *host) suspects() (n int) {
	for in := range h.Snapshot("svc").All() {
		if in.Suspect {
			n++
		}
	}
	return n
}

func TestMostOfAServiceExpiringAtOnceIsKeptAsSuspect(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		a.dying(t, 3, 10*time.Second)
		a.register(t, spec("stays"))
		a.register(t, spec("stays-too"))
		synctest.Wait()
		b.taken()
		sleep(11 * time.Second)
		assert.Equal(t, 5, b.Snapshot("svc").Len())
		assert.Equal(t, 3, b.suspects())
		assert.Empty(t, b.taken())
		sleep(61 * time.Second)
		assert.Equal(t, 2, b.Snapshot("svc").Len())
		assert.Len(t, b.taken(), 3)
	})
}

// Names come and go; those of services that nobody has any more are not kept.
func TestEmptyServicesAreForgotten(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		synctest.Wait()
		require.Equal(t, 1, b.Status().Services)
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), Lease: got.Lease}))
		sleep(5 * time.Second)
		assert.Zero(t, a.Status().Services)
		assert.Zero(t, b.Status().Services)
	})
}

func TestHalfOfAServiceExpiringIsNotProtected(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.dying(t, 2, 10*time.Second)
		a.register(t, spec("stays"))
		a.register(t, spec("stays-too"))
		sleep(11 * time.Second)
		assert.Equal(t, 2, a.Snapshot("svc").Len())
		assert.Zero(t, a.suspects())
	})
}

// expiring registers an instance whose ttl runs out after a while.
func (h *host) expiring(t *testing.T, id string, after time.Duration) {
	t.Helper()
	sp := spec(id)
	sp.TTL = after
	h.register(t, sp)
}

func TestExpiriesWithinThirtySecondsBelongTogether(t *testing.T) {
	for apart, kept := range map[time.Duration]int{14 * time.Second: 1, 17 * time.Second: 0} {
		run(t, func(t *testing.T, s *store) {
			a := newHost(t, s)
			defer a.stop(t)
			a.register(t, spec("stays"))
			for i := range 3 { // the third is more than half of four
				a.expiring(t, fmt.Sprint("goes-", i), 10*time.Second+time.Duration(i)*apart)
			}
			sleep(11*time.Second + 2*apart)
			assert.Equal(t, kept, a.suspects(), "%s apart", apart)
			assert.Equal(t, 1+kept, a.Snapshot("svc").Len())
		})
	}
}

func TestSuspectsAreKeptSixtySeconds(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		a.dying(t, 4, 10*time.Second)
		sleep(69 * time.Second)
		assert.Equal(t, 4, b.suspects())
		sleep(2 * time.Second)
		assert.Zero(t, b.Snapshot("svc").Len())
		assert.Zero(t, a.Snapshot("svc").Len())
	})
}

func TestProtectThresholdIsSettable(t *testing.T) {
	for threshold, kept := range map[float64]int{0: 0, 0.2: 2, 0.5: 0} {
		run(t, func(t *testing.T, s *store) {
			a := newHost(t, s, func(o *registry.Options) { o.ProtectThreshold = threshold })
			defer a.stop(t)
			a.dying(t, 2, 10*time.Second)
			for i := range 3 {
				a.register(t, spec(fmt.Sprint("stays-", i)))
			}
			sleep(11 * time.Second)
			assert.Equal(t, kept, a.suspects(), "%g", threshold)
			assert.Equal(t, 3+kept, a.Snapshot("svc").Len())
		})
	}
}

func TestSmallServicesAndDeliberateDeparturesAreNeverHeld(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.dying(t, 3, 10*time.Second)
		sleep(10100 * time.Millisecond)
		assert.Zero(t, a.Snapshot("svc").Len())
		for i := range 6 {
			a.register(t, spec(fmt.Sprintf("leaves-%d", i)))
		}
		for i := range 6 {
			require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: core.Key{Service: "svc", ID: fmt.Sprintf("leaves-%d", i)}}))
		}
		assert.Zero(t, a.Snapshot("svc").Len())
	})
}

func TestSuspectThatComesBackIsNoSuspect(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.dying(t, 5, 10*time.Second)
		sleep(11 * time.Second)
		require.Equal(t, 5, a.suspects())
		a.register(t, spec("dying-0"))
		assert.Equal(t, 4, a.suspects())
		sleep(2 * time.Minute)
		assert.Equal(t, 1, a.Snapshot("svc").Len())
	})
}

func TestFieldsOfANewerVersionSurviveUpdateAndAdoption(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		found, err := s.Get(t.Context(), []core.Key{got.Instance.Key()})
		require.NoError(t, err)
		rec := *found[0].Record
		var body map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(rec.Body, &body))
		body["colour"] = json.RawMessage(`{"rgb":[1,2,3]}`)
		rec.Body, err = json.Marshal(body)
		require.NoError(t, err)
		_, err = s.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{Record: rec, Replaces: rec.Generation}}})
		require.NoError(t, err)
		synctest.Wait()

		require.Equal(t, core.HeartbeatRenewed, b.beat(t, got.Lease))
		_, err = b.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: spec("one")})
		require.NoError(t, err)
		found, err = s.Get(t.Context(), []core.Key{got.Instance.Key()})
		require.NoError(t, err)
		assert.Contains(t, string(found[0].Record.Body), `"colour":{"rgb":[1,2,3]}`)
	})
}

func TestRecoveryTriesAgainUntilTheStoreTakesIt(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		got := a.register(t, spec("one"))
		failures := 5
		s.hooks(nil, nil)
		s.setAway(true)
		s.replace(t)
		s.hooks(nil, func(m ports.Mutation) error {
			if m.Put != nil && failures > 0 {
				failures--
				return ports.ErrUnavailable
			}
			return nil
		})
		s.setAway(false)
		sleep(30 * time.Second)
		found, err := s.Get(t.Context(), []core.Key{got.Instance.Key()})
		require.NoError(t, err)
		require.NotNil(t, found[0].Record)
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, got.Lease))
		assert.Equal(t, []string{"service_registered one registered"}, a.taken())
	})
}

func TestManyInstancesRecoverInBatches(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		for i := range 2500 {
			sp := spec(fmt.Sprintf("i-%d", i))
			sp.Keepalive = core.KeepaliveAuto
			a.register(t, sp)
		}
		require.Equal(t, 3, a.Status().Sessions, "at most 1,000 records each")
		s.setAway(true)
		s.replace(t)
		s.setAway(false)
		sleep(7500*time.Millisecond + 2*time.Second)
		b := newHost(t, s)
		defer b.stop(t)
		assert.Equal(t, 2500, b.Snapshot("svc").Len())
	})
}

func TestWritesToAnInstanceThatWaitsForItsRecovery(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		first, second := a.register(t, spec("one")), a.register(t, spec("two"))
		s.setAway(true)
		s.replace(t)
		s.setAway(false)
		sleep(100 * time.Millisecond) // the new epoch is known, nothing is asserted yet
		require.NoError(t, a.set(t, "one", "stopping", first.Lease))
		assert.Equal(t, core.StatusStopping, a.status("one"))
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: second.Instance.Key(), Lease: second.Lease}))
		sleep(time.Minute)
		assert.Equal(t, core.Status("absent"), a.status("two"))
		assert.Equal(t, core.StatusStopping, a.status("one"))
	})
}

// forget makes a store lose the news of one record from its stream.
type forget struct {
	*store
	id string
}

func (f *forget) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := f.store.Watch(ctx, req)
	if err != nil || !req.Follow || !req.Cursor.IsZero() {
		return w, err
	}
	return &forgetful{Watcher: w, id: f.id}, nil
}

type forgetful struct {
	ports.Watcher
	id     string
	synced bool
}

func (f *forgetful) Next(ctx context.Context) (ports.WatchEvent, error) {
	for {
		ev, err := f.Watcher.Next(ctx)
		f.synced = f.synced || ev.Kind == ports.WatchSynced
		about := ev.Kind == ports.WatchPut && ev.Record.Key.ID == f.id || ev.Kind == ports.WatchDelete && ev.Tombstone.Key.ID == f.id
		if err != nil || !f.synced || !about {
			return ev, err
		}
	}
}

func TestAuditHealsAViewThatTheWatchFailed(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("deaf"))
		synctest.Wait()
		b := newHost(t, &store{Backend: &forget{store: s, id: "deaf"}, cut: make(chan struct{})})
		defer b.stop(t)
		require.Equal(t, core.StatusUnknown, b.status("deaf"))
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: core.Key{Service: "svc", ID: "deaf"}}))
		sleep(time.Second)
		require.Equal(t, core.StatusUnknown, b.status("deaf"), "its watch missed that")
		sleep(61 * time.Second)
		assert.Equal(t, core.Status("absent"), b.status("deaf"))
		a.register(t, spec("deaf"))
		sleep(time.Second)
		require.Equal(t, core.Status("absent"), b.status("deaf"))
		sleep(61 * time.Second)
		assert.Equal(t, core.StatusUnknown, b.status("deaf"))
	})
}

func TestClientsTTLStartsWholeAfterAnOutage(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		sp := spec("one")
		sp.TTL = 20 * time.Second
		a.register(t, sp)
		sleep(15 * time.Second)
		s.setAway(true)
		sleep(4 * time.Second) // no session ends in that time
		s.setAway(false)
		sleep(19 * time.Second)
		require.Equal(t, core.StatusUnknown, a.status("one"))
		sleep(3 * time.Second)
		assert.Equal(t, core.Status("absent"), a.status("one"))
	})
}

// A store that was restored from a backup shows an older registration again.
func TestReassertionReplacesAnOlderGeneration(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("one"))
		got := a.register(t, spec("one"))
		require.Equal(t, uint64(2), got.Instance.Generation.N)
		s.setAway(true)
		s.replace(t)
		s.setAway(false)
		body, err := core.EncodeBody(got.Instance, nil)
		require.NoError(t, err)
		plant(t, s, "one", string(body)) // as generation 1
		sleep(10 * time.Second)
		found, err := s.Get(t.Context(), []core.Key{got.Instance.Key()})
		require.NoError(t, err)
		assert.Equal(t, got.Instance.Generation, found[0].Record.Generation)
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, got.Lease))
	})
}

func TestRegistrationAboveATombstoneThatNobodyKnewOf(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		a.register(t, spec("one"))
		second := a.register(t, spec("one"))
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: second.Instance.Key()}))
		a.stop(t)
		b := newHost(t, s) // has seen no generation of it
		defer b.stop(t)
		third := b.register(t, spec("one"))
		assert.Equal(t, uint64(3), third.Instance.Generation.N)
		assert.Equal(t, core.HeartbeatSuperseded, b.beat(t, second.Lease))
	})
}
