package pluginhost

// pin_internal_test.go: the moment between the check and the execution.

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/ports"
)

// What was hashed is what runs, even when another file takes its place in between.
func TestPinnedFileIsTheOneThatRuns(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // No scripts.
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "prism-backend-toy")
	write := func(name, says string) string {
		require.NoError(t, os.WriteFile(name, []byte("#!/bin/sh\necho "+says+" $0\n"), 0o700))
		return name
	}
	write(path, "good")
	sum, err := Digest(path)
	require.NoError(t, err)
	f, err := openPinned(path, strings.ToUpper(sum))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	require.NoError(t, os.Rename(write(filepath.Join(dir, "evil"), "evil"), path))

	room := t.TempDir()
	cmd := exec.CommandContext(t.Context(), path)
	err = pinnedCommand(cmd, f, room)
	if runtime.GOOS != "linux" {
		require.ErrorIs(t, err, ports.ErrPermission)
		return
	}
	require.NoError(t, err)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, "good "+filepath.Join(room, "prism-backend-toy")+"\n", string(out))

	_, err = openPinned(path, sum)
	require.ErrorIs(t, err, ports.ErrPermission)
}
