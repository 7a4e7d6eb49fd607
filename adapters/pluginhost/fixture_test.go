package pluginhost_test

// fixture_test.go: what most tests of running plugins need.

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/ports"
)

// fixture is a Launch of the test binary with ears.
type fixture struct {
	pluginhost.Launch

	log *logbook
}

// newFixture prepares a launch of the test binary in a role, with options for openToy.
func newFixture(tb testing.TB, role string, options map[string]any) *fixture {
	tb.Helper()
	raw, err := json.Marshal(options)
	require.NoError(tb, err)
	book := newLogbook()
	return &fixture{log: book, Launch: pluginhost.Launch{
		Path: toyBinary(tb), Name: "toy", Options: raw, RuntimeDir: runtimeDir(tb),
		Env: []string{
			varRole + "=" + role, varTether + "=" + tether.listener.Addr().String(),
			"GORACE=atexit_sleep_ms=0", // Else a program built with -race takes a second to exit.
		},
		Logger: slog.New(slog.NewJSONHandler(book, &slog.HandlerOptions{Level: slog.LevelDebug})),
		// Long enough for a loaded machine; what tests of time-outs wait for, they set.
		StartTimeout: patience, CallTimeout: patience, CloseTimeout: patience,
	}}
}

// toyBinary is the test binary under a plugin's name.
func toyBinary(tb testing.TB) string {
	tb.Helper()
	exe, err := os.Executable()
	require.NoError(tb, err)
	path := filepath.Join(tb.TempDir(), "prism-backend-toy")
	require.NoError(tb, os.Symlink(exe, path))
	return path
}

// runtimeDir is short, and must be empty of rooms at the end.
func runtimeDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "ph")
	require.NoError(tb, err)
	tb.Cleanup(func() {
		assert.Empty(tb, rooms(tb, dir), "rooms are left")
		require.NoError(tb, os.RemoveAll(dir))
	})
	return dir
}

func rooms(tb testing.TB, dir string) []string {
	tb.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "h*"))
	require.NoError(tb, err)
	return found
}

// open opens the plugin for the length of the test.
func (f *fixture) open(tb testing.TB) *pluginhost.Host {
	tb.Helper()
	h, err := pluginhost.Open(tb.Context(), f.Launch)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = h.Close() })
	return h
}

// order has the toy carry out a command and returns its answer.
func order(ctx context.Context, b ports.Backend, command string) (string, error) {
	s, err := b.OpenSession(ctx, ports.SessionSpec{ID: "s", TTL: time.Second, Host: command})
	return string(s.ID), err
}

// logbook keeps what is logged and wakes whoever waits for it.
type logbook struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newLogbook() *logbook { return &logbook{changed: make(chan struct{})} }

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.text.Write(p)
}

func (b *logbook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// waitFor returns the first line that holds all of the texts.
func (b *logbook) waitFor(tb testing.TB, texts ...string) string {
	tb.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		changed := b.changed
		text := b.text.String()
		b.mu.Unlock()
		for line := range strings.Lines(text) {
			if containsAll(line, texts) {
				return line
			}
		}
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(tb, "not logged", "%q in\n%s", texts, text)
		}
	}
}

func containsAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

// turns hands on what the hooks of a launch report.
type turns struct {
	started    chan int
	ended      chan string
	restarting chan restarting
}

type restarting struct {
	delay  time.Duration
	broken bool
}

// listen sets the hooks.
func (f *fixture) listen() *turns {
	e := &turns{started: make(chan int, 100), ended: make(chan string, 100), restarting: make(chan restarting, 100)}
	f.Hooks = pluginhost.Hooks{
		Started:    func(generation int, _ time.Duration) { e.started <- generation },
		Ended:      func(_ int, reason string) { e.ended <- reason },
		Restarting: func(delay time.Duration, broken bool) { e.restarting <- restarting{delay, broken} },
	}
	return e
}

// await receives within the patience of the tests.
func await[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(tb, "did not happen", what)
		panic("unreachable")
	}
}
