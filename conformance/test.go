package conformance

// test.go: the suite as subtests of a Go test.

import (
	"os"
	"strconv"
	"testing"
)

// EnvSeed is the environment variable that gives Test a seed: a number, as failures name it.
const EnvSeed = "PRISM_CONFORMANCE_SEED"

// Test runs every case as a subtest, on one harness: those of the profile core in parallel
// (go test's -parallel bounds how many), then those of faults, one at a time. What the
// harness cannot do is skipped with the words "not run". EnvSeed repeats a run.
func Test(t *testing.T, newHarness func(t *testing.T) Harness) {
	t.Helper()
	var seed uint64
	if text := os.Getenv(EnvSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s is %q; it must be a number, as failures name it", EnvSeed, text)
		}
	}
	cases := Cases(WithSeed(seed))
	h := newHarness(t)
	for _, profile := range []Profile{ProfileCore, ProfileFaults} {
		t.Run(string(profile), func(t *testing.T) {
			for _, c := range cases {
				if c.Profile != profile {
					continue
				}
				t.Run(c.ID, func(t *testing.T) {
					if missing := c.Missing(h); missing != "" {
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
