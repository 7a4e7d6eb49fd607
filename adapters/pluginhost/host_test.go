package pluginhost_test

// host_test.go: a plugin that behaves.

import (
	"crypto/tls"
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestOpenUseClose(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	f := newFixture(t, rolePlugin, map[string]any{"close": "mark"})
	f.Env = append(f.Env, varFile+"="+mark)
	events := f.listen()
	h := f.open(t)
	assert.Equal(t, 1, await(t, "start", events.started))

	assert.Equal(t, "toy", h.Info().Name)
	require.NoError(t, h.Health(t.Context()))
	answer, err := order(t.Context(), h, "hello")
	require.NoError(t, err)
	assert.Equal(t, "done", answer)
	found, err := h.Get(t.Context(), make([]core.Key, 3))
	require.NoError(t, err)
	assert.Len(t, found, 3)
	renewed, err := h.RenewSessions(t.Context(), []ports.SessionID{"a", "b"})
	require.NoError(t, err)
	assert.Len(t, renewed, 2)
	require.NoError(t, h.CloseSession(t.Context(), "a"))
	w, err := h.Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	e, err := w.Next(t.Context())
	require.NoError(t, err)
	assert.Equal(t, ports.WatchBookmark, e.Kind)

	s := h.Status()
	assert.Equal(t, pluginhost.StateRunning, s.State)
	assert.Equal(t, "toy", s.Name)
	assert.Equal(t, "1.2.3", s.Version)
	assert.Equal(t, ports.ContractVersion, s.Contract)
	assert.Equal(t, f.Path, s.Path)
	assert.Zero(t, s.Restarts)
	assert.Empty(t, s.LastError)
	assert.False(t, s.Started.IsZero())
	process := tether.byPID(t, s.PID)

	require.NoError(t, h.Close())
	process.mustEnd(t, time.Second)
	assert.Equal(t, "closed", await(t, "end", events.ended))
	closed, err := os.ReadFile(mark)
	require.NoError(t, err, "the backend was closed first, and the process ended then")
	assert.Equal(t, "closed", string(closed))
	_, err = w.Next(t.Context())
	require.ErrorIs(t, err, ports.ErrClosed)
	require.ErrorIs(t, h.Health(t.Context()), ports.ErrClosed)
	assert.Equal(t, pluginhost.StateClosed, h.Status().State)
	require.NoError(t, h.Close())
}

// The socket is private, who gets at it all the same has no certificate, and nothing is made
// outside of the room, where nobody would sweep it.
func TestSocketIsTheHostsAlone(t *testing.T) {
	f := newFixture(t, rolePlugin, nil)
	elsewhere := t.TempDir()
	t.Setenv("TMPDIR", elsewhere)
	f.open(t)
	require.NoError(t, fs.WalkDir(os.DirFS(elsewhere), ".", func(path string, _ fs.DirEntry, err error) error {
		assert.Equal(t, ".", path)
		return err
	}))
	sockets, err := filepath.Glob(filepath.Join(f.RuntimeDir, "h*", "plugin*"))
	require.NoError(t, err)
	sockets = slices.DeleteFunc(sockets, func(path string) bool { return strings.Contains(path, "plugin-dir") })
	require.Len(t, sockets, 1)
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience / 3}, Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(t.Context(), "unix", sockets[0])
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Read(make([]byte, 1)) // TLS 1.3 tells a client of its refusal after the handshake.
	assert.ErrorContains(t, err, "certificate required")
}

func TestDescribe(t *testing.T) {
	f := newFixture(t, rolePlugin, nil)
	d, err := pluginhost.Describe(t.Context(), f.Launch)
	require.NoError(t, err)
	assert.Equal(t, "toy", d.Name)
	assert.Equal(t, "1.2.3", d.Version)
	assert.Equal(t, ports.ContractVersion, d.Contract)
	assert.Len(t, d.Options, 5) // Those of the toy, and the namespace.
}

// Options are made from what the process says that opens them, for each process anew, and
// secrets among them are masked like those of a Launch.
func TestResolve(t *testing.T) {
	f := newFixture(t, rolePlugin, nil)
	calls := 0
	f.Options = nil
	f.Resolve = func(schema []ports.Option) (json.RawMessage, error) {
		calls++
		names := make([]string, 0, len(schema))
		for _, o := range schema {
			names = append(names, o.Name)
		}
		return json.Marshal(map[string]string{"pin": "0123-4567", "url": strings.Join(names, "+")})
	}
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	assert.Equal(t, 1, calls)
	_, err := order(t.Context(), h, "unavailable")
	require.ErrorContains(t, err, "store namespace+open+close+url+pin is away")
	_, err = order(t.Context(), h, "permission")
	require.EqualError(t, err, "pin *** is wrong: permission denied")
	_, err = order(t.Context(), h, "exit")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	assert.Equal(t, 2, await(t, "start", events.started))
	assert.Equal(t, 2, calls)

	f.Resolve = func([]ports.Option) (json.RawMessage, error) { return nil, core.Invalid("backend_config.x", 1, "no") }
	_, err = pluginhost.Open(t.Context(), f.Launch)
	require.ErrorIs(t, err, ports.ErrInvalid)
	require.EqualError(t, err, "backend_config.x: 1 is not allowed; no")
}
