//go:build unix

package pluginhost_test

// hang_unix_test.go: processes that are stopped (SIGSTOP), which go-plugin waits for without
// limit.

import (
	"context"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/ports"
)

// A stopped process is found out, killed with its group, and replaced; calls to it end with
// their deadlines.
func TestStoppedProcessIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	f.Heartbeat = time.Second
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	w, err := h.Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	first := tether.byPID(t, h.Status().PID)
	pluginhost.Halt(t, first.pid)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.Health(ctx), context.DeadlineExceeded)
	err = h.Health(t.Context()) // Without a deadline of its own it ends with the process.
	require.ErrorIs(t, err, ports.ErrUnavailable)

	assert.Equal(t, "hung", await(t, "end", events.ended))
	first.mustEnd(t, patience)
	assert.Contains(t, h.Status().LastError, "no sign of life for 2s")
	assert.Equal(t, 2, await(t, "start", events.started))
	require.NoError(t, h.Health(t.Context()))
	for err == nil || assert.ErrorIs(t, err, ports.ErrUnavailable) {
		if _, err = w.Next(t.Context()); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ports.ErrUnavailable)
}

// One missed sign of life is not the end: the machine itself may have paused.
func TestShortStopIsForgiven(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	f.Heartbeat = time.Second
	events := f.listen()
	h := f.open(t)
	pid := h.Status().PID
	pluginhost.Halt(t, pid)
	f.log.waitFor(t, "plugin missed a sign of life")
	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	require.NoError(t, h.Health(t.Context()))
	select {
	case reason := <-events.ended:
		require.Fail(t, "ended", reason)
	case <-time.After(2 * f.Heartbeat):
	}
	assert.Equal(t, pid, h.Status().PID)
	assert.Equal(t, pluginhost.StateRunning, h.Status().State)
}

// Close of a stopped process kills it within its limit.
func TestCloseOfStoppedProcess(t *testing.T) {
	f := newFixture(t, rolePlugin, nil)
	f.CloseTimeout = 300 * time.Millisecond
	h := f.open(t)
	process := tether.byPID(t, h.Status().PID)
	pluginhost.Halt(t, process.pid)
	began := time.Now()
	require.ErrorIs(t, h.Close(), ports.ErrUnavailable)
	assert.Less(t, time.Since(began), patience/2)
	process.mustEnd(t, time.Second)
}

// A descendant that left the group and holds the pipes is out of reach, but delays nothing.
func TestDetachedDescendantHoldsPipes(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // There is no setsid program elsewhere.
	}
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	answer, err := order(t.Context(), h, "child setsid")
	require.NoError(t, err)
	pid, err := strconv.Atoi(answer)
	require.NoError(t, err)
	child := tether.byPID(t, pid)
	t.Cleanup(func() {
		assert.NoError(t, syscall.Kill(child.pid, syscall.SIGKILL))
		child.mustEnd(t, patience)
	})
	_, err = order(t.Context(), h, "exit")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	assert.Equal(t, 2, await(t, "start", events.started))
	require.NoError(t, h.Close())
	assert.True(t, child.alive(), "it was not in the way")
}

// Signals that a terminal or a service manager sends to plugins too do not end them.
func TestSignalsAreTheHosts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	h := f.open(t)
	pid := h.Status().PID
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		require.NoError(t, syscall.Kill(pid, sig))
		f.log.waitFor(t, "a signal was ignored", sig.String())
	}
	require.NoError(t, h.Health(t.Context()))
	assert.Equal(t, pid, h.Status().PID)
	group, err := syscall.Getpgid(pid)
	require.NoError(t, err)
	assert.Equal(t, pid, group, "it leads a group of its own")
}
