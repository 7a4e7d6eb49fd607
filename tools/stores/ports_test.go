package stores_test

// ports_test.go: a port belongs to one server, also while that is down.

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/tools/stores"
)

func TestNoPortIsGivenTwice(t *testing.T) {
	t.Parallel()
	seen := make(map[int]bool)
	for range 1000 { // of 12,000: by chance alone some would come twice
		port, err := stores.FreePort()
		require.NoError(t, err)
		assert.False(t, seen[port], "port %d", port)
		seen[port] = true
	}
	for port := range seen {
		stores.Release(port)
	}
	again := 0
	for range 1000 {
		port, err := stores.FreePort()
		require.NoError(t, err)
		t.Cleanup(func() { stores.Release(port) })
		if seen[port] {
			again++
		}
	}
	assert.Positive(t, again, "what was given back is given again")
}
