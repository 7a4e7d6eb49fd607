//go:build unix

package pluginhost

// halt_unix_internal_test.go: what the tests of hung processes share, in and outside of the
// package.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Halt stops a process and waits until all of its threads have stopped, which takes a moment.
func Halt(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.Eventually(t, func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		require.NoError(t, err)
		if len(threads) == 0 { // Not a Linux.
			out, err := exec.CommandContext(t.Context(), "ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
			return err == nil && strings.HasPrefix(strings.TrimSpace(string(out)), "T")
		}
		return !slices.ContainsFunc(threads, func(path string) bool {
			stat, err := os.ReadFile(path)
			return err == nil && !strings.Contains(string(stat), ") T ")
		})
	}, 30*time.Second, time.Millisecond)
}
