//go:build unix

package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASuiteThatIsInterruptedEndsInGoodOrder(t *testing.T) {
	plugin, pids := odd(t), t.TempDir()
	var out strings.Builder
	var mu sync.Mutex
	p := begin(t, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		out.WriteString(line + "\n")
	}, "conformance", "--plugin", plugin, "--set", "backend_config.pids="+pids, "--profile", "core", "--parallel", "2")
	p.until("a case has passed", func(context.Context) bool { return strings.Contains(p.log(), "  passed  ") })
	assert.Equal(t, exitFailed, p.end(syscall.SIGINT), p.log())
	mu.Lock()
	defer mu.Unlock()
	assert.Contains(t, out.String(), " 0 failed, ")
	assert.Contains(t, out.String(), "not run, as the run was cancelled: context canceled:\n")
	assert.Regexp(t, `prism: the run was interrupted; \d+ of \d+ cases were not run\n`, p.log())
	launched, err := os.ReadDir(pids)
	require.NoError(t, err)
	require.NotEmpty(t, launched)
	for _, entry := range launched {
		pid, err := strconv.Atoi(entry.Name())
		require.NoError(t, err)
		assert.True(t, gone(pid)(t.Context()), "process %d is left", pid)
	}
}
