package backendkit_test

// get_test.go: Get over the table in memory.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestGetAnswersInTheOrderOfTheKeys(t *testing.T) {
	to := newTable()
	apply(t, to, put(rec("a", 1), core.Generation{}), put(rec("b", 1), core.Generation{}))
	apply(t, to, ports.Mutation{Delete: &ports.Delete{Key: key("b"), Generation: rec("b", 1).Generation}})
	to.loads = 0
	found, err := backendkit.Get(t.Context(), to, []core.Key{key("b"), key("none"), {Service: "no/name", ID: "a"}, key("a"), key("a")})
	require.NoError(t, err)
	require.Len(t, found, 5)
	assert.Equal(t, key("b"), found[0].Tombstone.Key)
	assert.Nil(t, found[0].Record)
	assert.Equal(t, ports.Found{}, found[1])
	assert.Equal(t, ports.Found{}, found[2])
	assert.Equal(t, key("a"), found[3].Record.Key)
	assert.Equal(t, found[3], found[4])
	assert.Equal(t, 1, to.loads)

	found, err = backendkit.Get(t.Context(), to, []core.Key{{Service: "no/name"}})
	require.NoError(t, err)
	assert.Equal(t, make([]ports.Found, 1), found)
	assert.Equal(t, 1, to.loads, "the store is not asked for what cannot be")
}

func TestGetRefusesTooManyKeysAndPassesOnErrors(t *testing.T) {
	to := newTable()
	_, err := backendkit.Get(t.Context(), to, make([]core.Key, ports.MaxBatch+1))
	require.ErrorIs(t, err, ports.ErrInvalid)
	require.ErrorContains(t, err, "get: keys")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	found, err := backendkit.Get(ctx, to, []core.Key{key("a")})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "get: ")
	assert.Nil(t, found)
}
