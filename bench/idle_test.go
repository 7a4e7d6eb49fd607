//go:build linux

package bench_test

// idle_test.go: what hosts at rest cost their store: the server's CPU and the bytes on its
// connections, with 1, 10 and 50 hosts that each keep one instance alive and see all of them.

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism"
	"github.com/marketprism/prism/tools/stores"
)

const (
	// ticksASecond is USER_HZ, the unit of CPU time in /proc/PID/stat (proc_pid_stat(5)).
	ticksASecond = 100
	// settling is how long hosts are given to see each other before they count as idle.
	settling = 3 * time.Second
	// restFor is how long they are looked at: two renewals of a session of 15 s, and more bookmarks.
	restFor = 10 * time.Second
)

// BenchmarkIdle has no peer: what shows is how the load grows. Renewals and bookmarks are each
// host's own, so it may grow with hosts, and by no more than so much for each.
func BenchmarkIdle(b *testing.B) {
	for _, kind := range stores.Kinds() {
		b.Run(string(kind), func(b *testing.B) {
			plugins := b.TempDir() + string(filepath.Separator)
			build(b, plugins, "../plugins/"+string(kind), "./cmd/prism-backend-"+string(kind))
			on := stores.ForTest(b, kind, stores.Options{})
			wire := count(b, on.Addresses()[0])
			url := strings.Replace(on.URL(), on.Addresses()[0], wire.address, 1)
			hosts := 0
			for _, n := range []int{1, 10, 50} {
				for ; hosts < n; hosts++ {
					idle(b, kind, url, plugins, hosts)
				}
				<-time.After(settling)
				cpu, bytes, began := cpuOf(b, on.PIDs()), wire.bytes.Load(), time.Now()
				<-time.After(time.Duration(b.N) * restFor) // the time is what is measured over
				seconds := time.Since(began).Seconds()
				b.ReportMetric((cpuOf(b, on.PIDs())-cpu)/seconds*1000, fmt.Sprintf("cpu-ms/s-%d", n))
				b.ReportMetric(float64(wire.bytes.Load()-bytes)/seconds/1000, fmt.Sprintf("kB/s-%d", n))
			}
		})
	}
}

// idle starts a host that keeps one instance alive, until the benchmark ends.
func idle(b *testing.B, kind stores.Kind, url, plugins string, i int) {
	b.Helper()
	c, err := prism.Open(b.Context(), prism.Config{
		Backend: string(kind), BackendOptions: map[string]any{"url": url}, PluginDirs: []string{plugins},
		DrainTimeout: -1, NoChecks: true, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close(context.WithoutCancel(b.Context()))) })
	_, err = c.Register(b.Context(), prism.Spec{Service: "web", ID: fmt.Sprintf("i%d", i), Host: "127.0.0.1", Port: 8081})
	require.NoError(b, err)
}

// cpuOf is the CPU time that processes have used, in seconds.
func cpuOf(b *testing.B, pids []int) (seconds float64) {
	b.Helper()
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		require.NoError(b, err)
		_, after, _ := strings.Cut(string(stat), ") ") // the name before it may hold spaces
		fields := strings.Fields(after)
		for _, field := range fields[11:13] { // utime and stime
			ticks, err := strconv.Atoi(field)
			require.NoError(b, err)
			seconds += float64(ticks) / ticksASecond
		}
	}
	return seconds
}

// counter passes connections on and counts what they carry, both ways.
type counter struct {
	address string
	bytes   atomic.Int64
}

// count stands before an address until the benchmark ends.
func count(b *testing.B, target string) *counter {
	b.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(b.Context(), "tcp", "127.0.0.1:0")
	require.NoError(b, err)
	c := &counter{address: listener.Addr().String()}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	var group sync.WaitGroup
	group.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { c.pass(ctx, from, target) })
		}
	})
	b.Cleanup(func() {
		cancel()
		_ = listener.Close() // it is ours alone
		group.Wait()
	})
	return c
}

func (c *counter) pass(ctx context.Context, from net.Conn, target string) {
	var dialer net.Dialer
	to, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		_ = from.Close()
		return
	}
	end := func() { _, _ = from.Close(), to.Close() }
	defer context.AfterFunc(ctx, end)()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], io.TeeReader(way[0], (*tally)(&c.bytes))) // either end ends both
			end()
		})
	}
	both.Wait()
}

// tally counts what is written to it.
type tally atomic.Int64

func (t *tally) Write(p []byte) (int, error) {
	(*atomic.Int64)(t).Add(int64(len(p)))
	return len(p), nil
}
