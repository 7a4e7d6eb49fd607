package discovery

// pick_internal_test.go: how much is kept of what picks came to.

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/marketprism/prism/core/balance"
)

func TestWhatPicksCameToIsKeptWithinBounds(t *testing.T) {
	var p pickers
	p.init()
	large := make([]balance.Candidate, maxCandidates/4)
	for i := range 9 {
		key := pickKey{filter: strconv.Itoa(i)}
		p.cell(key).now.Store(&rotation{cands: large})
		assert.LessOrEqual(t, candidates(*p.cells.Load()), maxCandidates)
		assert.Contains(t, *p.cells.Load(), key)
	}
}
