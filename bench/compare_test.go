package bench_test

// compare_test.go: two things measured in turns. What drifts on a machine, its clock speed and
// what else runs on it, then meets both alike, and their ratio stays.

import (
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// compare measures Prism and its peer in turns, so many pairs in each iteration, and reports
// the median of each in microseconds and how many times as long as the peer Prism takes, by
// medians and by means. Each function does its work once and returns the time of what counts.
func compare(b *testing.B, pairs int, prism, peer func() time.Duration) (ofPrism, ofPeer time.Duration) {
	b.Helper()
	prism()
	peer()
	var times, peers []time.Duration
	for b.Loop() {
		for range pairs {
			if len(times)%2 == 0 { // neither is always the one that comes after the other
				times = append(times, prism())
				peers = append(peers, peer())
			} else {
				peers = append(peers, peer())
				times = append(times, prism())
			}
		}
	}
	ofPrism, ofPeer = median(times), median(peers)
	b.ReportMetric(float64(ofPrism.Nanoseconds())/1e3, "prism-µs")
	b.ReportMetric(float64(ofPeer.Nanoseconds())/1e3, "peer-µs")
	b.ReportMetric(float64(ofPrism)/float64(ofPeer), "ratio")
	b.ReportMetric(float64(sum(times))/float64(sum(peers)), "mean-ratio")
	return ofPrism, ofPeer
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func sum(times []time.Duration) (total time.Duration) {
	for _, t := range times {
		total += t
	}
	return total
}

// timed returns a function that measures the whole of do.
func timed(b *testing.B, do func() error) func() time.Duration {
	b.Helper()
	return func() time.Duration {
		start := time.Now()
		err := do()
		took := time.Since(start)
		if err != nil {
			b.Fatal(err)
		}
		return took
	}
}

// build compiles the program in a folder of a module, both relative to the module of the
// benchmarks, into a folder.
func build(b *testing.B, into, module, pkg string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "go", "build", "-C", module, "-o", into, pkg)
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, "%s: %s", cmd, out)
}
