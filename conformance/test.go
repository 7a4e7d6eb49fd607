package conformance

// test.go: the suite as subtests of a Go test.

import (
	"os"
	"slices"
	"strconv"
	"testing"
)

// EnvSeed is the environment variable that gives Test a seed: a number, as failures name it.
const EnvSeed = "PRISM_CONFORMANCE_SEED"

// WithNoneLeftOut has Test fail, rather than skip, what the harness cannot do: for a harness that
// has all means, so that nobody takes one away unseen.
func WithNoneLeftOut() Option { return func(o *options) { o.noneLeftOut = true } }

// Test runs every case as a subtest, on one harness: those of the profile core in parallel
// (go test's -parallel bounds how many), then those of faults, one at a time. What the
// harness cannot do is skipped with the words "not run", unless WithNoneLeftOut is among the
// options. EnvSeed repeats a run.
func Test(t *testing.T, newHarness func(t *testing.T) Harness, opts ...Option) {
	t.Helper()
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if text := os.Getenv(EnvSeed); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s is %q; it must be a number, as failures name it", EnvSeed, text)
		}
		opts = append(slices.Clone(opts), WithSeed(seed))
	}
	cases := Cases(opts...)
	h := newHarness(t)
	for _, profile := range []Profile{ProfileCore, ProfileFaults} {
		t.Run(string(profile), func(t *testing.T) {
			for _, c := range cases {
				if c.Profile != profile {
					continue
				}
				t.Run(c.ID, func(t *testing.T) {
					if missing := c.Missing(h); missing != "" {
						if o.noneLeftOut {
							t.Fatalf("not run, and none may be left out: %s", missing)
						}
						t.Skipf("not run: %s", missing)
					}
					if profile == ProfileCore {
						t.Parallel()
					}
					c.Run(t, h)
				})
			}
		})
	}
}
