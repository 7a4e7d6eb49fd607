package discovery_test

// pick_test.go: who is picked, and who is not.

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
)

// picks counts n picks by id.
func picks(t *testing.T, c *discovery.Client, n int, o discovery.PickOptions) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		p, err := c.Pick(t.Context(), "svc", o)
		require.NoError(t, err)
		got[p.Instance.ID]++
	}
	return got
}

// Fault 22: "weighted round robin" was random.
func TestFault22WeightedRoundRobinIsExact(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		register(t, c, spec("a", 100))
		register(t, c, spec("b", 150))
		sleep(2 * time.Second)
		assert.Equal(t, map[string]int{"a": 100, "b": 150}, picks(t, c, 250, discovery.PickOptions{}))
	})
}

func TestRotationSurvivesChangesThatLeaveTheEligibleAlone(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		register(t, c, spec("a", 1))
		register(t, c, spec("b", 2))
		r := register(t, c, spec("zero", 0))
		sleep(2 * time.Second)
		got := map[string]int{}
		for i := range 300 { // a change between any two picks
			s := spec("zero", 0)
			s.Metadata = discovery.MustMetadata(map[string]any{"i": i})
			require.NoError(t, r.Update(t.Context(), s))
			p, err := c.Pick(t.Context(), "svc", discovery.PickOptions{})
			require.NoError(t, err)
			got[p.Instance.ID]++
		}
		assert.Equal(t, map[string]int{"a": 100, "b": 200}, got)
	})
}

// Fault 5: picks and waits returned unhealthy or maintenance instances.
func TestFault05OnlyEligibleInstancesArePickedAndWaitedFor(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, p *prober) {
		p.set("sick", true)
		register(t, c, spec("sick", 10))
		drained := register(t, c, spec("drained", 10))
		good := register(t, c, spec("good", 10))
		require.NoError(t, drained.Drain(t.Context(), "disk swap"))
		starting := spec("starting", 10)
		starting.Status, starting.Check = "starting", &core.Check{Type: core.CheckNone}
		register(t, c, starting)
		leaving := register(t, c, spec("stopping", 10))
		require.NoError(t, leaving.SetStatus(t.Context(), "stopping", ""))
		sleep(2 * time.Minute)
		assert.Equal(t, map[string]int{"good": 20}, picks(t, c, 20, discovery.PickOptions{}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, satisfied, err := c.Wait(ctx, "svc", 2, discovery.Query{})
		require.NoError(t, err)
		assert.False(t, satisfied)
		assert.Len(t, got, 1)

		why, err := c.Explain(t.Context(), "svc", discovery.PickOptions{})
		require.NoError(t, err)
		require.Len(t, why, 5)
		assert.Equal(t, "drained", why[0].ID)
		assert.Contains(t, why[0].Reason, "disk swap")
		assert.InDelta(t, 1.0, why[1].Share, 1e-9)
		for _, w := range why[2:] {
			assert.False(t, w.Eligible, w.ID)
		}
		_, err = c.Pick(t.Context(), "svc", discovery.PickOptions{Exclude: []string{"good"}})
		require.ErrorIs(t, err, discovery.ErrNoEligible)

		require.NoError(t, good.Close(t.Context()))
		_, err = c.Pick(t.Context(), "svc", discovery.PickOptions{})
		require.ErrorIs(t, err, discovery.ErrNoEligible)
		_, err = c.Pick(t.Context(), "nobody", discovery.PickOptions{})
		require.ErrorIs(t, err, discovery.ErrNotFound)
		_, err = c.Pick(t.Context(), "no/body", discovery.PickOptions{})
		require.ErrorIs(t, err, discovery.ErrInvalid)
	})
}

