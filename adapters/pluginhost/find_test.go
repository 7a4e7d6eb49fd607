package pluginhost_test

// find_test.go: which binary is found, and what is said when none is.

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/ports"
)

// binary makes a file that could be a plugin.
func binary(t *testing.T, dir, name string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(path, []byte(name), mode))
	return path
}

func TestFindInOrder(t *testing.T) {
	root := t.TempDir()
	file := binary(t, filepath.Join(root, "file"), "anything", 0o700)
	first := binary(t, filepath.Join(root, "first"), "prism-backend-toy", 0o700)
	second := binary(t, filepath.Join(root, "second"), "prism-backend-toy", 0o700)
	variable := binary(t, filepath.Join(root, "variable"), "prism-backend-toy", 0o700)
	exe, err := os.Executable()
	require.NoError(t, err)
	beside := binary(t, filepath.Join(filepath.Dir(exe), "plugins"), "prism-backend-toy", 0o700)
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(beside)) })
	t.Setenv("PRISM_PLUGIN_DIR", filepath.Join(root, "nothing")+string(filepath.ListSeparator)+filepath.Dir(variable))
	dirs := []string{filepath.Join(root, "nothing"), filepath.Dir(first), filepath.Dir(second)}

	for _, want := range []string{file, first, second, variable, beside} {
		given := ""
		if want == file {
			given = file
		}
		got, err := pluginhost.Find("toy", given, dirs)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		require.NoError(t, os.Remove(want))
	}
	_, err = pluginhost.Find("toy", "", dirs)
	require.ErrorIs(t, err, ports.ErrNotFound)
	for _, looked := range []string{first, second, variable, beside} {
		require.ErrorContains(t, err, filepath.Dir(looked))
	}
	require.ErrorContains(t, err, "go build")
	require.ErrorContains(t, err, "plugin.dirs")
}

func TestFindSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	binary(t, dir, "prism-backend-toy", 0o600)
	_, err := pluginhost.Find("toy", "", []string{dir})
	require.ErrorIs(t, err, ports.ErrNotFound)
	require.ErrorContains(t, err, "is not executable; run `chmod +x` on it")

	_, err = pluginhost.Find("toy", filepath.Join(dir, "nothing"), nil)
	require.ErrorIs(t, err, ports.ErrNotFound)
	_, err = pluginhost.Find("toy", dir, nil)
	require.ErrorIs(t, err, ports.ErrInvalid)
	for _, name := range []string{"", "../toy", "Toy", "a/b", "toy "} {
		_, err = pluginhost.Find(name, "", []string{dir})
		require.ErrorIs(t, err, ports.ErrInvalid, name)
	}
}

func TestList(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PRISM_PLUGIN_DIR", "")
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	binary(t, a, "prism-backend-toy", 0o700)
	binary(t, a, "prism-backend-plain", 0o600)
	binary(t, a, "other", 0o700)
	binary(t, a, "prism-backend-Bad Name", 0o700)
	binary(t, b, "prism-backend-toy", 0o700)
	binary(t, b, "prism-backend-plain", 0o700)
	require.NoError(t, os.MkdirAll(filepath.Join(b, "prism-backend-folder"), 0o700))

	found := pluginhost.List([]string{a, filepath.Join(root, "nothing"), b, a})
	require.Len(t, found, 5)
	assert.Equal(t, "plain", found[0].Name)
	assert.Contains(t, found[0].Problem, "not executable")
	assert.Equal(t, pluginhost.Found{Name: "toy", Path: filepath.Join(a, "prism-backend-toy")}, found[1])
	assert.Equal(t, "folder", found[2].Name)
	assert.Contains(t, found[2].Problem, "is a folder")
	assert.Equal(t, pluginhost.Found{Name: "plain", Path: filepath.Join(b, "prism-backend-plain")}, found[3], "the one in a cannot be run")
	assert.Equal(t, pluginhost.Found{Name: "toy", Path: filepath.Join(b, "prism-backend-toy"), Shadowed: true}, found[4])
}
