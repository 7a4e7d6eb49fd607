package discovery

// pick_internal_test.go: how much is kept of what picks came to.

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core/balance"
)

func TestWhatPicksCameToIsKeptWithinBounds(t *testing.T) {
	long, err := balance.New(balance.WeightedRoundRobin, []balance.Candidate{{ID: "a", Weight: 32_767}, {ID: "b", Weight: 32_768}}, nil)
	require.NoError(t, err)
	for name, large := range map[string]*rotation{
		"many candidates": {picker: long, cands: make([]balance.Candidate, maxPickerBytes/candidateBytes/4)},
		"a long order":    {picker: long, cands: make([]balance.Candidate, 2)},
	} {
		var p pickers
		p.init()
		for i := range 1000 {
			key := pickKey{filter: strconv.Itoa(i)}
			p.cell(key).now.Store(large)
			last := kept(map[pickKey]*pickCell{key: p.cell(key)}) // it is worked out after there was room for it
			assert.Less(t, kept(*p.cells.Load()), maxPickerBytes+last, name)
			assert.Contains(t, *p.cells.Load(), key, name)
		}
		assert.Less(t, len(*p.cells.Load()), 1000, name)
	}
}
