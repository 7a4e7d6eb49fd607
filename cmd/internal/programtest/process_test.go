//go:build unix

package programtest_test

// process_test.go: the end of a process whose child lives on.

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/cmd/internal/programtest"
)

func TestAChildLeftBehindHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	p := programtest.Binaries{Program: "/bin/sh"}.Launch(t, "-c", "sleep 60 & echo child $!; wait")
	child, err := strconv.Atoi(strings.Fields(p.Line("child"))[1])
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, syscall.Kill(child, syscall.SIGKILL)) })
	began := time.Now()
	p.Kill()
	assert.Less(t, time.Since(began), 30*time.Second, "it waited for the child's end")
}
