//go:build unix

package e2e

// outage_test.go: a store that is away, hangs, cannot be reached or loses its leader, and comes
// back with its data or without.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism"
	"github.com/marketprism/prism/cmd/internal/programtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/tools/stores"
)

const (
	// staleAfter is how long a host may have no word from its store before it says so.
	staleAfter = 5 * time.Second
	// backWithin bounds how long after the store answers all that somebody holds is back.
	backWithin = sessionTTL/2 + 2*time.Second
	// absencesHeld is how long after an outage the absence of an instance is not believed.
	absencesHeld = 3 * sessionTTL / 2
	// allIsOver is when whatever began with an outage has shown: absences are believed again, and
	// sessions that nobody renewed since have ended, but for a store's own delay.
	allIsOver = max(absencesHeld, longestSession) + margin
)

// outage takes a store away and brings it back.
type outage struct {
	options    stores.Options
	begin, end func(ctx context.Context, on *stores.Cluster) error
}

// TestAnOutageChangesNothing shows that while the store is stopped for two session_ttl reads
// go on and say in time that they are stale, that all that somebody holds is in the store again
// soon after it answers and stays there, and that nobody sees an event for an instance.
func TestAnOutageChangesNothing(t *testing.T) {
	survives(t, outage{
		begin: func(ctx context.Context, on *stores.Cluster) error { return on.Stop(ctx) },
		end:   func(ctx context.Context, on *stores.Cluster) error { return on.Start(ctx) },
	})
}

// TestAStoreThatLostItsDataIsFilledAgain shows the same for a store that comes back empty.
func TestAStoreThatLostItsDataIsFilledAgain(t *testing.T) {
	survives(t, outage{
		begin: func(ctx context.Context, on *stores.Cluster) error { return errors.Join(on.Stop(ctx), on.RemoveData()) },
		end:   func(ctx context.Context, on *stores.Cluster) error { return on.Start(ctx) },
	})
}

// TestAStoreThatHangsChangesNothing shows the same for a store that is there and does not answer:
// connections stay open, its own clocks go on.
func TestAStoreThatHangsChangesNothing(t *testing.T) {
	survives(t, outage{
		begin: func(_ context.Context, on *stores.Cluster) error { return on.Pause() },
		end:   func(_ context.Context, on *stores.Cluster) error { return on.Resume() },
	})
}

// TestAStoreThatNothingReachesChangesNothing shows the same for a store that goes on by itself,
// and ends sessions, while the network between it and its hosts drops everything.
func TestAStoreThatNothingReachesChangesNothing(t *testing.T) {
	survives(t, outage{
		options: stores.Options{Proxied: true},
		begin:   func(_ context.Context, on *stores.Cluster) error { return on.Sever() },
		end:     func(_ context.Context, on *stores.Cluster) error { return on.Mend() },
	})
}

func survives(t *testing.T, away outage) {
	t.Helper()
	overEach(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, away.options)
		a, b := s.host(t, on), s.host(t, on)
		held, readers := holdSome(t, a, b)
		watchers := []*observer{observe(t, a), observe(t, b)}

		require.NoError(t, away.begin(t.Context(), on))
		began := time.Now()
		pause(t, time.Until(began.Add(2*sessionTTL)))
		ended := time.Now()
		require.NoError(t, away.end(t.Context(), on))
		answers := time.Now()
		staysFull(t, s, on, held, answers)

		for _, r := range readers {
			r.judge(t, len(held), began.Add(staleAfter+margin), ended, answers)
		}
		for _, w := range watchers {
			w.await(core.EventDegraded, core.Key{})
			w.await(core.EventRecovered, core.Key{})
			w.sawOnly(t, core.EventDegraded, core.EventRecovered)
		}
	})
}

