//go:build unix

package main

// endure_test.go: that it runs, and that it sees what Consul loses or shows otherwise.

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/cmd/internal/programtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestItSeesWhatChanges(t *testing.T) {
	dir := t.TempDir()
	_, err := programtest.Build(t.Context(), dir, "consul")
	require.NoError(t, err)
	require.NoError(t, run(t.Context(), dir, time.Second, 100*time.Millisecond))

	s, err := open(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	require.NoError(t, s.look(t.Context()))

	// Another status shows everywhere; once it is as it was only the indexes tell of it.
	var entries []struct{ Node struct{ Node string } }
	require.NoError(t, s.consul.Call(t.Context(), http.MethodGet, "/v1/health/service/batch", nil, &entries))
	node := entries[0].Node.Node
	write := func(status, output string) {
		check := map[string]any{
			"Node": node, "CheckID": "prism:batch:drained", "Name": "Prism's status", "Status": status, "Output": output, "Type": "external",
			"ServiceID": "prism:batch:drained", "ServiceName": "batch",
		}
		require.NoError(t, s.consul.Call(t.Context(), http.MethodPut, "/v1/catalog/register", map[string]any{
			"Node": node, "Address": "127.0.0.1", "SkipNodeUpdate": true, "Check": check,
		}, nil))
	}
	write("passing", "healthy")
	err = s.look(t.Context())
	require.ErrorContains(t, err, `health batch/drained is "127.0.0.5:8085 weight 1 tags [] passing, healthy" and should be`)
	require.ErrorContains(t, err, `SRV batch is "127.0.0.5:8085 weight 1" and should be "nobody"`)
	require.ErrorContains(t, err, "UI batch is")
	write("critical", "maintenance: for the night")
	err = s.look(t.Context())
	require.ErrorContains(t, err, "last written batch/drained is")
	require.NotContains(t, err.Error(), "health batch")

	require.NoError(t, s.consul.Call(t.Context(), http.MethodPut, "/v1/catalog/deregister", map[string]any{"Node": node}, nil))
	require.ErrorContains(t, s.look(t.Context()), "catalog batch/drained is missing")
}
