package registry_test

// status_test.go: the two facts of a status, who may change which, and what checks do.

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/health"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

func (h *host) set(t *testing.T, id, status, lease string) error {
	t.Helper()
	_, err := h.SetStatus(t.Context(), registry.StatusRequest{
		Key: core.Key{Service: "svc", ID: id}, Status: status, Lease: lease, Reason: "because",
	})
	return err
}

func (h *host) check(t *testing.T, id string, healthy bool) bool {
	t.Helper()
	in, ok := h.Snapshot("svc").Get(id)
	require.True(t, ok)
	return h.Observe(t.Context(), in, ports.ProbeResult{Healthy: healthy})
}

// Faults 8 and 9: status events with old = new; the same event again at every check.
func TestFault08And09OneEventForEachChange(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		a.register(t, spec("one"))
		for range 10 {
			a.check(t, "one", true)
		}
		require.NoError(t, a.set(t, "one", "healthy", ""))
		synctest.Wait()
		want := []string{"service_registered one registered", "service_status_changed one check"}
		assert.Equal(t, want, a.taken())
		assert.Equal(t, want, b.taken(), "fault 10: remote changes cause events")
	})
}

// A record of another program may say less of its check than this one would have written.
func TestACheckOfAnIncompleteRecordCounts(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		key := core.Key{Service: "svc", ID: "one"}
		lease := core.NewLease(key, core.Generation{}.Next())
		rec := plant(t, s, "one", `{"v":1,"host":"127.0.0.1","port":8080,"keepalive":"client","ttl":30,"check":{"type":"tcp"}}`)
		next := rec
		next.Generation, next.LeaseHash = lease.Generation, lease.Hash()
		res, err := s.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{Record: next, Replaces: rec.Generation}}})
		require.NoError(t, err)
		require.NoError(t, res[0].Err)
		synctest.Wait()
		require.Equal(t, core.HeartbeatRenewed, a.beat(t, lease.Token()))
		in, _ := a.Snapshot("svc").Get("one")
		assert.True(t, a.Observe(t.Context(), health.Complete(in), ports.ProbeResult{Healthy: true}))
		assert.Equal(t, core.StatusHealthy, a.status("one"))
	})
}

// A check may last longer than what it looks at.
func TestACheckOfWhatStoodThereBeforeDecidesNothing(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		lease := a.register(t, spec("one")).Lease
		before, _ := a.Snapshot("svc").Get("one")
		sick := ports.ProbeResult{Healthy: false}
		moved := spec("one")
		moved.Port = 8081
		_, err := a.Update(t.Context(), registry.UpdateRequest{Lease: lease, Spec: moved})
		require.NoError(t, err)
		assert.False(t, a.Observe(t.Context(), before, sick), "a check of where it is now is due")
		require.Equal(t, core.StatusUnknown, a.status("one"))
		now, _ := a.Snapshot("svc").Get("one")
		a.register(t, moved) // another program at the same place
		assert.False(t, a.Observe(t.Context(), now, sick))
		require.Equal(t, core.StatusUnknown, a.status("one"))
		a.check(t, "one", false)
		require.Equal(t, core.StatusUnhealthy, a.status("one"))
	})
}

func TestSteadyChecksWriteNothing(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("one"))
		for range 3 {
			a.check(t, "one", true)
		}
		before, _ := a.Snapshot("svc").Get("one")
		for range 10 {
			a.check(t, "one", true)
		}
		after, _ := a.Snapshot("svc").Get("one")
		assert.Equal(t, before.Revision, after.Revision)
	})
}

func TestThresholds(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("one"))
		a.check(t, "one", true)
		require.Equal(t, core.StatusHealthy, a.status("one"), "from unknown the first result decides")
		assert.False(t, a.check(t, "one", false), "undecided: the next check comes soon")
		a.check(t, "one", false)
		require.Equal(t, core.StatusHealthy, a.status("one"))
		assert.True(t, a.check(t, "one", false))
		require.Equal(t, core.StatusUnhealthy, a.status("one"), "fall is 3")
		a.check(t, "one", true)
		require.Equal(t, core.StatusUnhealthy, a.status("one"))
		a.check(t, "one", true)
		require.Equal(t, core.StatusHealthy, a.status("one"), "rise is 2")
	})
}

func TestAdoptionGoesOnWithTheCount(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		a.check(t, "one", true)
		a.check(t, "one", false)
		a.check(t, "one", false)
		require.Equal(t, core.HeartbeatRenewed, b.beat(t, got.Lease))
		b.check(t, "one", false)
		assert.Equal(t, core.StatusUnhealthy, b.status("one"))
	})
}

