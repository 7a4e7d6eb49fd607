package health_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/health"
	"github.com/marketprism/prism/ports"
)

// rig is a Scheduler whose probes and reports the test sees. It runs within synctest.
type rig struct {
	*health.Scheduler
	probe  func(ctx context.Context, in core.Instance) (ports.ProbeResult, error)
	report func(in core.Instance, r ports.ProbeResult) bool
	log    bytes.Buffer

	mu      sync.Mutex
	begun   map[string][]time.Time // probes, by id
	reports map[string]int
	now     int // probes under way
	most    int // at the same time
}

func newRig(t *testing.T, o health.Options) *rig {
	t.Helper()
	r := &rig{begun: map[string][]time.Time{}, reports: map[string]int{}}
	r.probe = func(context.Context, core.Instance) (ports.ProbeResult, error) {
		return ports.ProbeResult{Healthy: true}, nil
	}
	r.report = func(core.Instance, ports.ProbeResult) bool { return true }
	o.Prober, o.Logger = r, slog.New(slog.NewTextHandler(&r.log, nil))
	o.Report = func(_ context.Context, in core.Instance, res ports.ProbeResult) bool {
		r.mu.Lock()
		r.reports[in.ID]++
		r.mu.Unlock()
		return r.report(in, res)
	}
	r.Scheduler = health.NewScheduler(o)
	t.Cleanup(r.Close)
	return r
}

// Probe implements ports.Prober.
func (r *rig) Probe(ctx context.Context, in core.Instance) (ports.ProbeResult, error) {
	r.mu.Lock()
	r.begun[in.ID] = append(r.begun[in.ID], time.Now())
	r.now++
	r.most = max(r.most, r.now)
	probe := r.probe
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.now--
		r.mu.Unlock()
	}()
	return probe(ctx, in)
}

// pass lets time go by and waits until all is still again.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (r *rig) probes(id string) []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun[id]
}

// checked counts the instances that were probed at all.
func (r *rig) checked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.begun)
}

func (r *rig) reported(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reports[id]
}

func instance(id string, interval time.Duration) core.Instance {
	return core.Instance{
		Service: "web", ID: id, TTL: time.Minute, Generation: core.Generation{N: 1, Random: "r"},
		State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown},
		Check: core.Check{Type: core.CheckHTTP, Interval: interval, Timeout: interval / 3, Rise: 2, Fall: 3},
	}
}

func decided(id string, interval time.Duration) core.Instance {
	in := instance(id, interval)
	in.State.Observed, in.State.Streak = core.ObservedHealthy, 2
	return in
}

const interval = 30 * time.Second

// gaps asserts that the times between probes are all within bounds.
func gaps(t *testing.T, times []time.Time, least, most time.Duration) {
	t.Helper()
	require.Greater(t, len(times), 1)
	for i := 1; i < len(times); i++ {
		gap := times[i].Sub(times[i-1])
		assert.GreaterOrEqual(t, gap, least)
		assert.LessOrEqual(t, gap, most)
	}
}

func TestNewInstanceIsCheckedAtOnceThenAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		r.Track(instance("a", interval))
		pass(100 * time.Millisecond)
		assert.Len(t, r.probes("a"), 1)
		pass(time.Hour)
		times := r.probes("a")
		assert.InDelta(t, 120, len(times), 6)
		gaps(t, times, 27*time.Second, 33*time.Second)
		distinct := map[time.Duration]bool{}
		for i := 1; i < len(times); i++ {
			distinct[times[i].Sub(times[i-1])] = true
		}
		assert.Greater(t, len(distinct), 50, "intervals are jittered")
		assert.Equal(t, health.Stats{Tracked: 1}, r.Stats())
	})
}

func TestUnsettledIsCheckedSooner(t *testing.T) {
	for of, want := range map[time.Duration][2]time.Duration{
		30 * time.Second: {2700 * time.Millisecond, 3300 * time.Millisecond},
		2 * time.Second:  {time.Second, time.Second},
		time.Second:      {time.Second, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, health.Options{})
			r.report = func(core.Instance, ports.ProbeResult) bool { return false }
			r.Track(instance("a", of))
			pass(time.Minute)
			gaps(t, r.probes("a"), want[0], want[1])
		})
	}
}

func TestAdoptedAreSpreadOverTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		for n := range 100 {
			r.Track(decided(fmt.Sprint(n), interval))
		}
		pass(5 * time.Second)
		early := r.checked()
		pass(25 * time.Second)
		assert.Less(t, early, 50)
		assert.Equal(t, 100, r.checked(), "each within one interval")
	})
}

func TestUndecidedAreCheckedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		for id, change := range map[string]func(*core.State){
			"starting": func(st *core.State) { st.Declared = core.DeclaredStarting },
			"failing":  func(st *core.State) { st.Streak = -1 },
			"rising":   func(st *core.State) { st.Observed, st.Streak = core.ObservedUnhealthy, 1 },
		} {
			in := decided(id, interval)
			change(&in.State)
			r.Track(in)
		}
		pass(100 * time.Millisecond)
		assert.Equal(t, 3, r.checked())
	})
}

func TestUpdateKeepsThePhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		in := instance("a", interval)
		r.Track(in)
		for range 53 { // an update each second neither hastens nor delays the checks
			pass(time.Second)
			in.Weight++
			r.Track(in)
		}
		assert.Len(t, r.probes("a"), 2)
		gaps(t, r.probes("a"), 27*time.Second, 33*time.Second)

		in.Check.Interval = 2 * time.Second
		r.Track(in)
		pass(2200 * time.Millisecond)
		assert.Greater(t, len(r.probes("a")), 2, "a shorter interval holds at once")
	})
}

func TestNewRegistrationIsCheckedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		in := instance("a", interval)
		r.Track(in)
		pass(10 * time.Second)
		in.Generation = in.Generation.Next()
		r.Track(in)
		pass(100 * time.Millisecond)
		assert.Len(t, r.probes("a"), 2)

		// And also when a check of the old one is under way.
		hold := make(chan struct{})
		r.mu.Lock()
		r.probe = func(context.Context, core.Instance) (ports.ProbeResult, error) {
			<-hold
			return ports.ProbeResult{}, nil
		}
		r.mu.Unlock()
		pass(33 * time.Second)
		require.Len(t, r.probes("a"), 3)
		in.Generation = in.Generation.Next()
		r.Track(in)
		pass(10 * time.Second)
		assert.Len(t, r.probes("a"), 3, "one check at a time")
		close(hold)
		pass(100 * time.Millisecond)
		assert.Len(t, r.probes("a"), 4)
	})
}

func TestPhaseIsKeptOneTTLAfterLosingTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		in := decided("a", interval)
		in.State.Observed = core.ObservedUnknown
		r.Track(in)
		pass(time.Second)
		in.State.Observed = core.ObservedHealthy
		for range 100 { // two hosts take turns
			r.Untrack(in.Key())
			pass(10 * time.Second)
			r.Track(in)
			pass(10 * time.Second)
		}
		// In 2,000 s it is held half of the time, and due every 27 to 33 s.
		times := r.probes("a")
		gaps(t, times, 27*time.Second, 44*time.Second)
		assert.Greater(t, len(times), 45)

		r.Untrack(in.Key())
		assert.Equal(t, health.Stats{}, r.Stats())
		pass(2 * time.Minute)
		before := len(r.probes("a"))
		in.State.Observed = core.ObservedUnknown
		r.Track(in) // forgotten: a new one
		pass(100 * time.Millisecond)
		assert.Len(t, r.probes("a"), before+1)
	})
}

func TestUntrackedIsNotCheckedAndNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		r.probe = func(ctx context.Context, _ core.Instance) (ports.ProbeResult, error) {
			<-time.After(5 * time.Second)
			return ports.ProbeResult{Healthy: true}, ctx.Err()
		}
		in := instance("a", interval)
		r.Track(in)
		pass(time.Second)
		r.Untrack(in.Key())
		r.Untrack(core.Key{Service: "web", ID: "nobody"})
		pass(time.Hour)
		assert.Len(t, r.probes("a"), 1)
		assert.Zero(t, r.reported("a"))
	})
}

func TestNoneIsNotChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		in := instance("a", interval)
		in.Check.Type = core.CheckNone
		r.Track(in)
		pass(time.Hour)
		assert.Empty(t, r.probes("a"))

		in.Check.Type = core.CheckTCP
		r.Track(in)
		pass(time.Second)
		in.Check.Type = core.CheckNone
		r.Track(in)
		pass(time.Hour)
		assert.Len(t, r.probes("a"), 1)
	})
}

func TestRecordWithoutTimesIsCheckedOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		in := instance("a", 0)
		r.Track(in)
		pass(time.Minute)
		r.Track(in)
		gaps(t, r.probes("a"), 900*time.Millisecond, 1100*time.Millisecond)
	})
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{Concurrency: 3})
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for n := range 200 {
					in := instance(fmt.Sprint(n%20), time.Second)
					if (n+g)%3 == 0 {
						r.Untrack(in.Key())
					} else {
						r.Track(in)
					}
					r.Stats()
					<-time.After(10 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		pass(time.Minute)
		assert.LessOrEqual(t, r.most, 3)
	})
}

// BenchmarkTrack is what each write of a record costs the Scheduler of a host that holds many.
func BenchmarkTrack(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := health.NewScheduler(health.Options{
				Prober: &rig{begun: map[string][]time.Time{}, probe: func(context.Context, core.Instance) (ports.ProbeResult, error) {
					return ports.ProbeResult{}, nil
				}},
				Report: func(context.Context, core.Instance, ports.ProbeResult) bool { return true },
			})
			defer s.Close()
			ins := make([]core.Instance, n)
			for i := range ins {
				ins[i] = decided(fmt.Sprint(i), 24*time.Hour)
				s.Track(ins[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.Track(ins[i%n])
			}
		})
	}
}
