package pluginhost_test

// restart_test.go: processes that end or hang are replaced.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/ports"
)

// A process that dies in a call fails that call, ends watches, and is replaced at once by one
// that is open with the same options.
func TestDeathInACall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ command, why string }{
		"exit":  {"exit", "exit status 7"},
		"panic": {"panic", "panic: it hurts"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, rolePlugin, map[string]any{"open": "log opened", "pin": "0123-4567"})
			events := f.listen()
			h := f.open(t)
			assert.Equal(t, 1, await(t, "start", events.started))
			first := tether.byPID(t, h.Status().PID)
			w, err := h.Watch(t.Context(), ports.WatchRequest{Follow: true})
			require.NoError(t, err)
			_, err = w.Next(t.Context())
			require.NoError(t, err)
			ends := make(chan error, 1)
			go func() {
				_, err := w.Next(context.Background())
				ends <- err
			}()

			_, err = order(t.Context(), h, c.command)
			require.ErrorIs(t, err, ports.ErrUnavailable)
			require.ErrorIs(t, await(t, "the watch's end", ends), ports.ErrUnavailable)
			first.mustEnd(t, patience)
			assert.Equal(t, "exited", await(t, "end", events.ended))
			assert.Equal(t, restarting{}, await(t, "restart", events.restarting), "the first restart is at once")
			assert.Equal(t, 2, await(t, "start", events.started))

			require.NoError(t, h.Health(t.Context()))
			s := h.Status()
			assert.Equal(t, pluginhost.StateRunning, s.State)
			assert.Equal(t, 1, s.Restarts)
			assert.NotEqual(t, first.pid, s.PID)
			assert.Contains(t, s.LastError, c.why)
			assert.NotContains(t, f.log.String(), "0123-4567")
			_, err = w.Next(t.Context())
			require.ErrorIs(t, err, ports.ErrUnavailable, "a watch stays on the process that it began on")
			require.NoError(t, w.Close())
		})
	}
}

// The folder for sockets goes when its user logs out, or is swept by whoever keeps folders for
// temporary files clean. The next process gets another.
func TestTheRuntimeFolderIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	require.NoError(t, os.RemoveAll(f.RuntimeDir))
	require.NoError(t, h.Health(t.Context()), "the process that lives needs it no more")
	_, err := order(t.Context(), h, "exit")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	assert.Equal(t, 2, await(t, "start", events.started))
	require.NoError(t, h.Health(t.Context()))
	require.NoError(t, h.Close())
}

// While there is no process, calls fail at once and say why.
func TestCallsFailFastDuringRestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, map[string]any{"open": "log opened"})
	gate := filepath.Join(t.TempDir(), "gate")
	require.NoError(t, os.WriteFile(gate, []byte("work"), 0o600))
	f.Env = append(f.Env[1:], varRole+"="+roleFlaky, varFile+"="+gate)
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	require.NoError(t, os.Remove(gate))

	_, err := order(t.Context(), h, "exit")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	await(t, "end", events.ended)
	for delay := range 3 {
		r := await(t, "restart", events.restarting)
		assert.False(t, r.broken)
		if delay > 0 {
			assert.GreaterOrEqual(t, r.delay, 250*time.Millisecond)
		}
	}
	began := time.Now()
	err = h.Health(t.Context())
	require.ErrorIs(t, err, ports.ErrUnavailable)
	require.ErrorContains(t, err, "is being restarted")
	require.ErrorContains(t, err, "panic: not today")
	assert.Less(t, time.Since(began), time.Second)
	_, err = h.Watch(t.Context(), ports.WatchRequest{})
	require.ErrorIs(t, err, ports.ErrUnavailable)
	assert.Equal(t, pluginhost.StateRestarting, h.Status().State)
	assert.Zero(t, h.Status().PID)

	require.NoError(t, os.WriteFile(gate, []byte("work"), 0o600))
	assert.Equal(t, 2, await(t, "start", events.started))
	require.NoError(t, h.Health(t.Context()))
}