// Fault 4: the checker overwrote maintenance, starting and stopping.
func TestFault04ChecksNeverOverwriteWhatWasDeclared(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		a.register(t, spec("one"))
		for _, declared := range []core.Status{core.StatusMaintenance, core.StatusStopping} {
			require.NoError(t, a.set(t, "one", string(declared), ""))
			for range 5 {
				a.check(t, "one", true)
				require.Equal(t, declared, a.status("one"))
			}
		}
		require.NoError(t, a.set(t, "one", "up", ""))
		assert.Equal(t, core.StatusHealthy, a.status("one"), "restored: what checks found meanwhile shows")
		require.NoError(t, a.set(t, "one", "starting", ""))
		a.check(t, "one", false)
		assert.Equal(t, core.StatusStarting, a.status("one"), "a failure does not end starting")
		a.check(t, "one", true)
		assert.Equal(t, core.StatusHealthy, a.status("one"), "the first pass does")
	})
}

func TestOperatorsMaintenanceSurvivesReRegistrationAndTheOwner(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		a.register(t, spec("one"))
		require.NoError(t, a.set(t, "one", "maintenance", ""))
		again := b.register(t, spec("one"))
		assert.Equal(t, core.StatusMaintenance, b.status("one"))
		err := b.set(t, "one", "up", again.Lease)
		require.ErrorIs(t, err, core.ErrConflict)
		require.ErrorContains(t, err, "operator")
		require.NoError(t, b.set(t, "one", "up", ""))
		assert.Equal(t, core.StatusUnknown, b.status("one"))
	})
}

func TestOwnersMaintenanceEndsWithANewRegistration(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		got := a.register(t, spec("one"))
		require.NoError(t, a.set(t, "one", "maintenance", got.Lease))
		a.register(t, spec("one"))
		assert.Equal(t, core.StatusUnknown, a.status("one"))
	})
}

func TestUpdateAndStatusLoseNothingOfEachOther(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		synctest.Wait()
		drained := false
		s.hooks(func(m ports.Mutation) {
			if m.Put != nil && !drained { // between the update's read and its write
				drained = true
				require.NoError(t, b.set(t, "one", "maintenance", ""))
			}
		}, nil)
		changed := spec("one")
		changed.Weight = new(7)
		_, err := a.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: changed})
		require.NoError(t, err)
		synctest.Wait()
		in, _ := b.Snapshot("svc").Get("one")
		assert.Equal(t, 7, in.Weight)
		assert.Equal(t, core.StatusMaintenance, in.Status())
		assert.Equal(t, []string{
			"service_registered one registered", "service_status_changed one operator", "service_updated one updated",
		}, a.taken())
	})
}

// A live lease is healthy where there is no check: nothing else would ever say so.
func TestWhatACheckFoundGoesWithTheCheck(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		unchecked := spec("one")
		unchecked.Check = &core.Check{Type: core.CheckNone}
		update := func(sp core.Spec) error {
			_, err := a.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: sp})
			return err
		}
		require.NoError(t, update(unchecked))
		assert.Equal(t, core.StatusHealthy, a.status("one"), "unknown until now")

		require.NoError(t, update(spec("one")))
		a.fail(t, 3)
		require.Equal(t, core.StatusUnhealthy, a.status("one"))
		changed := spec("one")
		changed.Check = &core.Check{Type: core.CheckTCP, Timeout: time.Second}
		require.NoError(t, update(changed))
		require.Equal(t, core.StatusUnhealthy, a.status("one"), "there is a check to say otherwise")
		late, _ := a.Snapshot("svc").Get("one") // a check that is under way meanwhile
		a.taken()
		answer, err := a.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: unchecked})
		require.NoError(t, err)
		assert.Equal(t, core.StatusHealthy, answer.Instance.Status())
		synctest.Wait()
		assert.Equal(t, core.StatusHealthy, b.status("one"), "it is in the store")
		assert.Equal(t, []string{"service_updated one updated", "service_status_changed one check"}, a.taken())
		for range 5 {
			a.Observe(t.Context(), late, ports.ProbeResult{})
		}
		assert.Equal(t, core.StatusHealthy, a.status("one"), "the late results of a check that is gone")

		require.NoError(t, a.set(t, "one", "unhealthy", ""))
		unchecked.Weight = new(7)
		require.NoError(t, update(unchecked))
		assert.Equal(t, core.StatusUnhealthy, a.status("one"), "what was set by hand while there is no check stays")

		// What is declared stays, and the store may go away between the two writes.
		require.NoError(t, update(spec("one")))
		a.fail(t, 3)
		require.NoError(t, b.set(t, "one", "maintenance", ""))
		synctest.Wait()
		a.fail(t, 1)
		s.hooks(nil, func(m ports.Mutation) error {
			s.setAway(m.Put != nil)
			return nil
		})
		require.ErrorIs(t, update(unchecked), core.ErrUnavailable)
		s.hooks(nil, nil)
		s.setAway(false)
		require.NoError(t, update(unchecked), "tried again")
		assert.Equal(t, core.StatusMaintenance, a.status("one"))
		require.NoError(t, b.set(t, "one", "up", ""))
		assert.Equal(t, core.StatusHealthy, b.status("one"))
	})
}

