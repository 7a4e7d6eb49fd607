package balance_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/balance"
)

var policies = []balance.Policy{balance.WeightedRoundRobin, balance.RoundRobin, balance.WeightedRandom, balance.Random}

func candidates(weights ...int) []balance.Candidate {
	out := make([]balance.Candidate, len(weights))
	for i, w := range weights {
		out[i] = balance.Candidate{ID: fmt.Sprintf("i%05d", i), Weight: w}
	}
	return out
}

// repeat returns n candidates of weights that f gives.
func repeat(n int, f func(i int) int) []balance.Candidate {
	weights := make([]int, n)
	for i := range weights {
		weights[i] = f(i)
	}
	return candidates(weights...)
}

func build(tb testing.TB, policy balance.Policy, cands []balance.Candidate, random func() uint64) balance.Picker {
	tb.Helper()
	p, err := balance.New(policy, cands, random)
	require.NoError(tb, err)
	return p
}

// fixed gives the same numbers at each run.
func fixed(seed uint64) func() uint64 { return rand.New(rand.NewPCG(seed, seed)).Uint64 }

func first() uint64 { return 0 }

func count(p balance.Picker, picks, n int) []int {
	got := make([]int, n)
	for range picks {
		got[p.Pick("")]++
	}
	return got
}

func TestWeightedRoundRobinIsExact(t *testing.T) {
	// The numbers of the weights 100 and 150 that the documentation gives.
	p := build(t, balance.WeightedRoundRobin, candidates(100, 150), nil)
	assert.Equal(t, []int{100, 150}, count(p, 250, 2))
}

