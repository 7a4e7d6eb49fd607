// Package bench measures Prism beside its peers, in the same run and as ratios, since the
// absolute figures of one machine say little about another's. Run it with make bench.
package bench_test

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"testing"

	"github.com/go-kratos/kratos/v2/registry"
	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/selector/wrr"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/balancer"

	"github.com/marketprism/prism/core/balance"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
)

// weight is what the i-th instance weighs: not equal, and with a common divisor.
func weight(i int) int { return 50 * (1 + i%4) }

var sizes = []int{3, 100, 10_000}

// BenchmarkPick compares one pick of weighted round robin: Prism's policy alone, Prism's whole
// facade (service lookup, eligibility, URL), grpc-go's picker and Kratos's selector.
func BenchmarkPick(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("instances=%d", n), func(b *testing.B) {
			b.Run("prism-policy", func(b *testing.B) { parallel(b, policyPick(b, n)) })
			b.Run("prism-facade", func(b *testing.B) { parallel(b, facadePick(b, n)) })
			b.Run("grpc-go", func(b *testing.B) { parallel(b, grpcPick(b, n)) })
			b.Run("kratos", func(b *testing.B) { parallel(b, kratosPick(b, n)) })
		})
	}
}

// parallel runs pick on two goroutines, whatever the machine has.
func parallel(b *testing.B, pick func() error) {
	b.Helper()
	b.SetParallelism(1)
	if err := pick(); err != nil { // the first pick of a snapshot works out the order
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := pick(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func policyPick(b *testing.B, n int) func() error {
	b.Helper()
	cands := make([]balance.Candidate, n)
	for i := range cands {
		cands[i] = balance.Candidate{ID: fmt.Sprintf("i-%05d", i), Weight: weight(i)}
	}
	p, err := balance.New(balance.WeightedRoundRobin, cands, mathrand.Uint64)
	require.NoError(b, err)
	return func() error {
		if p.Pick("") < 0 {
			return discovery.ErrNoEligible
		}
		return nil
	}
}

func facadePick(b *testing.B, n int) func() error {
	b.Helper()
	backend, err := memory.Open(b.Context(), memory.Options{Namespace: "bench"})
	require.NoError(b, err)
	c, err := discovery.Open(b.Context(), backend, discovery.WithDrainTimeout(0))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close(context.Background())) })
	for i := range n {
		_, err := c.RegisterInstance(b.Context(), discovery.RegisterRequest{Spec: discovery.Spec{
			Service: "svc", ID: fmt.Sprintf("i-%05d", i), Host: "127.0.0.1", Port: 1 + i, Weight: new(weight(i)),
		}})
		require.NoError(b, err)
	}
	ctx := b.Context()
	return func() error {
		_, err := c.Pick(ctx, "svc", discovery.PickOptions{})
		return err
	}
}

func grpcPick(b *testing.B, n int) func() error {
	b.Helper()
	p := grpcPicker(b, n)
	info := balancer.PickInfo{Ctx: b.Context()}
	return func() error {
		_, err := p.Pick(info)
		return err
	}
}

func kratosPick(b *testing.B, n int) func() error {
	b.Helper()
	s := wrr.New()
	nodes := make([]selector.Node, n)
	for i := range nodes {
		nodes[i] = selector.NewNode("http", fmt.Sprintf("127.0.0.1:%d", 1+i), &registry.ServiceInstance{
			ID: fmt.Sprintf("i-%05d", i), Name: "svc", Metadata: map[string]string{"weight": fmt.Sprint(weight(i))},
		})
	}
	s.Apply(nodes)
	ctx := b.Context()
	return func() error {
		_, done, err := s.Select(ctx)
		if err == nil {
			done(ctx, selector.DoneInfo{})
		}
		return err
	}
}
