package hoststate_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/hoststate"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// logged is what a journal has logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func options(t *testing.T) (hoststate.Options, *logged) {
	t.Helper()
	log := &logged{}
	return hoststate.Options{
		Dir: filepath.Join(t.TempDir(), "state"), Backend: "etcd", Namespace: "prism", Address: "127.0.0.1:8640",
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}, log
}

func open(t *testing.T, o hoststate.Options) *hoststate.Journal {
	t.Helper()
	j, err := hoststate.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, j.Close()) })
	return j
}

// files lists the state files of a folder, without locks.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}

func record(id string) ports.Record {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	key := core.Key{Service: "svc", ID: id}
	lease := core.NewLease(key, core.Generation{}.Next())
	return ports.Record{
		Key: key, Generation: lease.Generation, Session: "s1", Owner: "me", LeaseHash: lease.Hash(),
		State:        core.State{Declared: core.DeclaredMaintenance, ByOperator: true, Actor: "ann", Reason: "disk", Streak: -2, ChangedAt: at},
		Body:         []byte(`{"host": "127.0.0.1",  "x":"<&>"}`),
		RegisteredAt: at, UpdatedAt: at,
	}
}

func held(id string) ports.Note { return ports.Note{Held: &ports.NotedInstance{Record: record(id)}} }

func session(id ports.SessionID) ports.Note {
	return ports.Note{Opened: &ports.NotedSession{ID: id, Class: 15 * time.Second, TTL: 20 * time.Second}}
}

func ids(r ports.Recalled) []string {
	var out []string
	for _, in := range r.Instances {
		out = append(out, in.Record.Key.ID)
	}
	slices.Sort(out)
	return out
}

// People edit records with the store's own tools, which lay them out over several lines.
func TestABodyOfSeveralLinesIsOneLineOfTheFile(t *testing.T) {
	o, log := options(t)
	first := open(t, o)
	laidOut := held("edited")
	laidOut.Held.Record.Body = []byte("{\n  \"host\": \"127.0.0.1\",\r\n  \"x\": \"<&>\\n\"\n}")
	first.Note(held("before"), laidOut, held("after"))
	require.NoError(t, first.Close())
	again := open(t, o)
	assert.Equal(t, []string{"after", "before", "edited"}, ids(again.Recall()))
	for _, in := range again.Recall().Instances {
		if in.Record.Key.ID == "edited" {
			assert.JSONEq(t, string(laidOut.Held.Record.Body), string(in.Record.Body))
		}
	}
	assert.Empty(t, log.String())
}

func TestWhatWasNotedIsRecalled(t *testing.T) {
	o, log := options(t)
	first := open(t, o)
	assert.Equal(t, ports.Recalled{}, first.Recall())
	own := ports.NotedInstance{Record: record("own"), Own: true}
	other := ports.NotedInstance{Record: record("other")}
	alive := time.Date(2026, 5, 4, 3, 2, 1, 500e6, time.UTC)
	first.Note(ports.Note{Epoch: "e1"}, session("s1"), session("s2"), ports.Note{Alive: alive}, held("gone"))
	first.Note(ports.Note{Held: &own}, ports.Note{Held: &other}, ports.Note{Ended: "s2"}, ports.Note{Released: core.Key{Service: "svc", ID: "gone"}})
	require.NoError(t, first.Close())

	for range 2 { // the second time from the file that the first opening wrote
		again := open(t, o)
		got := again.Recall()
		assert.Equal(t, "e1", got.Epoch)
		assert.True(t, alive.Equal(got.Alive), got.Alive)
		assert.Equal(t, []ports.NotedSession{{ID: "s1", Class: 15 * time.Second, TTL: 20 * time.Second}}, got.Sessions)
		assert.ElementsMatch(t, []ports.NotedInstance{own, other}, got.Instances)
		require.NoError(t, again.Close())
	}
	assert.Empty(t, log.String())
	assert.Len(t, files(t, o.Dir), 1)
}

