package conformance

// test.go: the suite as subtests of a Go test.

import "testing"

// Test runs every case as a subtest, on one harness: those of the profile core in parallel
// (go test's -parallel bounds how many), then those of faults, one at a time. What the
// harness cannot do is skipped with the words "not run".
func Test(t *testing.T, newHarness func(t *testing.T) Harness) {
	t.Helper()
	h := newHarness(t)
	for _, profile := range []Profile{ProfileCore, ProfileFaults} {
		t.Run(string(profile), func(t *testing.T) {
			for _, c := range Cases() {
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