// The history says who set a status, also where it is one that checks find too.
func TestWhoChangedAStatus(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		starting := spec("one")
		starting.Status = "starting"
		got := a.register(t, starting)
		set := func(status, reason, actor, lease string) {
			_, err := b.SetStatus(t.Context(), registry.StatusRequest{
				Key: got.Instance.Key(), Status: status, Reason: reason, Actor: actor, Lease: lease,
			})
			require.NoError(t, err)
			synctest.Wait()
		}
		changed := func() (out []string) {
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, e := range b.events {
				if e.Type == core.EventStatusChanged {
					out = append(out, fmt.Sprintf("%s→%s %s %s %q", e.OldStatus, e.NewStatus, e.Cause, e.Actor, e.Reason))
				}
			}
			b.events = nil
			return out
		}
		a.check(t, "one", true)
		a.fail(t, 3)
		assert.Equal(t, []string{`starting→healthy check check "the first check passed"`, `healthy→unhealthy check check ""`}, changed())
		set("healthy", "it is the check", "alice", "")
		a.fail(t, 3)
		assert.Equal(t, []string{`unhealthy→healthy operator alice "it is the check"`, `healthy→unhealthy check check ""`}, changed())
		set("healthy", "it is the check", "alice", "")
		set("unhealthy", "", "", got.Lease)
		set("healthy", "", "", got.Lease)
		assert.Equal(t, []string{
			`unhealthy→healthy operator alice "it is the check"`, `healthy→unhealthy updated owner ""`, `unhealthy→healthy updated owner ""`,
		}, changed())
	})
}

func TestIfMatch(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		got := a.register(t, spec("one"))
		stale := got.Instance.Revision
		require.NoError(t, a.set(t, "one", "maintenance", ""))
		_, err := a.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: spec("one"), IfMatch: stale})
		require.ErrorIs(t, err, core.ErrPreconditionFailed)
		_, err = a.SetStatus(t.Context(), registry.StatusRequest{Key: got.Instance.Key(), Status: "up", IfMatch: stale})
		require.ErrorIs(t, err, core.ErrPreconditionFailed)
		err = a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), IfMatch: stale})
		require.ErrorIs(t, err, core.ErrPreconditionFailed)
		assert.Equal(t, core.StatusMaintenance, a.status("one"))
	})
}

func TestCriticalInstanceIsRemoved(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		sp := spec("one")
		sp.Check = &core.Check{DeregisterAfter: 30 * time.Second}
		got := a.register(t, sp)
		for range 35 {
			if a.status("one") == "absent" {
				break
			}
			a.check(t, "one", false)
			sleep(time.Second)
			a.beat(t, got.Lease) // fault 3: a failing check is no heartbeat, and a heartbeat no passing check
		}
		assert.Equal(t, core.Status("absent"), a.status("one"))
		assert.Equal(t, core.HeartbeatExpired, a.beat(t, got.Lease))
		assert.Contains(t, a.taken(), "service_deregistered one critical")
	})
}

// Fault 3: a failing check counted as a heartbeat.
func TestFault03FailingChecksAreNoHeartbeat(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		sp := spec("one")
		sp.TTL = 10 * time.Second
		a.register(t, sp)
		for range 11 {
			if a.status("one") != "absent" {
				a.check(t, "one", false)
			}
			sleep(time.Second)
		}
		assert.Equal(t, core.Status("absent"), a.status("one"))
	})
}

// Fault 21: weight, region, datacenter, health URL and initial status could not be set at
// registration.
func TestFault21EverythingCanBeSetAtRegistration(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		sp := spec("one")
		sp.Weight, sp.Region, sp.Zone, sp.Datacenter, sp.Status = new(0), "eu", "eu-1", "dc9", "maintenance"
		sp.HealthCheckURL = "http://127.0.0.1:9/alive"
		sp.Metadata = core.MustMetadata(map[string]any{"exchanges": []string{"binance"}, "n": 9007199254740993})
		a.register(t, sp)
		synctest.Wait()
		in, ok := b.Snapshot("svc").Get("one")
		require.True(t, ok)
		assert.Equal(t, 0, in.Weight)
		assert.Equal(t, "eu", in.Region)
		assert.Equal(t, "eu-1", in.Zone)
		assert.Equal(t, "dc9", in.Datacenter)
		assert.Equal(t, "http://127.0.0.1:9/alive", in.HealthCheckURL)
		assert.Equal(t, core.StatusMaintenance, in.Status())
		assert.Equal(t, core.MustMetadata(sp.Metadata), in.Metadata)
		n, _ := in.Metadata.Get("n")
		assert.Equal(t, "9007199254740993", n)
	})
}
