package pluginhost_test

// start_test.go: what can be wrong with a plugin before its backend is open.

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestWrongBinary(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
		return path
	}
	// want are parts of the one sentence that the user reads.
	for name, c := range map[string]struct {
		role string
		path string
		kind error
		want []string
	}{
		"missing":        {path: filepath.Join(dir, "nothing"), kind: ports.ErrNotFound, want: []string{"there is no file", "nothing"}},
		"folder":         {path: dir, kind: ports.ErrInvalid, want: []string{"is a folder", "plugin.dirs"}},
		"not executable": {path: file("plain", "hello", 0o600), kind: ports.ErrInvalid, want: []string{"not executable", "chmod +x"}},
		"no program":     {path: file("garbage", "\x00\x01garbage", 0o700), kind: ports.ErrInvalid, want: []string{"cannot be run", "built for this system"}},
		"no plugin":      {role: roleNoPlugin, kind: ports.ErrInvalid, want: []string{"frobnicate", "is it a Prism backend plugin?"}},
		"newer contract": {role: roleNewer, kind: ports.ErrUnsupported, want: []string{"version 99", "use a newer Prism"}},
		"older contract": {role: roleOlder, kind: ports.ErrUnsupported, want: []string{"version 0", "use a newer plugin"}},
		"net/rpc":        {role: roleNetRPC, kind: ports.ErrInvalid, want: []string{"netrpc", "gRPC"}},
		"another name":   {role: roleOtherName, kind: ports.ErrInvalid, want: []string{`"doll"`, `"toy"`}},
		"not there":      {role: roleNowhere, kind: ports.ErrUnavailable, want: []string{"introduced itself and does not answer"}},
		"crash":          {role: roleCrash, kind: ports.ErrUnavailable, want: []string{"panic: no such luck", "exit status 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.role, nil)
			if c.path != "" {
				f.Path = c.path
			}
			_, err := pluginhost.Open(t.Context(), f.Launch)
			require.ErrorIs(t, err, c.kind)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			_, err = pluginhost.Describe(t.Context(), f.Launch)
			assert.ErrorIs(t, err, c.kind)
		})
	}
}

func TestInvalidLaunch(t *testing.T) {
	for field, edit := range map[string]func(*pluginhost.Launch){
		"backend":        func(l *pluginhost.Launch) { l.Name = "../evil" },
		"plugin.sha256":  func(l *pluginhost.Launch) { l.SHA256 = "abc" },
		"backend_config": func(l *pluginhost.Launch) { l.Options = []byte("{") },
		"plugin.env":     func(l *pluginhost.Launch) { l.Env = []string{"PLUGIN_CLIENT_CERT=x"} },
		"runtime_dir":    func(l *pluginhost.Launch) { l.RuntimeDir = "/tmp/" + string(make([]byte, 80)) },
	} {
		t.Run(field, func(t *testing.T) {
			f := newFixture(t, rolePlugin, nil)
			edit(&f.Launch)
			_, err := pluginhost.Open(t.Context(), f.Launch)
			var wrong *core.FieldError
			require.ErrorAs(t, err, &wrong)
			assert.Equal(t, field, wrong.Field)
			assert.ErrorIs(t, err, ports.ErrInvalid)
		})
	}
}

// A plugin that neither introduces itself nor ends, one that introduces itself and then says
// nothing, and one that does not come back from Open are killed in time.
func TestHangAtStart(t *testing.T) {
	for name, c := range map[string]struct {
		role    string
		options map[string]any
		want    string
	}{
		"silent":              {role: roleSilent, want: "did not introduce itself in time"},
		"frozen":              {role: roleFrozen, want: "did not introduce itself in time"},
		"open hangs":          {role: rolePlugin, options: map[string]any{"open": "hang"}, want: "did not open its backend in time"},
		"open waits for ever": {role: rolePlugin, options: map[string]any{"open": "wait"}, want: "did not open its backend in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, c.role, c.options)
			f.StartTimeout = 4 * time.Second
			_, err := pluginhost.Open(t.Context(), f.Launch)
			require.ErrorIs(t, err, ports.ErrUnavailable)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestStartIsGivenUp(t *testing.T) {
	f := newFixture(t, roleSilent, nil)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := pluginhost.Open(ctx, f.Launch)
		result <- err
	}()
	process := tether.find(t, "the plugin", func(p *tied) bool { return p.role == roleSilent && p.alive() })
	cancel()
	require.ErrorIs(t, await(t, "Open", result), context.Canceled)
	process.mustEnd(t, time.Second)
}

func TestOpenIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		open string
		kind error
	}{
		"invalid option":     {"refuse", ports.ErrInvalid},
		"no permission":      {"deny", ports.ErrPermission},
		"store is away":      {"away-unless /nothing", ports.ErrUnavailable},
		"dies while it does": {"exit", ports.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, rolePlugin, map[string]any{"open": c.open, "url": "toy://u:swordfish@h", "pin": "0123-4567"})
			_, err := pluginhost.Open(t.Context(), f.Launch)
			require.ErrorIs(t, err, c.kind)
			assert.NotContains(t, err.Error(), "swordfish")
			assert.NotContains(t, err.Error(), "0123-4567")
		})
	}
}