func TestWeightedRoundRobinInterleaves(t *testing.T) {
	for name, tc := range map[string]struct {
		weights []int
		want    []int
	}{
		"nginx's example":     {[]int{5, 1, 1}, []int{0, 0, 1, 0, 0, 2, 0}},
		"one heavy, many":     {[]int{4, 1, 1, 1, 1}, []int{0, 1, 0, 2, 0, 3, 0, 4}},
		"equal is in order":   {[]int{7, 7, 7}, []int{0, 1, 2}},
		"none for weight 0":   {[]int{0, 2, 0, 1}, []int{1, 3, 1}},
		"one":                 {[]int{65_535}, []int{0, 0}},
		"negative is nothing": {[]int{-3, 1}, []int{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := build(t, balance.WeightedRoundRobin, candidates(tc.weights...), first)
			var got []int
			for range tc.want {
				got = append(got, p.Pick("any key"))
			}
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestRoundRobinIgnoresWeights(t *testing.T) {
	p := build(t, balance.RoundRobin, candidates(1, 0, 60_000, 3), first)
	got := []int{p.Pick(""), p.Pick(""), p.Pick(""), p.Pick("")}
	assert.Equal(t, []int{0, 2, 3, 0}, got)
}

func TestNothingToPick(t *testing.T) {
	for _, policy := range policies {
		for name, cands := range map[string][]balance.Candidate{"empty": nil, "weights of 0": candidates(0, 0, 0)} {
			p := build(t, policy, cands, nil)
			assert.Equal(t, -1, p.Pick(""), "%s, %s", policy, name)
			for _, s := range balance.Shares(cands, policy) {
				assert.Zero(t, s)
			}
		}
	}
}

// drawWeights draws lists that stay exact and lists that must be apportioned.
func drawWeights(rt *rapid.T) []int {
	top := rapid.SampledFrom([]int{1, 3, 10, 200, core.MaxWeight}).Draw(rt, "top")
	weights := rapid.SliceOfN(rapid.IntRange(0, top), 1, 60).Draw(rt, "weights")
	weights[0] = max(weights[0], 1)
	return weights
}

func total(weights []int) (sum, divisor int) {
	for _, w := range weights {
		sum += w
		for a := w; a != 0; {
			divisor, a = a, divisor%a
		}
	}
	return sum, divisor
}

// TestRotationIsExactAndSmooth states the promise of the documentation: over any window of
// Σ weights/gcd picks each candidate gets exactly its due, and at no time since the start of a
// rotation is it off by more than Tijdeman's bound.
func TestRotationIsExactAndSmooth(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := drawWeights(rt)
		sum, divisor := total(weights)
		period := sum / divisor
		if period > 65_536 {
			rt.Skip("apportioned")
		}
		p, err := balance.New(balance.WeightedRoundRobin, candidates(weights...), first)
		require.NoError(rt, err)
		got := make([]int, len(weights))
		parts := -2
		for _, w := range weights {
			parts += 2 * min(w, 1)
		}
		for n := 1; n <= period; n++ {
			got[p.Pick("")]++
			for i, w := range weights {
				if off := got[i]*sum - n*w; parts*max(off, -off) > max(parts-1, 0)*sum {
					rt.Fatalf("after %d picks candidate %d of weights %v has %d", n, i, weights, got[i])
				}
			}
		}
		for range rapid.IntRange(0, period).Draw(rt, "offset") {
			p.Pick("")
		}
		for i, n := range count(p, period, len(weights)) {
			if n != weights[i]/divisor {
				rt.Fatalf("a window of %d picks gives candidate %d of weights %v %d", period, i, weights, n)
			}
		}
	})
}

// TestApportionedSharesAreBounded checks the bound that is promised for weights that cannot
// be exact, against what the rotation does as well as what Shares says.
func TestApportionedSharesAreBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.SampledFrom([]int{2, 3, 100, 5_000}).Draw(rt, "n")
		random := fixed(rapid.Uint64().Draw(rt, "seed"))
		light := rapid.SampledFrom([]uint64{1, 3, core.MaxWeight}).Draw(rt, "light")
		weights := make([]int, n)
		for i := range weights {
			weights[i] = 1 + int(random()%light)
		}
		weights[0], weights[1] = core.MaxWeight, core.MaxWeight-1
		sum, _ := total(weights)
		cands := candidates(weights...)
		shares := balance.Shares(cands, balance.WeightedRoundRobin)
		period := max(65_536, 16*n)
		tiny := 0.0
		for _, w := range weights {
			if float64(w)/float64(sum) < 1.0/65_536 {
				tiny = 1.0 / 16
			}
		}
		for i, w := range weights {
			due := float64(w) / float64(sum)
			if math.Abs(shares[i]-due) > 1.0/65_536+tiny*due || shares[i] == 0 {
				rt.Fatalf("share %d of weight %d among %d: %g, due %g", i, w, sum, shares[i], due)
			}
		}
		p, err := balance.New(balance.WeightedRoundRobin, cands, random)
		require.NoError(rt, err)
		if sum <= period { // exact after all
			return
		}
		for i, got := range count(p, period, n) {
			if math.Abs(float64(got)/float64(period)-shares[i]) > 1e-12 {
				rt.Fatalf("candidate %d got %d of %d, but its share is %g", i, got, period, shares[i])
			}
		}
	})
}

func TestManyEqualCandidatesStayExact(t *testing.T) {
	const n = 100_000
	p := build(t, balance.WeightedRoundRobin, repeat(n, func(int) int { return 100 }), nil)
	for i, got := range count(p, n, n) {
		if got != 1 {
			t.Fatalf("candidate %d got %d of one round", i, got)
		}
	}
}

// TestDrawsFollowTheShares is a chi-square test with fixed seeds: the bound is the quantile
// 0.999 for its degrees of freedom.
func TestDrawsFollowTheShares(t *testing.T) {
	const picks = 200_000
	for name, weights := range map[string][]int{
		"equal":  {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5},
		"skewed": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1_000},
		"zeros":  {0, 3, 0, 9, 1, 2, 8, 4, 4, 4, 4, 4, 1},
	} {
		for _, policy := range []balance.Policy{balance.WeightedRandom, balance.Random} {
			cands := candidates(weights...)
			shares := balance.Shares(cands, policy)
			got := count(build(t, policy, cands, fixed(7)), picks, len(weights))
			chi := 0.0
			for i, share := range shares {
				if share == 0 {
					assert.Zero(t, got[i], "%s of %s: a share of 0", policy, name)
					continue
				}
				off := float64(got[i]) - share*picks
				chi += off * off / (share * picks)
			}
			assert.Less(t, chi, 29.59, "%s of %s", policy, name) // 10 degrees of freedom
		}
	}
}

