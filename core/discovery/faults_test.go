package discovery_test

// faults_test.go: faults of the module that Prism replaces, as a Go program would meet them;
// others stand beside what they are about.

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// slow is a prober that takes a second for each check, and counts what failed.
type slow struct {
	*prober
	failed *atomic.Int64
}

func (s slow) Probe(ctx context.Context, in core.Instance) (ports.ProbeResult, error) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return ports.ProbeResult{}, ctx.Err()
	}
	res, err := s.prober.Probe(ctx, in)
	if !res.Healthy {
		s.failed.Add(1)
	}
	return res, err
}

// Fault 12, for what one process holds: its instances were probed one by one, and one
// failure was enough.
func TestFault12ChecksRunSideBySideAndByThresholds(t *testing.T) {
	p := slow{&prober{sick: map[string]bool{}}, &atomic.Int64{}}
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		const n = 40
		for i := range n {
			register(t, c, spec(fmt.Sprint("i", i), 1))
		}
		sleep(1500 * time.Millisecond)
		list, _, err := c.Services(t.Context())
		require.NoError(t, err)
		require.Equal(t, n, list[0].Healthy, "all within little more than the time of one")

		p.set("i0", true)
		failed := time.Now()
		status := func() core.Status {
			in, _, err := c.Instance(discovery.Key{Service: "svc", ID: "i0"})
			require.NoError(t, err)
			return in.Status()
		}
		for status() == core.StatusHealthy {
			require.Less(t, time.Since(failed), time.Minute)
			sleep(100 * time.Millisecond)
		}
		assert.Equal(t, core.StatusUnhealthy, status())
		assert.EqualValues(t, 3, p.failed.Load())
		assert.Less(t, time.Since(failed), 33*time.Second+2*3300*time.Millisecond+2*time.Second, "a tenth of the interval apart")
	}, discovery.WithProber(p))
}

// Fault 25: a second registration of oneself overwrote the first handle.
func TestFault25EachRegistrationHasItsHandle(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		first := register(t, c, spec("one", 1))
		second := register(t, c, spec("one", 2))
		other := register(t, c, spec("two", 3))
		<-first.Done()
		require.ErrorIs(t, first.Err(), discovery.ErrSuperseded)
		require.ErrorIs(t, first.Update(t.Context(), spec("one", 9)), discovery.ErrSuperseded)
		require.ErrorIs(t, first.SetStatus(t.Context(), "maintenance", ""), discovery.ErrSuperseded)
		require.NoError(t, first.Close(t.Context()), "of what is not its own any more it removes nothing")
		sleep(time.Minute)
		for weight, r := range map[int]*discovery.Registration{2: second, 3: other} {
			require.NoError(t, r.Err())
			in, _, err := c.Instance(r.Instance().Key())
			require.NoError(t, err)
			assert.Equal(t, weight, in.Weight)
			require.NoError(t, r.Close(t.Context()))
			_, _, err = c.Instance(r.Instance().Key())
			require.ErrorIs(t, err, discovery.ErrNotFound)
		}
	})
}

// Fault 26: a read handed out the internal list.
func TestFault26ListsBelongToTheCaller(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		s := spec("one", 1)
		s.Tags = []string{"a"}
		s.Metadata = discovery.MustMetadata(map[string]any{"list": []any{"x"}})
		register(t, c, s)
		spoil := func() {
			list, _, err := c.Instances(t.Context(), "svc", discovery.Query{})
			require.NoError(t, err)
			list[0].Tags.Strings()[0] = "spoilt"
			list[0].Metadata.Map()["list"].([]any)[0] = "spoilt" //nolint:errcheck,forcetypeassert // it is one
			list[0] = discovery.Instance{}
			services, _, err := c.Services(t.Context())
			require.NoError(t, err)
			services[0].Name = "spoilt"
			snap, _, err := c.Snapshot("svc")
			require.NoError(t, err)
			snap.Instances()[0].Weight = 7
		}
		spoil()
		s.Tags[0] = "spoilt" // nor does the caller's own list stay connected
		list, _, err := c.Instances(t.Context(), "svc", discovery.Query{})
		require.NoError(t, err)
		assert.Equal(t, "one", list[0].ID)
		assert.Equal(t, 1, list[0].Weight)
		assert.True(t, list[0].Tags.Has("a"))
		assert.JSONEq(t, `{"list":["x"]}`, list[0].Metadata.String())
		spoil()
	})
}

