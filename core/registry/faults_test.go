package registry_test

// faults_test.go: faults of the module that Prism replaces, each a test named for it; others
// stand beside what they are about.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
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

// Fault 6: hosts with skewed clocks or other time zones expired each other.
func TestFault06TimesInRecordsDecideNothing(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		key := got.Instance.Key()
		zone := time.FixedZone("far away", 14*3600)
		for _, skew := range []time.Duration{-240 * time.Hour, 240 * time.Hour} {
			found, err := s.Get(t.Context(), []core.Key{key})
			require.NoError(t, err)
			rec := *found[0].Record
			rec.RegisteredAt = time.Now().Add(skew).In(zone)
			rec.UpdatedAt, rec.State.ChangedAt = rec.RegisteredAt, rec.RegisteredAt
			res, err := s.Apply(t.Context(), []ports.Mutation{{Put: &ports.Put{Record: rec, Replaces: rec.Generation}}})
			require.NoError(t, err)
			require.NoError(t, res[0].Err)
			c := newHost(t, s) // one that begins with such a record
			for range 4 {
				sleep(200 * time.Second)
				require.Equal(t, core.HeartbeatRenewed, a.beat(t, got.Lease))
				for _, h := range []*host{a, b, c} {
					in, ok := h.Snapshot("svc").Get("one")
					require.True(t, ok)
					require.True(t, rec.UpdatedAt.Equal(in.UpdatedAt), "the skewed record is what is shown")
				}
			}
			c.stop(t)
		}
		sleep(301 * time.Second)
		assert.Equal(t, core.Status("absent"), b.status("one"), "its ttl runs by this machine's own clock")
	})
}

// Fault 10: remote changes caused no events.
func TestFault10RemoteChangesCauseEvents(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		require.NoError(t, a.set(t, "one", "maintenance", ""))
		changed := spec("one")
		changed.Weight = new(5)
		_, err := a.Update(t.Context(), registry.UpdateRequest{Lease: got.Lease, Spec: changed})
		require.NoError(t, err)
		require.NoError(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), Lease: got.Lease}))
		synctest.Wait()
		want := []string{
			"service_registered one registered", "service_status_changed one operator", "service_updated one updated",
			"service_deregistered one deregistered",
		}
		assert.Equal(t, want, a.taken())
		assert.Equal(t, want, b.taken())
	})
}

// Fault 12: every client probed every instance.
func TestFault12OnlyTheHolderChecks(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		var trackedByA, trackedByB atomic.Int64
		count := func(n *atomic.Int64) func(*registry.Options) {
			return func(o *registry.Options) {
				o.Track = func(core.Instance) { n.Add(1) }
				o.Untrack = func(core.Key) { n.Store(0) }
			}
		}
		a, b := newHost(t, s, count(&trackedByA)), newHost(t, s, count(&trackedByB))
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		synctest.Wait()
		assert.Positive(t, trackedByA.Load())
		assert.Zero(t, trackedByB.Load())
		in, _ := b.Snapshot("svc").Get("one")
		b.Observe(t.Context(), in, ports.ProbeResult{})
		assert.Equal(t, core.StatusUnknown, b.status("one"), "what others find changes nothing")
		require.Equal(t, core.HeartbeatRenewed, b.beat(t, got.Lease))
		synctest.Wait()
		assert.Zero(t, trackedByA.Load(), "the adopter checks")
		assert.Positive(t, trackedByB.Load())
	})
}

// Fault 16: listing included the registry's own service. Fault 17: service a matched a/b.
func TestFault16And17OnlyWhatWasRegisteredUnderItsOwnName(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a := newHost(t, s)
		defer a.stop(t)
		names := []string{"a", "a.b", "a-b", "a_b", "ab", "z", "zz", "Z9"}
		for _, name := range names {
			sp := spec("one")
			sp.Service = name
			a.register(t, sp)
		}
		assert.ElementsMatch(t, names, a.Services())
		for _, name := range names {
			assert.Equal(t, 1, a.Snapshot(name).Len(), name)
		}
		assert.Zero(t, a.Snapshot("a.").Len())
	})
}

// The hole that ADR 0007 closes: a generation that was superseded, and whose successor was
// deregistered, comes back as a ghost.
func TestSupersededOwnerThatWasCutOffDoesNotComeBack(t *testing.T) {
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
		second := b.register(t, spec("auto"))
		require.NoError(t, b.Deregister(t.Context(), registry.DeregisterRequest{Key: second.Instance.Key(), Lease: second.Lease}))
		sleep(10 * time.Minute)
		own.setAway(false)
		sleep(time.Minute)
		assert.Equal(t, core.HeartbeatSuperseded, lost)
		assert.Equal(t, core.Status("absent"), b.status("auto"))
	})
}

