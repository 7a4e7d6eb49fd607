package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// anyInstance selects every instance.
var anyInstance = discovery.Query{}

// discoveryOptions follow one service.
func discoveryOptions(service string) discovery.SubscribeOptions {
	return discovery.SubscribeOptions{Service: service}
}

func TestRunEndsAsItsCommandDoes(t *testing.T) {
	w := newWorld(t)
	for script, code := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -KILL $$": 128 + 9} {
		r := invoke(t.Context(), "", "run", "job", "--port", "8081", "--address", w.address, "--", "sh", "-c", "echo out; echo err >&2; "+script)
		assert.Equal(t, code, r.code, r.err)
		assert.Equal(t, "out\n", r.out)
		assert.Equal(t, "err\n", r.err, "prism adds nothing of its own")
		assert.Equal(t, "SERVICE  INSTANCES  HEALTHY\n", w.must("services").out, "it is deregistered")
	}
	list, _, _, err := w.client.Events(discovery.HistoryQuery{Service: "job", Types: []discovery.EventType{core.EventRegistered}})
	require.NoError(t, err)
	assert.Len(t, list, 3)
}

func TestRunDoesNotStartWhatCannotBeRegistered(t *testing.T) {
	w := newWorld(t)
	r := w.prism("run", "job", "--port", "0", "--", "sh", "-c", "echo started")
	assert.Equal(t, exitUsage, r.code)
	assert.Empty(t, r.out)
	w.register("job")
	r = invoke(t.Context(), "", "run", "job", "--port", "8081", "--create-only", "--address", w.address, "--", "sh", "-c", "echo started")
	assert.Equal(t, exitFailed, r.code, r.err)
	assert.Empty(t, r.out)
}