// TestALostLeaderChangesNothing shows that where three servers replicate, and the one that leads
// is killed, all that somebody holds is and stays in the store soon after another one leads, while
// the dead one is away and after it came back, and that nobody sees an event for an instance.
func TestALostLeaderChangesNothing(t *testing.T) {
	replicated := slices.DeleteFunc(slices.Clone(table), func(s store) bool { return s.leader == nil })
	over(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, stores.Options{Nodes: 3})
		a, b := s.host(t, on), s.host(t, on)
		held, readers := holdSome(t, a, b)
		watchers := []*observer{observe(t, a), observe(t, b)}

		first, err := s.leader(t.Context(), on)
		require.NoError(t, err)
		require.NoError(t, on.KillNode(first))
		killed := time.Now()
		second, err := s.leader(t.Context(), on)
		require.NoError(t, err)
		require.NotEqual(t, first, second)
		answers := time.Now()
		t.Logf("another one leads %v after the first was killed", answers.Sub(killed).Round(time.Millisecond))
		staysFull(t, s, on, held, answers)
		require.NoError(t, on.StartNode(t.Context(), first))
		staysFull(t, s, on, held, time.Now())

		for _, r := range readers {
			r.judge(t, len(held), answers, answers, answers)
		}
		for _, w := range watchers {
			w.sawOnly(t, core.EventDegraded, core.EventRecovered)
		}
	}, replicated)
}

// holdSome has instances kept in each way, waits until both hosts show them, and returns them with
// a reader of each host, whose heartbeats keep one of them.
func holdSome(t *testing.T, a, b *programtest.Process) (keys []core.Key, readers []*reader) {
	t.Helper()
	var leases []string
	spec := core.Spec{Service: "web", Host: "127.0.0.1", Port: 8081, TTL: clientTTL, Check: &core.Check{Type: core.CheckNone}}
	hold := func(host *programtest.Process, id string, keepalive core.Keepalive) {
		spec.ID, spec.Keepalive = id, keepalive
		got, err := host.Client.RegisterOnce(t.Context(), spec)
		require.NoError(t, err)
		keys, leases = append(keys, got.Instance.Key()), append(leases, got.Lease)
	}
	for i, host := range []*programtest.Process{a, a, a, b} {
		hold(host, fmt.Sprintf("auto-%d", i), core.KeepaliveAuto)
	}
	for _, host := range []*programtest.Process{a, b} {
		hold(host, fmt.Sprintf("client-%d", len(readers)), core.KeepaliveClient)
		readers = append(readers, read(t, host, leases[len(leases)-1]))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- log of host a:\n%s\n--- log of host b:\n%s", a.Stderr(), b.Stderr())
		}
	})
	for _, key := range keys {
		seen(t, a, key, withStatus(core.StatusHealthy))
		seen(t, b, key, withStatus(core.StatusHealthy))
	}
	for _, r := range readers {
		r.judged.Store(true)
	}
	return keys, readers
}

// staysFull requires that somebody who asks the store for the first time after it answers finds
// all keys in it in time, and that from then on nothing is missing for longer than any session
// lasts that nobody renews: what stands there may be left from before.
func staysFull(t *testing.T, s store, on *stores.Cluster, keys []core.Key, answers time.Time) {
	t.Helper()
	bound, end := answers.Add(backWithin), answers.Add(allIsOver+s.expiry)
	stranger := openUntil(t, s, on, bound)
	defer func() { require.NoError(t, stranger.Close(context.WithoutCancel(t.Context()))) }()

	var full time.Time // since when all are there; zero while some are not
	for ; time.Now().Before(bound); pause(t, 10*time.Millisecond) {
		missing, stale := look(t, stranger, keys)
		switch {
		case len(missing) > 0 || stale:
			full = time.Time{}
		case full.IsZero():
			full = time.Now()
		}
	}
	if full.IsZero() {
		full = time.Now()
	}
	missing, stale := look(t, stranger, keys)
	require.Empty(t, missing, "not back %v after the store answered", time.Since(answers))
	require.False(t, stale, "not current %v after the store answered", time.Since(answers))
	t.Logf("all are back %v after the store answered", full.Sub(answers).Round(time.Millisecond))
	for ; time.Now().Before(end); pause(t, 10*time.Millisecond) {
		missing, stale := look(t, stranger, keys)
		require.Empty(t, missing, "went %v after the store answered", time.Since(answers))
		require.False(t, stale, "not current %v after the store answered", time.Since(answers))
	}
	// Nor was anything away between two looks.
	events, _, _, err := stranger.Events(discovery.HistoryQuery{Service: keys[0].Service})
	require.NoError(t, err)
	for _, e := range events {
		require.True(t, e.Time.Before(bound), "an event that nothing happened for: %+v", e)
	}
}