// Processes that die before they are of any use open the breaker.
func TestCrashLoopBreaks(t *testing.T) {
	for name, when := range map[string]string{"in Open": "exit-unless ", "after Open": "exit-soon-unless "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := filepath.Join(t.TempDir(), "gate")
			require.NoError(t, os.WriteFile(gate, nil, 0o600))
			f := newFixture(t, rolePlugin, map[string]any{"open": when + gate})
			events := f.listen()
			h := f.open(t)
			require.NoError(t, h.Health(t.Context()))
			require.NoError(t, os.Remove(gate))
			_, err := order(t.Context(), h, "exit")
			require.ErrorIs(t, err, ports.ErrUnavailable)

			var delays []time.Duration
			for broken := false; !broken && len(delays) < 8; {
				r := await(t, "restart", events.restarting)
				delays, broken = append(delays, r.delay), r.broken
			}
			assert.Len(t, delays, 6, "the first served a call; five that did not follow: %v", delays)
			assert.Equal(t, pluginhost.StateBroken, h.Status().State)
			assert.Contains(t, h.Status().LastError, "exit status 7")
			err = h.Health(t.Context())
			require.ErrorIs(t, err, ports.ErrUnavailable)
			require.ErrorContains(t, err, "keeps dying")
			f.log.waitFor(t, "plugin dies before it serves one call", "exit status 7")
			require.NoError(t, h.Close(), "Close does not wait for the next attempt")
		})
	}
}

// A store that is away when the plugin is replaced costs no further processes.
func TestStoreIsAwayAtRestart(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	f := newFixture(t, rolePlugin, map[string]any{"open": "away-unless " + gate, "url": "toy://u:swordfish@h"})
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	require.NoError(t, os.Remove(gate))
	_, err := order(t.Context(), h, "exit")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	await(t, "end", events.ended)
	await(t, "restart", events.restarting)
	require.Eventually(t, func() bool { return h.Status().LastError == "the store is away: backend unavailable" }, patience, 10*time.Millisecond)
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	assert.Equal(t, 2, await(t, "start", events.started))
	require.NoError(t, h.Health(t.Context()))
	assert.Empty(t, events.restarting, "one process was enough")
}

// A descendant that holds the pipes delays nothing and is gone with its parent.
func TestDescendantHoldsPipes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	answer, err := order(t.Context(), h, "child")
	require.NoError(t, err)
	pid, err := strconv.Atoi(answer)
	require.NoError(t, err)
	child := tether.byPID(t, pid)
	_, err = order(t.Context(), h, "exit")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	child.mustEnd(t, patience)
	assert.Equal(t, 2, await(t, "start", events.started))
}

// A call without a deadline gets one; that a backend is late with a call is not the end of its
// process, which may serve others.
func TestCallTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	h := f.open(t)
	pid := h.Status().PID
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := order(ctx, h, "hang")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, h.Health(t.Context()))
	assert.Equal(t, pid, h.Status().PID)

	f = newFixture(t, rolePlugin, nil)
	f.CallTimeout = 200 * time.Millisecond
	_, err = order(context.Background(), f.open(t), "hang")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	require.ErrorContains(t, err, "did not answer within 200ms")
}

// A backend that does not come back from a call long after that was given up is stuck, though
// its process answers everything else, and is replaced.
func TestStuckBackendIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	f.Heartbeat = 2 * time.Second
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	first := tether.byPID(t, h.Status().PID)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := order(ctx, h, "hang")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, h.Health(t.Context()))

	assert.Equal(t, "hung", await(t, "end", events.ended))
	assert.Contains(t, h.Status().LastError, "its backend is stuck in a call (it says NOT_SERVING)")
	f.log.waitFor(t, "the backend is stuck", `"method":"OpenSession"`)
	first.mustEnd(t, patience)
	assert.Equal(t, 2, await(t, "start", events.started))
	require.NoError(t, h.Health(t.Context()))
}

func TestCloseHangs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, map[string]any{"close": "hang"})
	f.CloseTimeout = 300 * time.Millisecond
	events := f.listen()
	h := f.open(t)
	process := tether.byPID(t, h.Status().PID)
	began := time.Now()
	err := h.Close()
	require.ErrorIs(t, err, ports.ErrUnavailable)
	assert.Less(t, time.Since(began), 9*time.Second, "that is not pluginrpc's own limit of 10 s")
	require.ErrorContains(t, err, "did not close its backend within 300ms and was killed")
	process.mustEnd(t, time.Second)
	assert.Equal(t, "closed", await(t, "end", events.ended))
	assert.Len(t, events.started, 1, "nothing was started after it")
	require.NoError(t, h.Close())
}

func TestCloseFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, map[string]any{"close": "fail", "pin": "0123-4567"})
	err := f.open(t).Close()
	require.ErrorIs(t, err, ports.ErrPermission)
	require.EqualError(t, err, "pin *** stuck: permission denied")
}

func TestDeathInClose(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, map[string]any{"close": "exit"})
	events := f.listen()
	err := f.open(t).Close()
	require.ErrorIs(t, err, ports.ErrUnavailable)
	require.ErrorContains(t, err, "died while it closed its backend: exit status 7")
	assert.Len(t, events.started, 1, "it is not replaced")
	assert.Equal(t, "closed", await(t, "end", events.ended))
}

// Close while a process is being replaced does not wait for the next one.
func TestCloseDuringRestart(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	require.NoError(t, os.WriteFile(gate, []byte("work"), 0o600))
	f := newFixture(t, roleFlaky, nil)
	f.Env = append(f.Env, varFile+"="+gate)
	events := f.listen()
	h := f.open(t)
	require.NoError(t, os.Remove(gate))
	_, err := order(t.Context(), h, "exit")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	await(t, "restart", events.restarting)
	require.NoError(t, h.Close())
	require.ErrorIs(t, h.Health(t.Context()), ports.ErrClosed)
}

// Secrets stay out of everything that a plugin says about them.
func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, map[string]any{"url": "toy://u:sword%20fish@h,toy://u:catfish@h", "pin": "0123-4567"})
	h := f.open(t)
	_, err := order(t.Context(), h, "permission")
	require.ErrorIs(t, err, ports.ErrPermission)
	require.EqualError(t, err, "pin *** is wrong: permission denied")
	_, err = order(t.Context(), h, "unavailable")
	require.ErrorIs(t, err, ports.ErrUnavailable)
	results, err := h.Apply(t.Context(), []ports.Mutation{{Delete: &ports.Delete{}}, {Delete: &ports.Delete{}}})
	require.NoError(t, err)
	for _, r := range results {
		require.ErrorIs(t, r.Err, ports.ErrConflict)
		require.EqualError(t, r.Err, "no with pin ***: conflict")
	}
	w, err := h.Watch(t.Context(), ports.WatchRequest{})
	require.NoError(t, err)
	reset, err := w.Next(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "pin *** was changed", reset.Reason)
	require.NoError(t, w.Close())
	for i, way := range []string{"stderr", "raw", "stdout"} {
		_, err = order(t.Context(), h, fmt.Sprintf("%s mark%d of pin 0123-4567 and catfish, sword fish", way, i))
		require.NoError(t, err)
		f.log.waitFor(t, fmt.Sprintf("mark%d of pin *** and ***, ***", i))
	}
	require.NoError(t, h.Close())
	for _, secret := range []string{"0123-4567", "catfish", "sword fish", "sword%20fish"} {
		assert.NotContains(t, f.log.String(), secret)
	}
}

// Many callers meet many deaths: every call is answered, by success or by ErrUnavailable.
func TestCallsAcrossRestarts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, rolePlugin, nil)
	events := f.listen()
	h := f.open(t)
	await(t, "start", events.started)
	stop := make(chan struct{})
	failures := make(chan error, 4)
	var callers sync.WaitGroup
	for range cap(failures) {
		callers.Go(func() { failures <- callUntil(stop, h) })
	}
	for generation := 2; generation <= 4; generation++ {
		_, err := order(t.Context(), h, "exit")
		require.ErrorIs(t, err, ports.ErrUnavailable)
		assert.Equal(t, generation, await(t, "start", events.started))
	}
	close(stop)
	callers.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	assert.Equal(t, 3, h.Status().Restarts)
}

// callUntil calls and watches until stop, or until an error that is not ErrUnavailable.
func callUntil(stop <-chan struct{}, b ports.Backend) error {
	for {
		err := b.Health(context.Background())
		if err == nil {
			err = watchOnce(b)
		}
		if err != nil && !errors.Is(err, ports.ErrUnavailable) {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

func watchOnce(b ports.Backend) error {
	w, err := b.Watch(context.Background(), ports.WatchRequest{Follow: true})
	if err != nil {
		return err
	}
	_, err = w.Next(context.Background())
	return errors.Join(err, w.Close())
}
