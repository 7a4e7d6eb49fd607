package memory_test

// memory_test.go: the conformance suite over the backend in three ways. Which of them fail
// tells where a fault is: in the backend, on the wire, or in the life of the process.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	backendtest.Main(m, "./cmd/prism-backend-memory", &binary, 12)
}

// Pinned: a backend that claims less is asked for less.
func TestClaims(t *testing.T) {
	want := ports.Info{
		Name: "memory", Version: "1.0.0",
		Capabilities: ports.Capabilities{History: true},
		Limits:       ports.Limits{MaxExpiryDelay: 250e6, MinSessionTTL: 1e9},
	}
	assert.Equal(t, want, memory.Info())
	for name, h := range map[string]conformance.Harness{"in process": inProcess(), "over the wire": overTheWire(), "launched": launched(t)} {
		b, err := h.Open(t.Context(), "prism")
		require.NoError(t, err, name)
		assert.Equal(t, want, b.Info(), name)
		require.NoError(t, b.Close(), name)
	}
}

func TestConformanceInProcess(t *testing.T) {
	conformance.Test(t, func(*testing.T) conformance.Harness { return inProcess() })
}

func TestConformanceOverTheWire(t *testing.T) {
	conformance.Test(t, func(*testing.T) conformance.Harness { return overTheWire() })
}

func TestConformanceLaunched(t *testing.T) {
	conformance.Test(t, launched, conformance.WithNoneLeftOut())
}

func inProcess() conformance.Harness {
	return ways.WithVandal(ways.InProcess(func(ctx context.Context, namespace string) (ports.Backend, error) {
		return memory.Open(ctx, memory.Options{Namespace: namespace})
	}), ways.NoDocuments{})
}

func overTheWire() conformance.Harness {
	return ways.WithVandal(ways.OverTheWire(pluginrpc.PluginOf(memory.Info(), nil, memory.Open), nil), ways.NoDocuments{})
}

// launched has a store that can be broken: it is the plugin's process.
func launched(t *testing.T) conformance.Harness {
	t.Helper()
	return ways.WithVandal(ways.LaunchedStore(t.TempDir(), binary, "memory", nil), ways.NoDocuments{})
}
