package hoststate_test

// bench_test.go: what a registration pays for being remembered, alone and among others.

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/hoststate"
)

func BenchmarkNoteAndSync(b *testing.B) {
	for name, parallelism := range map[string]int{"alone": 0, "among 128": 64} {
		b.Run(name, func(b *testing.B) {
			j, err := hoststate.Open(hoststate.Options{Dir: b.TempDir(), Backend: "b", Namespace: "n", Address: "a"})
			require.NoError(b, err)
			defer func() { require.NoError(b, j.Close()) }()
			var next atomic.Int64
			one := func() {
				j.Note(held("i" + strconv.FormatInt(next.Add(1)%1000, 10)))
				j.Sync(b.Context())
			}
			if parallelism == 0 {
				for b.Loop() {
					one()
				}
				return
			}
			b.SetParallelism(parallelism)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					one()
				}
			})
		})
	}
}