func TestWhatWasWaitedForIsInTheFile(t *testing.T) {
	o, _ := options(t)
	j := open(t, o)
	var wg sync.WaitGroup
	for i := range 200 { // many at once share what makes them safe
		wg.Go(func() {
			id := fmt.Sprintf("i%d", i)
			j.Note(held(id))
			j.Sync(t.Context())
			data, err := os.ReadFile(files(t, o.Dir)[0])
			assert.True(t, err == nil && strings.Contains(string(data), `"id":"`+id+`"`), "%s: %v", id, err)
		})
	}
	wg.Wait()
	killed := o // what a kill leaves is what another can read now
	killed.Dir = t.TempDir()
	data, err := os.ReadFile(files(t, o.Dir)[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(killed.Dir, filepath.Base(files(t, o.Dir)[0])), data, 0o600))
	assert.Len(t, open(t, killed).Recall().Instances, 200)
}

func TestSyncEndsWithItsContextAndAfterClose(t *testing.T) {
	o, _ := options(t)
	j := open(t, o)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	j.Sync(ended)
	require.NoError(t, j.Close())
	j.Note(held("late"))
	j.Sync(t.Context())
	assert.Empty(t, open(t, o).Recall().Instances)
}

func TestOneHostAtATime(t *testing.T) {
	o, _ := options(t)
	first := open(t, o)
	_, err := hoststate.Open(o)
	require.ErrorIs(t, err, core.ErrConflict)
	assert.Equal(t, "conflict: server.data_dir: another host keeps its state for the backend etcd, the namespace prism and the address "+
		"127.0.0.1:8640 in "+o.Dir+"; stop it, or give this host another address or another server.data_dir", err.Error())
	for _, change := range []func(*hoststate.Options){
		func(o *hoststate.Options) { o.Backend = "redis" }, func(o *hoststate.Options) { o.Namespace = "other" },
		func(o *hoststate.Options) { o.Address = "127.0.0.1_8640" }, // which reads the same as a file's name
	} {
		elsewhere := o
		change(&elsewhere)
		open(t, elsewhere)
	}
	require.NoError(t, first.Close())
	open(t, o)
}

func TestAFolderThatCannotBeUsedIsNamed(t *testing.T) {
	o, _ := options(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	o.Dir = filepath.Join(file, "state")
	_, err := hoststate.Open(o)
	require.ErrorIs(t, err, core.ErrInvalid)
	assert.Equal(t, "server.data_dir: the folder "+o.Dir+" cannot be made (not a directory); name one that this user may write to", err.Error())
}

func TestAFileThatCannotBeReadIsPutAside(t *testing.T) {
	o, _ := options(t)
	head := `{"prism_state":1,"backend":"etcd","namespace":"prism","address":"127.0.0.1:8640"}` + "\n"
	for name, c := range map[string]struct{ content, says string }{
		"empty":            {"", "no state file"},
		"foreign":          {"# a note to myself\n", "no state file"},
		"newer":            {strings.Replace(head, ":1,", ":2,", 1), "format 2, and this version reads format 1"},
		"another's":        {strings.Replace(head, "etcd", "redis", 1), "it is of the backend redis"},
		"damaged":          {head + "{\"epoch\":\"e\"}\n{\"opened\n{\"ended\":\"s\"}\n", "line 3"},
		"damaged record":   {head + "{\"held\":{\"v\":1}}\n{\"ended\":\"s\"}\n", "line 2"},
		"damaged session":  {head + "{\"opened\":{\"id\":\"x\"}}\n{\"ended\":\"s\"}\n", "line 2: it holds no session"},
		"tombstone":        {head + "{\"held\":{\"v\":1,\"service\":\"a\",\"id\":\"b\",\"generation\":\"1-a\",\"cause\":\"expired\"}}\n{\"ended\":\"s\"}\n", "line 2"},
		"damaged lifetime": {head + "{\"alive\":\"noon\"}\n{\"ended\":\"s\"}\n", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			o, log := o, &logged{}
			o.Dir, o.Logger = t.TempDir(), slog.New(slog.NewTextHandler(log, nil))
			first := open(t, o)
			path := files(t, o.Dir)[0]
			require.NoError(t, first.Close())
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))

			j := open(t, o)
			assert.Equal(t, ports.Recalled{}, j.Recall())
			assert.Contains(t, log.String(), "cannot be read")
			assert.Contains(t, log.String(), c.says)
			found := files(t, o.Dir)
			require.Len(t, found, 2)
			aside, err := os.ReadFile(found[1])
			require.NoError(t, err)
			assert.Equal(t, c.content, string(aside))
			assert.Contains(t, log.String(), found[1])
			j.Note(held("new"))
			require.NoError(t, j.Close())
			assert.Equal(t, []string{"new"}, ids(open(t, o).Recall()))
		})
	}
}

