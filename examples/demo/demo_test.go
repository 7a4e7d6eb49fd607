package main

// demo_test.go: the demo is Prism's end-to-end test: real programs, real signals, real
// sockets. It builds everything and runs what make demo runs.

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

func TestDemo(t *testing.T) {
	bin := t.TempDir()
	for out, pkg := range map[string]string{
		"prism":                        "github.com/marketprism/prism/cmd/prism",
		"plugins/prism-backend-memory": "github.com/marketprism/prism/plugins/memory/cmd/prism-backend-memory",
		"examples/collector":           "github.com/marketprism/prism/examples/collector",
		"examples/gateway":             "github.com/marketprism/prism/examples/gateway",
	} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, filepath.FromSlash(out)), pkg)
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", said)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	require.NoError(t, run(ctx, bin))
}
