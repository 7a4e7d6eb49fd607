package redis_test

// tail_test.go: what watches see of the changes that a process keeps.

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/plugins/redis"
)

// A watch whose reader is slow has what it took for itself, however much comes meanwhile.
func TestWhatAWatchTookStays(t *testing.T) {
	t.Parallel()
	tail := redis.NewTail()
	for range redis.TailLength {
		tail.Append()
	}
	took := tail.Take(10, 3)
	require.Equal(t, []uint64{11, 12, 13}, took())
	for range redis.TailLength {
		tail.Append()
		require.Equal(t, []uint64{11, 12, 13}, took())
	}
	assert.Empty(t, tail.Take(10, 3)(), "the process has dropped them")
}
