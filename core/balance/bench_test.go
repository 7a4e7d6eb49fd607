package balance_test

import (
	"fmt"
	"testing"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/balance"
)

var sizes = []int{3, 100, 10_000}

// uneven weights are what a rotation has most work with.
func uneven(n int) []balance.Candidate {
	random := fixed(1)
	return repeat(n, func(int) int { return 1 + int(random()%core.MaxWeight) })
}

func BenchmarkPick(b *testing.B) {
	for _, policy := range policies {
		for _, n := range sizes {
			p := build(b, policy, uneven(n), nil)
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						p.Pick("")
					}
				})
			})
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for name, weights := range map[string]func(n int) []balance.Candidate{
		"equal":  func(n int) []balance.Candidate { return repeat(n, func(int) int { return 100 }) },
		"uneven": uneven,
	} {
		for _, policy := range policies {
			for _, n := range sizes {
				cands := weights(n)
				b.Run(fmt.Sprintf("%s/%s/%d", policy, name, n), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						build(b, policy, cands, nil)
					}
				})
			}
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	instances := make([]core.Instance, 10_000)
	for i := range instances {
		instances[i] = observed(core.ObservedHealthy)
	}
	b.ReportAllocs()
	for b.Loop() {
		balance.Judge(instances, balance.Rules{HealthRequired: true})
	}
}