func TestShares(t *testing.T) {
	cands := candidates(100, 300, 0)
	assert.InDeltaSlice(t, []float64{0.25, 0.75, 0}, balance.Shares(cands, balance.WeightedRoundRobin), 1e-12)
	assert.InDeltaSlice(t, []float64{0.25, 0.75, 0}, balance.Shares(cands, balance.WeightedRandom), 1e-12)
	assert.InDeltaSlice(t, []float64{0.5, 0.5, 0}, balance.Shares(cands, balance.RoundRobin), 1e-12)
	assert.InDeltaSlice(t, []float64{0.5, 0.5, 0}, balance.Shares(cands, balance.Random), 1e-12)
}

func TestFleetDoesNotStartTogether(t *testing.T) {
	cands := candidates(1, 1, 1, 1, 1, 1, 1, 1)
	starts := map[int]bool{}
	for range 100 {
		starts[build(t, balance.WeightedRoundRobin, cands, nil).Pick("")] = true
	}
	assert.Greater(t, len(starts), 1)
}

func TestSame(t *testing.T) {
	cands := candidates(1, 2)
	for _, policy := range policies {
		p := build(t, policy, cands, nil)
		assert.True(t, p.Same(candidates(1, 2)), policy)
		assert.False(t, p.Same(candidates(1, 3)), policy)
		assert.False(t, p.Same(candidates(1, 2, 3)), policy)
		assert.False(t, p.Same([]balance.Candidate{cands[1], cands[0]}), policy)
	}
	given := candidates(1, 2)
	p := build(t, balance.RoundRobin, given, nil)
	given[0].Weight = 9
	assert.True(t, p.Same(cands), "the list that was given is not kept")
}

func TestConcurrentPicksAreExactTogether(t *testing.T) {
	const goroutines, rounds = 8, 1_000
	cands := candidates(3, 2, 1)
	p := build(t, balance.WeightedRoundRobin, cands, nil)
	got := make([][]int, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { got[g] = count(p, 6*rounds, len(cands)) })
	}
	wg.Wait()
	sum := make([]int, len(cands))
	for _, counts := range got {
		for i, n := range counts {
			sum[i] += n
		}
	}
	assert.Equal(t, []int{3 * goroutines * rounds, 2 * goroutines * rounds, goroutines * rounds}, sum)
}

func TestConcurrentDraws(t *testing.T) {
	for _, policy := range []balance.Policy{balance.WeightedRandom, balance.Random} {
		p := build(t, policy, candidates(3, 2, 1), nil)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { count(p, 10_000, 3) })
		}
		wg.Wait()
	}
}

func TestPickersDoNotAllocate(t *testing.T) {
	cands := repeat(100, func(i int) int { return 1 + i%7 })
	for _, policy := range policies {
		p := build(t, policy, cands, nil)
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			p.Pick("key")
			p.Same(cands)
			p.Bytes()
		}), policy)
	}
}

func TestParsePolicy(t *testing.T) {
	for in, want := range map[string]balance.Policy{
		"": balance.WeightedRoundRobin, "weighted_round_robin": balance.WeightedRoundRobin,
		"round_robin": balance.RoundRobin, "weighted_random": balance.WeightedRandom, "random": balance.Random,
	} {
		got, err := balance.ParsePolicy("policy", in)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, err := balance.ParsePolicy("load_balancing.strategy", "fastest")
	require.ErrorIs(t, err, core.ErrInvalid)
	require.EqualError(t, err, `load_balancing.strategy: "fastest" is not allowed; use weighted_round_robin (the default), `+
		`round_robin, weighted_random or random`)
	_, err = balance.ParsePolicy("policy", "least_connections")
	require.ErrorIs(t, err, core.ErrUnsupported)
	require.ErrorContains(t, err, "does not support it yet; use weighted_round_robin")
	_, err = balance.New("maglev", nil, nil)
	require.ErrorIs(t, err, core.ErrInvalid)
}
