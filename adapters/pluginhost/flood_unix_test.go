//go:build unix

package pluginhost_test

// flood_unix_test.go: a plugin that writes without end.

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A plugin that floods its log, past go-plugin or through it, costs the host neither memory
// nor much time, and goes on answering.
func TestLogFlood(t *testing.T) {
	const (
		during = 2 * time.Second
		atMost = 16 << 20 / 100 // lines read in a second: twice the rate, at 100 bytes a line
	)
	for _, way := range []string{"raw", "synced"} {
		t.Run(way, func(t *testing.T) {
			f := newFixture(t, rolePlugin, nil)
			var dropped atomic.Int64
			f.Hooks.Dropped = func(lines int) { dropped.Add(int64(lines)) }
			f.Heartbeat = 500 * time.Millisecond
			h := f.open(t)
			heap, spent := heapInUse(), cpuTime(t)
			_, err := order(t.Context(), h, "flood "+way)
			require.NoError(t, err)
			f.log.waitFor(t, "plugin log lines left out, as they came too fast")
			slowest := time.Duration(0)
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			began := time.Now()
			for time.Since(began) < during {
				asked := time.Now()
				require.NoError(t, h.Health(t.Context()))
				slowest = max(slowest, time.Since(asked))
				<-pace.C
			}
			took := time.Since(began)
			logged := len(f.log.String())
			heap, spent = heapInUse()-heap, cpuTime(t)-spent
			t.Logf("heap %+d KiB, cpu %s in %s, slowest call %s, dropped %d lines, logged %d KiB",
				heap>>10, spent, took, slowest, dropped.Load(), logged>>10)
			assert.Less(t, heap, int64(16<<20))
			assert.Less(t, spent, took*3/4, "CPU time of the host")
			assert.Less(t, slowest, patience/3)
			assert.Positive(t, dropped.Load())
			assert.Less(t, float64(dropped.Load()), atMost*(took+time.Second).Seconds(), "reading is slowed down")
			assert.Less(t, logged, 2<<20)
			assert.Zero(t, h.Status().Restarts)
		})
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// cpuTime is what this process has used, without its children.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