func TestLiveCheckChangesNothing(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, p *prober) {
		r := register(t, c, spec("one", 1))
		sleep(2 * time.Second)
		before := r.Instance()
		require.Equal(t, core.StatusHealthy, before.Status())
		p.set("one", true)
		for range 10 {
			res, err := c.Check(t.Context(), before.Key())
			require.NoError(t, err)
			require.False(t, res.Healthy)
		}
		synctest.Wait()
		assert.Equal(t, before, r.Instance())
	})
}

func TestFirstPassingCheckEndsStarting(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, p *prober) {
		p.set("one", true)
		s := spec("one", 1)
		s.Status = "starting"
		r := register(t, c, s)
		sleep(20 * time.Second)
		require.Equal(t, core.StatusStarting, r.Instance().Status())
		p.set("one", false)
		sleep(34 * time.Second) // a check each interval, once three have failed
		assert.Equal(t, core.StatusHealthy, r.Instance().Status())
	})
}

// What Prism keeps alive itself outlives its ttl; what a client should, does not.
func TestKeepaliveByWhoRegisters(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		s := spec("own", 1)
		s.TTL = 10 * time.Second
		own := register(t, c, s)
		s.ID = "of-a-client"
		of, err := c.RegisterInstance(t.Context(), discovery.RegisterRequest{Spec: s})
		require.NoError(t, err)
		assert.Equal(t, core.KeepaliveAuto, own.Instance().Keepalive)
		assert.Zero(t, own.Instance().Check.DeregisterAfter)
		assert.Equal(t, core.KeepaliveClient, of.Instance.Keepalive)
		assert.Equal(t, 10*time.Second, of.Instance.Check.DeregisterAfter)
		sleep(time.Minute)
		list, _, err := c.Instances(t.Context(), "svc", discovery.Query{})
		require.NoError(t, err)
		require.Len(t, list, 1)
		assert.Equal(t, "own", list[0].ID)
	})
}

// With auto_deregister off a program leaves its instances to run out.
func TestKeptInstancesRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		c, err := discovery.Open(t.Context(), unclosed{backend}, discovery.WithAutoDeregister(false))
		require.NoError(t, err)
		other, err := discovery.Open(t.Context(), backend)
		require.NoError(t, err)
		register(t, c, spec("one", 1))
		require.NoError(t, c.Close(t.Context()))
		synctest.Wait()
		in, _, err := other.Instance(discovery.Key{Service: "svc", ID: "one"})
		require.NoError(t, err)
		assert.Equal(t, core.StatusUnknown, in.Status())
		sleep(16 * time.Second)
		_, _, err = other.Instance(in.Key())
		require.ErrorIs(t, err, discovery.ErrNotFound)
		require.NoError(t, other.Close(context.WithoutCancel(t.Context())))
	})
}

// unclosed is a backend that somebody else closes.
type unclosed struct{ ports.Backend }

func (unclosed) Close() error { return nil }

// deaf is a store that takes nothing while it is out of reach.
type deaf struct {
	ports.Backend
	out atomic.Bool
}

func (a *deaf) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if a.out.Load() {
		return nil, ports.ErrUnavailable
	}
	return a.Backend.Apply(ctx, muts)
}

func (a *deaf) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if a.out.Load() {
		return nil, ports.ErrUnavailable
	}
	return a.Backend.Get(ctx, keys)
}

func TestClosingWhileTheStoreIsAwayEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		store := &deaf{Backend: backend}
		c, err := discovery.Open(t.Context(), store)
		require.NoError(t, err)
		for n := range 20 {
			register(t, c, spec(fmt.Sprint(n), 1))
		}
		store.out.Store(true)
		began := time.Now()
		require.ErrorIs(t, c.Close(t.Context()), discovery.ErrUnavailable)
		assert.LessOrEqual(t, time.Since(began), 11*time.Second)
	})
}