// A FieldError crosses with its field, and masked.
func TestRefusedFieldIsMasked(t *testing.T) {
	f := newFixture(t, rolePlugin, map[string]any{"open": "refuse", "url": "toy://u:swordfish@h", "pin": "0123-4567"})
	_, err := pluginhost.Open(t.Context(), f.Launch)
	var wrong *core.FieldError
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, "backend_config.url", wrong.Field)
	assert.Equal(t, `"toy://u:***@h"`, wrong.Given)
	assert.Equal(t, "it must work with pin ***", wrong.Allowed)
}

func TestNoiseBeforeTheHandshake(t *testing.T) {
	t.Parallel()
	f := newFixture(t, roleNoisy, nil)
	h := f.open(t)
	require.NoError(t, h.Health(t.Context()))
	f.log.waitFor(t, "Welcome to the toy store!", `"from":"stdout"`)
}

func TestFloodBeforeTheHandshake(t *testing.T) {
	t.Parallel()
	f := newFixture(t, roleDeafening, nil)
	h := f.open(t)
	require.NoError(t, h.Health(t.Context()))
	assert.Less(t, len(f.log.String()), 1<<20)
}

func TestPinnedBinary(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	sum, err := pluginhost.Digest(f.Path)
	require.NoError(t, err)
	f.SHA256 = sum
	h := f.open(t)
	answer, err := order(t.Context(), h, "args")
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	assert.Equal(t, exe+"\n"+f.Path, answer, "the plugin knows its own place")

	f.SHA256 = "ab" + sum[2:]
	_, err = pluginhost.Open(t.Context(), f.Launch)
	require.ErrorIs(t, err, ports.ErrPermission)
	require.ErrorContains(t, err, sum, "which digest it has")
}

func TestPinnedScript(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // No scripts.
	}
	f := newFixture(t, rolePlugin, nil)
	script := filepath.Join(t.TempDir(), "prism-backend-toy")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nexec "+f.Path+"\n"), 0o700))
	f.Path = script
	var err error
	f.SHA256, err = pluginhost.Digest(script)
	require.NoError(t, err)
	require.NoError(t, f.open(t).Health(t.Context()))
}

func TestEnvironmentIsScrubbed(t *testing.T) {
	t.Setenv("PRISM_TEST_SECRET", "swordfish")
	t.Setenv("PRISM_TEST_COPIED", "copied")
	t.Setenv("PLUGIN_MIN_PORT", "not a port")
	f := newFixture(t, rolePlugin, nil)
	f.Env = append(f.Env, "PRISM_TEST_COPIED")
	answer, err := order(t.Context(), f.open(t), "env")
	require.NoError(t, err)
	assert.NotContains(t, answer, "swordfish")
	assert.NotContains(t, answer, "not a port")
	assert.Contains(t, answer, "PRISM_TEST_COPIED=copied")
	assert.Contains(t, answer, "PATH="+os.Getenv("PATH"))
	assert.Contains(t, answer, "PRISM_PLUGIN_LOG_LEVEL=DEBUG")
}

// The level that a plugin is told is that of the moment in which its process starts.
func TestTheLogLevelIsTheHostsOfNow(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	level := &slog.LevelVar{}
	f.Logger = slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: level}))
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	answer, err := order(t.Context(), h, "env")
	require.NoError(t, err)
	assert.Contains(t, answer, "PRISM_PLUGIN_LOG_LEVEL=INFO")
	level.Set(slog.LevelDebug)
	_, err = order(t.Context(), h, "exit")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	await(t, "start", events.started)
	answer, err = order(t.Context(), h, "env")
	require.NoError(t, err)
	assert.Contains(t, answer, "PRISM_PLUGIN_LOG_LEVEL=DEBUG")
}
