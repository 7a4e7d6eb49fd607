//go:build unix

package e2e

// outage_test.go: a store that is away, and comes back with its data or without.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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
)

// TestAnOutageChangesNothing shows that while the store is stopped for two session_ttl reads
// go on and say in time that they are stale, that all that somebody holds is in the store again
// soon after it answers, and that nobody sees an event for an instance.
func TestAnOutageChangesNothing(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		survives(t, s, func(context.Context, *stores.Cluster) error { return nil })
	})
}

// TestAStoreThatLostItsDataIsFilledAgain shows the same for a store that comes back empty.
func TestAStoreThatLostItsDataIsFilledAgain(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		survives(t, s, func(_ context.Context, on *stores.Cluster) error { return on.RemoveData() })
	})
}

func survives(t *testing.T, s store, meanwhile func(context.Context, *stores.Cluster) error) {
	t.Helper()
	on := stores.ForTest(t, s.kind, stores.Options{})
	a, b := s.host(t, on), s.host(t, on)
	held := holdSome(t, a, b)
	watchers := []*observer{observe(t, a), observe(t, b)}
	readers := []*reader{read(a, len(held)), read(b, len(held))}

	require.NoError(t, on.Stop(t.Context()))
	stopped := time.Now()
	require.NoError(t, meanwhile(t.Context(), on))
	pause(t, time.Until(stopped.Add(2*sessionTTL)))
	started := time.Now()
	require.NoError(t, on.Start(t.Context()))
	answers := time.Now()
	await(t, s, on, held, answers.Add(backWithin))
	t.Logf("all are back %v after the store answered", time.Since(answers).Round(time.Millisecond))
	for _, h := range []*programtest.Process{a, b} {
		h.Until("the host is ready again", func(ctx context.Context) bool { return h.Client.Ready(ctx) == nil })
	}
	t.Logf("the hosts are ready %v after the store answered", time.Since(answers).Round(time.Millisecond))
	pause(t, absencesHeld+s.expiry+margin)

	for _, r := range readers {
		r.judge(t, stopped, started)
	}
	for _, w := range watchers {
		w.sawOnly(t, core.EventDegraded, core.EventRecovered)
	}
}

// holdSome has instances kept in each way, and waits until both hosts show them.
func holdSome(t *testing.T, a, b *programtest.Process) (keys []core.Key) {
	t.Helper()
	spec := core.Spec{Service: "web", Host: "127.0.0.1", Port: 8081, TTL: sessionTTL, Check: &core.Check{Type: core.CheckNone}}
	for i, host := range []*programtest.Process{a, a, a, b} {
		spec.ID, spec.Keepalive = fmt.Sprintf("auto-%d", i), core.KeepaliveAuto
		_, err := host.Client.RegisterOnce(t.Context(), spec)
		require.NoError(t, err)
		keys = append(keys, core.Key{Service: spec.Service, ID: spec.ID})
	}
	for i, host := range []*programtest.Process{a, b} {
		spec.ID, spec.Keepalive = fmt.Sprintf("client-%d", i), core.KeepaliveClient
		_, err := host.Client.Register(t.Context(), spec)
		require.NoError(t, err)
		keys = append(keys, core.Key{Service: spec.Service, ID: spec.ID})
	}
	for _, key := range keys {
		seen(t, a, key, withStatus(core.StatusHealthy))
		seen(t, b, key, withStatus(core.StatusHealthy))
	}
	return keys
}

// await waits until somebody who asks the store for the first time finds all keys in it.
func await(t *testing.T, s store, on *stores.Cluster, keys []core.Key, end time.Time) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	var missing []core.Key
	for {
		stranger, err := prism.Open(ctx, s.embedded(on))
		if err == nil {
			missing, err = look(ctx, stranger, keys)
			require.NoError(t, stranger.Close(context.WithoutCancel(ctx)))
		}
		if err == nil && len(missing) == 0 {
			return
		}
		require.NoError(t, ctx.Err(), "not back in time: %v (%v)", missing, err)
	}
}

// look looks until all are there or ctx ends.
func look(ctx context.Context, c *prism.Client, keys []core.Key) (missing []core.Key, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		list, fresh, err := c.Instances(ctx, keys[0].Service, discovery.Query{})
		if err != nil {
			return keys, err
		}
		missing = slices.DeleteFunc(slices.Clone(keys), func(key core.Key) bool {
			return slices.ContainsFunc(list, func(in core.Instance) bool { return in.Key() == key })
		})
		if len(missing) == 0 && !fresh.Stale {
			return nil, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return missing, ctx.Err()
		}
	}
}

// reader lists the instances of a host again and again.
type reader struct {
	host *programtest.Process
	want int

	cancel context.CancelFunc
	ended  sync.WaitGroup
	reads  []oneRead
}

type oneRead struct {
	began time.Time
	took  time.Duration
	found int
	stale bool
	err   error
}

func read(host *programtest.Process, want int) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{host: host, want: want, cancel: cancel}
	r.ended.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			began := time.Now()
			list, fresh, err := host.Client.Instances(ctx, "web", discovery.Query{})
			if errors.Is(err, context.Canceled) {
				return
			}
			r.reads = append(r.reads, oneRead{began, time.Since(began), len(list), fresh.Stale, err})
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return r
}

// judge ends the reading, and requires what reads have to be around an outage.
func (r *reader) judge(t *testing.T, stopped, started time.Time) {
	t.Helper()
	r.cancel()
	r.ended.Wait()
	var away int
	for _, one := range r.reads {
		require.NoError(t, one.err, "a read failed %v after the store stopped", one.began.Sub(stopped))
		require.Equal(t, r.want, one.found, "%v after the store stopped", one.began.Sub(stopped))
		if one.began.After(stopped.Add(staleAfter)) && one.began.Add(one.took).Before(started) {
			away++
			require.True(t, one.stale, "%v after the store stopped a read was not marked stale", one.began.Sub(stopped))
		}
	}
	require.Greater(t, away, 10, "too few reads to judge by")
	assert.False(t, r.reads[0].stale, "before the outage")
	assert.False(t, r.reads[len(r.reads)-1].stale, "after the outage")
}
