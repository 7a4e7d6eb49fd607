package pluginhost

// room_internal_test.go: the folders for sockets.

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/ports"
)

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ph")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestRoomIsPrivateAndSwept(t *testing.T) {
	base := filepath.Join(shortDir(t), "run")
	living, err := openRoom(t.Context(), base)
	require.NoError(t, err)
	for _, dir := range []string{base, living.dir} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
		}
	}
	// A host that was killed: its room has files and a lock that nobody holds.
	dead := filepath.Join(base, "h123")
	require.NoError(t, os.MkdirAll(filepath.Join(dead, "plugin-dir1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dead, lockName), nil, 0o600))
	unlocked := filepath.Join(base, "h124") // Its host was killed before it locked it.
	require.NoError(t, os.Mkdir(unlocked, 0o700))
	var others []string
	for _, name := range []string{"something-else", "holiday", "h", "h2o", "h125"} {
		others = append(others, filepath.Join(base, name))
		require.NoError(t, os.MkdirAll(filepath.Join(base, name, "photos"), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(base, "holiday", lockName), nil, 0o600))

	next, err := openRoom(t.Context(), base)
	require.NoError(t, err)
	assert.NoDirExists(t, dead)
	assert.DirExists(t, living.dir, "its host lives")
	assert.NoDirExists(t, unlocked)
	for _, other := range others {
		assert.DirExists(t, filepath.Join(other, "photos"), "not ours")
	}
	assert.NoFileExists(t, filepath.Join(base, "h125", lockName))
	living.close()
	next.close()
	assert.NoDirExists(t, living.dir)
	assert.NoDirExists(t, next.dir)
}

func TestRoomWaitsForTheGate(t *testing.T) {
	base := shortDir(t)
	r, err := openRoom(t.Context(), base)
	require.NoError(t, err)
	r.close()
	gate, err := openRoom(t.Context(), base)
	require.NoError(t, err)
	defer gate.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = openRoom(ctx, base)
	require.ErrorIs(t, err, ports.ErrUnavailable)
}

func TestRuntimeFolderIsRefused(t *testing.T) {
	long := "/" + strings.Repeat("x", maxSocketPath-socketTail)
	_, err := runtimeFolder(long)
	require.ErrorIs(t, err, ports.ErrInvalid)
	require.ErrorContains(t, err, "at most 74 bytes")

	open := shortDir(t)
	require.NoError(t, os.Chmod(open, 0o777))
	link := filepath.Join(shortDir(t), "link")
	require.NoError(t, os.Symlink(shortDir(t), link))
	for dir, why := range map[string]string{open: "others may write to it", link: "must be a folder"} {
		_, err = runtimeFolder(dir)
		require.ErrorIs(t, err, ports.ErrInvalid)
		require.ErrorContains(t, err, why)
	}
}

// The longest path that is allowed still makes a socket.
func TestLongestRuntimeFolder(t *testing.T) {
	base := shortDir(t)
	base = filepath.Join(base, strings.Repeat("x", maxSocketPath-socketTail-len(base)-1))
	r, err := openRoom(t.Context(), base)
	require.NoError(t, err)
	defer r.close()
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(r.dir, "plugin4294967295"))
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestDefaultRuntimeFolder(t *testing.T) {
	ours := shortDir(t)
	t.Setenv("XDG_RUNTIME_DIR", ours)
	assert.Equal(t, filepath.Join(ours, "prism"), defaultRuntimeFolder())
	// What su(1) leaves set is another user's, and what a logout took away is not there.
	for _, dir := range []string{"", filepath.Join(ours, "gone"), "relative"} {
		t.Setenv("XDG_RUNTIME_DIR", dir)
		assert.Equal(t, filepath.Clean(os.TempDir()), filepath.Dir(defaultRuntimeFolder()))
	}
}