// openUntil opens the store as soon as it can be opened, which has to be in time. Whoever opens it
// so believes each absence at once.
func openUntil(t *testing.T, s store, on *stores.Cluster, bound time.Time) *prism.Client {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), bound)
	defer cancel()
	config := s.embedded(on)
	config.ProtectThreshold = -1
	for {
		stranger, err := prism.Open(ctx, config)
		if err == nil {
			return stranger
		}
		require.NoError(t, ctx.Err(), "the store cannot be opened: %v", err)
	}
}

// look returns what is missing, and whether the view is stale.
func look(t *testing.T, c *prism.Client, keys []core.Key) (missing []core.Key, stale bool) {
	t.Helper()
	list, fresh, err := c.Instances(t.Context(), keys[0].Service, discovery.Query{})
	require.NoError(t, err)
	return slices.DeleteFunc(slices.Clone(keys), func(key core.Key) bool {
		return slices.ContainsFunc(list, func(in core.Instance) bool { return in.Key() == key })
	}), fresh.Stale
}

// reader lists the instances of a host again and again, and sends a heartbeat with each read.
type reader struct {
	host  *programtest.Process
	lease string

	judged atomic.Bool // from when on reads count
	cancel context.CancelFunc
	ended  sync.WaitGroup
	reads  []oneRead
}

type oneRead struct {
	began time.Time
	took  time.Duration
	found int
	stale bool
	beat  []discovery.HeartbeatResult
	err   error
}

func read(t *testing.T, host *programtest.Process, lease string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{host: host, lease: lease, cancel: cancel}
	r.ended.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			one := oneRead{began: time.Now()}
			judged := r.judged.Load()
			list, fresh, err := host.Client.Instances(ctx, "web", discovery.Query{})
			one.took, one.found, one.stale = time.Since(one.began), len(list), fresh.Stale
			beat, failed := host.Client.Heartbeat(ctx, []string{lease})
			one.beat, one.err = beat, errors.Join(err, failed)
			if ctx.Err() != nil {
				return
			}
			if judged {
				r.reads = append(r.reads, one)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(r.end)
	return r
}

func (r *reader) end() {
	r.cancel()
	r.ended.Wait()
}

// judge ends the reading, and requires what reads have to be around an outage: none fails and none
// misses anything, those between stale and ended say that they are stale, and those that began
// in time after the store answers, and the first, do not. Every heartbeat keeps what it is for.
func (r *reader) judge(t *testing.T, want int, stale, ended, answers time.Time) {
	t.Helper()
	r.end()
	var away, after int
	for _, one := range r.reads {
		at := one.began.Sub(answers)
		require.NoError(t, one.err, "a read or a heartbeat failed %v after the store answered", at)
		require.Equal(t, want, one.found, "%v after the store answered", at)
		require.Equal(t, []discovery.HeartbeatResult{{Lease: r.lease, State: core.HeartbeatRenewed}}, one.beat, "%v after the store answered", at)
		switch {
		case one.began.After(stale) && one.began.Add(one.took).Before(ended):
			away++
			require.True(t, one.stale, "%v after the store answered a read was not marked stale", at)
		case one.began.After(answers.Add(backWithin)):
			after++
			require.False(t, one.stale, "%v after the store answered a read was marked stale", at)
		}
	}
	if stale.Before(ended) {
		require.Greater(t, away, 10, "too few reads to judge by")
	}
	require.Greater(t, after, 10, "too few reads to judge by")
	assert.False(t, r.reads[0].stale, "before the outage")
}