func TestPickExcludesAndFilters(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		for i := range 5 {
			s := spec(fmt.Sprint("i", i), 1+i)
			s.Zone = "even"
			if i%2 == 1 {
				s.Zone = "odd"
			}
			s.Endpoints = []discovery.Endpoint{{Name: "metrics", Port: 9000 + i}}
			register(t, c, s)
		}
		sleep(2 * time.Second)
		odd, err := discovery.ParseFilter(`zone == "odd"`)
		require.NoError(t, err)
		assert.Equal(t, map[string]int{"i1": 2, "i3": 4}, picks(t, c, 6, discovery.PickOptions{Filter: odd}))
		for range 20 {
			p, err := c.Pick(t.Context(), "svc", discovery.PickOptions{Exclude: []string{"i0", "i1", "i2", "i4"}, Endpoint: "metrics"})
			require.NoError(t, err)
			require.Equal(t, "http://127.0.0.1:9003", p.URL)
		}
		_, err = c.Pick(t.Context(), "svc", discovery.PickOptions{Exclude: []string{"i0", "i1", "i2", "i3", "i4"}})
		require.ErrorIs(t, err, discovery.ErrNoEligible)
		_, err = c.Pick(t.Context(), "svc", discovery.PickOptions{Policy: "magic"})
		require.ErrorIs(t, err, discovery.ErrInvalid)
		u, err := c.URL(t.Context(), "svc", discovery.PickOptions{Policy: "round_robin"})
		require.NoError(t, err)
		assert.Contains(t, u, "http://127.0.0.1:80")
	})
}

func TestPickByEndpointChoosesAmongThoseThatHaveIt(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, p *prober) {
		with := spec("with", 1)
		with.Endpoints = []discovery.Endpoint{{Name: "metrics", Port: 9000}}
		register(t, c, with)
		register(t, c, spec("without", 1))
		sleep(2 * time.Second)
		metrics := discovery.PickOptions{Endpoint: "metrics"}
		for range 4 {
			u, err := c.URL(t.Context(), "svc", metrics)
			require.NoError(t, err)
			assert.Equal(t, "http://127.0.0.1:9000", u)
		}
		assert.Equal(t, map[string]int{"with": 2, "without": 2}, picks(t, c, 4, discovery.PickOptions{}))
		why, err := c.Explain(t.Context(), "svc", metrics)
		require.NoError(t, err)
		assert.Equal(t, discovery.Explanation{ID: "without", Reason: "no endpoint metrics"}, why[1])
		_, err = c.Pick(t.Context(), "svc", discovery.PickOptions{Endpoint: "admin"})
		require.ErrorIs(t, err, discovery.ErrNotFound)
		require.ErrorContains(t, err, "admin")
		_, err = c.Pick(t.Context(), "svc", discovery.PickOptions{Endpoint: "a/b"})
		require.ErrorIs(t, err, discovery.ErrInvalid)
		p.set("with", true)
		sleep(time.Minute)
		_, err = c.Pick(t.Context(), "svc", metrics)
		require.ErrorIs(t, err, discovery.ErrNoEligible, "it exists, and may get no traffic")
	})
}

func TestPickAllocatesNothing(t *testing.T) {
	backend, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
	require.NoError(t, err)
	c, err := discovery.Open(t.Context(), backend, discovery.WithDrainTimeout(0))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close(context.WithoutCancel(t.Context()))) }()
	register(t, c, spec("a", 100))
	register(t, c, spec("b", 150))
	ctx := t.Context()
	assert.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := c.Pick(ctx, "svc", discovery.PickOptions{}); err != nil {
			t.Error(err)
		}
	}))
}

// Whoever asks for what there is not takes no place from those who ask for what there is.
func TestPicksOfUnknownServicesDisturbNobody(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		for n := range 100 {
			s := spec(fmt.Sprintf("i%02d", n), 1)
			s.Check = &core.Check{Type: core.CheckNone}
			register(t, c, s)
		}
		pick := func() int {
			got, err := c.Pick(t.Context(), "svc", discovery.PickOptions{Policy: "round_robin"})
			require.NoError(t, err)
			n, err := strconv.Atoi(got.Instance.ID[1:])
			require.NoError(t, err)
			return n
		}
		first := pick()
		for n := range 5000 {
			_, err := c.Pick(t.Context(), fmt.Sprint("unknown", n), discovery.PickOptions{})
			require.ErrorIs(t, err, discovery.ErrNotFound)
		}
		assert.Equal(t, (first+1)%100, pick())
	})
}
