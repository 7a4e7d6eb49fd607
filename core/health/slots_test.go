package health_test

// slots_test.go: many checks, slow ones, and ones that cannot be made.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/health"
	"github.com/marketprism/prism/ports"
)

func TestSlotsBoundWhatRunsAndTheRestIsLateButNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{Concurrency: 10})
		r.probe = func(context.Context, core.Instance) (ports.ProbeResult, error) {
			<-time.After(time.Second)
			return ports.ProbeResult{}, nil
		}
		for n := range 100 {
			r.Track(instance(fmt.Sprint(n), interval))
		}
		pass(500 * time.Millisecond)
		assert.Equal(t, 10, r.Stats().Running)
		pass(10 * time.Second)
		assert.Equal(t, 100, r.checked())
		assert.Equal(t, 10, r.most)
		stats := r.Stats()
		assert.InDelta(t, 85, int(stats.Late), 10)
		assert.Equal(t, 1, bytes.Count(r.log.Bytes(), []byte("health checks are late")), "once a minute")
		for n := range 100 {
			assert.Equal(t, 1, r.reported(fmt.Sprint(n)))
		}
	})
}

func TestSlowReportIsNotOverlapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		r.report = func(core.Instance, ports.ProbeResult) bool {
			<-time.After(5 * interval)
			return true
		}
		r.Track(instance("a", interval))
		pass(5*interval - time.Second)
		assert.Len(t, r.probes("a"), 1)
		pass(2 * time.Second)
		assert.Len(t, r.probes("a"), 2, "overdue, so at once")
	})
}

func TestProberThatOnlyKnowsItsContextFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var observed []ports.ProbeResult
		r := newRig(t, health.Options{Observe: func(_ core.Instance, r ports.ProbeResult) { observed = append(observed, r) }})
		r.probe = func(ctx context.Context, _ core.Instance) (ports.ProbeResult, error) {
			<-ctx.Done()
			return ports.ProbeResult{}, ctx.Err()
		}
		r.Track(instance("a", interval))
		pass(12 * time.Second)
		require.Len(t, observed, 1)
		assert.Equal(t, "no answer within 10s", observed[0].Detail)
		assert.Equal(t, 1, r.reported("a"))
	})
}

func TestCheckThatCannotBeMadeIsLoggedOnceAndNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		r.probe = func(context.Context, core.Instance) (ports.ProbeResult, error) {
			return ports.ProbeResult{}, errors.New("exec is not allowed here")
		}
		r.Track(instance("a", interval))
		pass(time.Hour)
		gaps(t, r.probes("a"), 27*time.Second, 33*time.Second)
		assert.Zero(t, r.reported("a"))
		assert.Equal(t, 1, bytes.Count(r.log.Bytes(), []byte("exec is not allowed here")))
	})
}

func TestCloseEndsChecksAndReportsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		r.probe = func(ctx context.Context, _ core.Instance) (ports.ProbeResult, error) {
			<-ctx.Done()
			return ports.ProbeResult{}, ctx.Err()
		}
		r.Track(instance("a", interval))
		pass(time.Second)
		start := time.Now()
		r.Close()
		assert.Zero(t, time.Since(start))
		assert.Zero(t, r.reported("a"))
		assert.Empty(t, r.log.String(), "nor complains")
		r.Track(instance("b", interval))
		r.Close()
		pass(time.Hour)
		assert.Empty(t, r.probes("b"))
	})
}

// A host that is out of reach takes each check its whole timeout, longer than the time to the next.
func TestChecksThatTakeTheirTimeAreNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, health.Options{})
		r.probe = func(context.Context, core.Instance) (ports.ProbeResult, error) {
			<-time.After(interval / 3)
			return ports.ProbeResult{}, nil
		}
		r.report = func(core.Instance, ports.ProbeResult) bool { return false }
		r.Track(instance("a", interval))
		pass(time.Minute)
		assert.InDelta(t, 6, r.reported("a"), 1, "one after the other")
		assert.Zero(t, r.Stats().Late)
		assert.Empty(t, r.log.String())
	})
}