// Fault 2, its other half: the holder was cut off for so long that its instances expired.
func TestFault02WhatExpiredRegistersAgain(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		own := &store{Backend: s.Backend, cut: make(chan struct{})}
		a, b := newHost(t, own), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		var lost core.HeartbeatState
		got, err := a.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: spec("one")}, func(st core.HeartbeatState) { lost = st })
		require.NoError(t, err)
		for range 3 {
			own.setAway(true)
			sleep(time.Minute)
			require.Equal(t, core.Status("absent"), b.status("one"), "expired")
			own.setAway(false)
			sleep(15 * time.Second) // one session_ttl
			require.Equal(t, core.StatusUnknown, b.status("one"))
		}
		in, _ := b.Snapshot("svc").Get("one")
		assert.Equal(t, got.Instance.Generation, in.Generation, "the same registration, so its lease is still good")
		assert.Equal(t, core.HeartbeatRenewed, a.beat(t, got.Lease))
		assert.Empty(t, lost)
	})
}

// Fault 20, in a race: somebody deregisters while a status is on its way to the store, or
// its answer on the way back.
func TestFault20StatusThatRacesWithADeregistration(t *testing.T) {
	for _, late := range []bool{false, true} {
		run(t, func(t *testing.T, s *store) {
			a, b := newHost(t, s), newHost(t, s)
			defer a.stop(t)
			defer b.stop(t)
			got := a.register(t, spec("one"))
			synctest.Wait()
			remove := func(m ports.Mutation) {
				if m.SetState != nil {
					assert.NoError(t, b.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key()}))
				}
			}
			if late {
				s.hooks(nil, func(m ports.Mutation) error {
					remove(m)
					time.Sleep(2 * ports.MaxBookmarkGap) // the watch has shown it and gone on
					return nil
				})
			} else {
				s.hooks(remove, nil)
			}
			err := a.set(t, "one", "maintenance", "")
			if !late {
				require.ErrorIs(t, err, core.ErrNotFound)
			}
			s.hooks(nil, nil)
			for _, wait := range []time.Duration{0, time.Minute} {
				sleep(wait)
				assert.Equal(t, core.Status("absent"), a.status("one"))
				assert.Equal(t, core.Status("absent"), b.status("one"))
			}
			assert.Equal(t, core.HeartbeatDeregistered, a.beat(t, got.Lease))
		})
	}
}

// Fault 28, in a race: two deregister at once, and one of them has done nothing.
func TestFault28TwoDeregisterAtOnce(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		a, b := newHost(t, s), newHost(t, s)
		defer a.stop(t)
		defer b.stop(t)
		got := a.register(t, spec("one"))
		synctest.Wait()
		first := true
		s.hooks(func(m ports.Mutation) {
			if m.Delete != nil && first {
				first = false
				assert.NoError(t, b.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key()}))
			}
		}, nil)
		require.ErrorIs(t, a.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key()}), core.ErrNotFound)
	})
}

// What tells of an outage names no paths and has a cause.
func TestOutageIsToldInASentence(t *testing.T) {
	dial := errors.New(`connection error: desc = "transport: error while dialing: dial unix /run/user/1/prism/h1/plugin2: connect: connection refused"`)
	for name, c := range map[string]struct {
		why  error
		want string
		logs string // where that is not why
	}{
		"the plugin is gone":   {fmt.Errorf("%w: %w", ports.ErrUnavailable, dial), "the store, or the plugin that speaks to it, is out of reach", ""},
		"the plugin was late":  {fmt.Errorf("%w: %w", ports.ErrUnavailable, context.DeadlineExceeded), "the store, or the plugin that speaks to it, is out of reach", ""},
		"silence":              {context.DeadlineExceeded, "the store has been silent for 6s", "backend unavailable: the store has been silent for 6s"},
		"a right was revoked":  {fmt.Errorf("%w: %w", ports.ErrPermission, dial), "the store no longer lets this host read its records", ""},
		"the store had enough": {fmt.Errorf("no more: %w", io.EOF), "the store ended the stream of changes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *store) {
				s.why = c.why
				var log strings.Builder
				h := newHost(t, s, func(o *registry.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
				defer h.stop(t)
				s.setAway(true)
				synctest.Wait()
				s.setAway(false)
				sleep(10 * time.Second)
				h.mu.Lock()
				defer h.mu.Unlock()
				require.Len(t, h.events, 2)
				assert.Equal(t, core.EventDegraded, h.events[0].Type)
				assert.Equal(t, core.CauseOutage, h.events[0].Cause)
				assert.Equal(t, c.want, h.events[0].Reason)
				assert.Contains(t, log.String(), strconv.Quote(cmp.Or(c.logs, c.why.Error())), "the log has the whole error")
				assert.Equal(t, core.EventRecovered, h.events[1].Type)
				assert.Equal(t, core.CauseOutage, h.events[1].Cause)
			})
		})
	}
}
