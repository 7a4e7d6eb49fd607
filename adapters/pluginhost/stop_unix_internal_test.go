//go:build unix

package pluginhost

// stop_unix_internal_test.go: go-plugin's Kill waits without limit for a process that is
// stopped; ours does not.

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStopOfStoppedProcess(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	l, err := newLauncher(t.Context(), Launch{Path: exe, Env: []string{"PRISM_TEST_ROLE=plugin"}, RuntimeDir: shortDir(t)})
	require.NoError(t, err)
	defer l.close()
	s, err := l.connect(t.Context())
	require.NoError(t, err)
	Halt(t, s.process.pid())
	began := time.Now()
	s.stop()
	assert.Less(t, time.Since(began), 5*stopGrace)
	require.Error(t, s.process.life.Err())
	assert.Equal(t, "signal: killed", s.process.ended())
}
