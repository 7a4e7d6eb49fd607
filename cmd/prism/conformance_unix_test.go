//go:build unix

package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASuiteThatIsInterruptedEndsInGoodOrder(t *testing.T) {
	plugin, pids := odd(t), t.TempDir()
	p := begin(t, "conformance", "--plugin", plugin, "--set", "backend_config.pids="+pids, "--profile", "core", "--parallel", "2")
	p.Until("a case has passed", func(context.Context) bool { return strings.Contains(p.Stderr(), "  passed  ") })
	assert.Equal(t, exitFailed, p.End(syscall.SIGINT), p.Stderr())
	assert.Contains(t, p.Stdout(), " 0 failed, ")
	assert.Contains(t, p.Stdout(), "not run, as the run was cancelled: context canceled:\n")
	assert.Regexp(t, `prism: the run was interrupted; \d+ of \d+ cases were not run\n`, p.Stderr())
	launched, err := os.ReadDir(pids)
	require.NoError(t, err)
	require.NotEmpty(t, launched)
	for _, entry := range launched {
		pid, err := strconv.Atoi(entry.Name())
		require.NoError(t, err)
		assert.True(t, gone(pid)(t.Context()), "process %d is left", pid)
	}
}
