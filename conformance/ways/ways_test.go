package ways_test

// ways_test.go: what is joined stays visible to the suite. The ways themselves are shown by
// the tests of every backend, plugins/memory first.

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var errOpened = errors.New("opened")

func nowhere(context.Context, string) (ports.Backend, error) { return nil, errOpened }

// stoppable can do one thing.
type stoppable struct{}

func (stoppable) CanInflict(f conformance.Fault) bool              { return f == conformance.FaultStop }
func (stoppable) Inflict(context.Context, conformance.Fault) error { return nil }
func (stoppable) Mend(context.Context) error                       { return nil }

func TestMeansAreJoinedInAnyOrder(t *testing.T) {
	bare := ways.InProcess(nowhere)
	stop := conformance.Case{Needs: []conformance.Fault{conformance.FaultStop}}
	cut := conformance.Case{Needs: []conformance.Fault{conformance.FaultCut}}
	writes := conformance.Case{Writes: true}
	for name, tt := range map[string]struct {
		harness      conformance.Harness
		stop, writes bool
	}{
		"bare":                {bare, false, false},
		"faults":              {ways.WithFaults(bare, stoppable{}), true, false},
		"vandal":              {ways.WithVandal(bare, ways.NoDocuments{}), false, true},
		"faults, then vandal": {ways.WithVandal(ways.WithFaults(bare, stoppable{}), ways.NoDocuments{}), true, true},
		"vandal, then faults": {ways.WithFaults(ways.WithVandal(bare, ways.NoDocuments{}), stoppable{}), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.harness.Open(t.Context(), "prism")
			require.ErrorIs(t, err, errOpened)
			assert.Equal(t, tt.stop, stop.Missing(tt.harness) == "")
			assert.Equal(t, tt.writes, writes.Missing(tt.harness) == "")
			assert.Contains(t, cut.Missing(tt.harness), `"cut"`)
		})
	}
}

func TestNoDocumentsSaysSo(t *testing.T) {
	require.ErrorIs(t, ways.NoDocuments{}.Corrupt(t.Context(), "", core.Key{}), ports.ErrUnsupported)
	require.ErrorIs(t, ways.NoDocuments{}.NewerFormat(t.Context(), "", core.Key{}), ports.ErrUnsupported)
	require.ErrorIs(t, ways.NoDocuments{}.AddField(t.Context(), "", core.Key{}, "f", nil), ports.ErrUnsupported)
	_, err := ways.NoDocuments{}.Field(t.Context(), "", core.Key{}, "f")
	require.ErrorIs(t, err, ports.ErrUnsupported)
}

func TestBuildSaysWhatFailed(t *testing.T) {
	_, _, err := ways.Build("./cmd/no-such-program")
	require.ErrorContains(t, err, "no-such-program")
}
