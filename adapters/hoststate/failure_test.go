package hoststate_test

// failure_test.go: a disk that does not take what is written, in place of which a folder that
// was moved away and a file that is no file any more serve.

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/hoststate"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// fill notes so much that the file is written anew.
func fill(t *testing.T, j *hoststate.Journal) {
	t.Helper()
	for range 2500 {
		j.Note(held("busy"), ports.Note{Released: core.Key{Service: "svc", ID: "busy"}})
	}
	j.Sync(t.Context())
}

func TestAStateThatCannotBeWrittenIsGivenUpUntilItCan(t *testing.T) {
	o, log := options(t)
	synctest.Test(t, func(t *testing.T) {
		j, err := hoststate.Open(o)
		require.NoError(t, err)
		defer func() { assert.NoError(t, j.Close()) }()
		j.Note(session("s1"), held("a"))
		j.Sync(t.Context())
		path := files(t, o.Dir)[0]

		require.NoError(t, os.Mkdir(path+".next", 0o700)) // where the next file would be written
		require.NoError(t, os.WriteFile(filepath.Join(path+".next", "x"), nil, 0o600))
		fill(t, j)
		assert.NoFileExists(t, path, "a state that is behind the truth must not be recalled")
		assert.Contains(t, log.String(), "level=ERROR")
		assert.Contains(t, log.String(), "server.data_dir")
		j.Note(held("b"))
		j.Sync(t.Context()) // does not hang
		assert.NoFileExists(t, path)

		require.NoError(t, os.RemoveAll(path+".next"))
		time.Sleep(6 * time.Second)
		j.Note(ports.Note{Alive: time.Now()}) // as comes with each renewal
		j.Sync(t.Context())
		assert.FileExists(t, path)
		assert.Contains(t, log.String(), "written again")
	})
	assert.Equal(t, []string{"a", "b"}, ids(open(t, o).Recall()))
}