func TestALastLineThatWasNotWrittenToItsEndIsLeftOut(t *testing.T) {
	o, log := options(t)
	j := open(t, o)
	j.Note(held("a"), held("b"))
	require.NoError(t, j.Close())
	path := files(t, o.Dir)[0]
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, tail := range []string{"", "\x00\x00\x00", "\n\x00\x00\n\x00"} { // as disks leave it
		require.NoError(t, os.WriteFile(path, append(slices.Clone(whole[:len(whole)-20]), tail...), 0o600))
		again := open(t, o)
		assert.Equal(t, []string{"a"}, ids(again.Recall()))
		again.Note(held("c"))
		require.NoError(t, again.Close())
		last := open(t, o)
		assert.Equal(t, []string{"a", "c"}, ids(last.Recall()), "what follows is read")
		require.NoError(t, last.Close())
	}
	assert.Empty(t, log.String())
}

func TestTheFileDoesNotGrowWithoutEnd(t *testing.T) {
	o, _ := options(t)
	j := open(t, o)
	j.Note(session("s1"), held("kept"))
	for range 6 {
		for range 1000 {
			j.Note(held("busy"), ports.Note{Released: core.Key{Service: "svc", ID: "busy"}})
		}
		j.Sync(t.Context())
	}
	info, err := os.Stat(files(t, o.Dir)[0])
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(6000*500), "12,000 changes")
	require.NoError(t, j.Close())
	got := open(t, o).Recall()
	assert.Equal(t, []string{"kept"}, ids(got))
	assert.Len(t, got.Sessions, 1)
}

func TestThatTheHostLivesIsNotedOnceASecond(t *testing.T) {
	o, _ := options(t)
	j := open(t, o)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 30 {
		j.Note(ports.Note{Alive: start.Add(time.Duration(i) * 100 * time.Millisecond)})
	}
	j.Sync(t.Context())
	data, err := os.ReadFile(files(t, o.Dir)[0])
	require.NoError(t, err)
	assert.Equal(t, 3, strings.Count(string(data), "alive"))
	require.NoError(t, j.Close())
	assert.Equal(t, start.Add(2*time.Second), open(t, o).Recall().Alive.UTC())
}

func TestTheFolderAndTheFileAreTheUsersOwn(t *testing.T) {
	o, _ := options(t)
	open(t, o).Note(held("a"))
	for path, want := range map[string]os.FileMode{o.Dir: 0o700, files(t, o.Dir)[0]: 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), path)
	}
}

func TestTheDefaultFolderIsTheUsers(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir, err := hoststate.DefaultDir()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(os.Getenv("XDG_STATE_HOME"), "prism"), dir)
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "")
	_, err = hoststate.DefaultDir()
	require.ErrorIs(t, err, core.ErrInvalid)
	assert.Contains(t, err.Error(), "server.data_dir")
}
