//go:build unix

package e2e

// hosts_test.go: several hosts on one store.

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/cmd/internal/programtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/tools/stores"
)

const (
	// clientTTL puts an instance that a client keeps under a session of longestSession.
	clientTTL      = 2600 * time.Millisecond
	longestSession = 6 * time.Second
)

// checked is a program whose health checks are counted.
func checked(t *testing.T) (host string, port int, checks *atomic.Int64) {
	t.Helper()
	checks = new(atomic.Int64)
	program := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { checks.Add(1) }))
	t.Cleanup(program.Close)
	host, text, err := net.SplitHostPort(program.Listener.Addr().String())
	require.NoError(t, err)
	port, err = strconv.Atoi(text)
	require.NoError(t, err)
	return host, port, checks
}

// TestFault18HostsShareAStore shows that what is registered at A is listed, streamed and drained at B,
// and that A keeps the drain over heartbeats and checks until B restores.
func TestFault18HostsShareAStore(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, stores.Options{})
		a, b := s.host(t, on), s.host(t, on)
		atB := observe(t, b)
		host, port, checks := checked(t)
		got, err := a.Client.RegisterOnce(t.Context(), core.Spec{
			Service: "web", Host: host, Port: port, TTL: clientTTL, Keepalive: core.KeepaliveClient,
			Check: &core.Check{Type: core.CheckHTTP, Interval: time.Second},
		})
		require.NoError(t, err)
		key := got.Instance.Key()
		atB.await(core.EventRegistered, key)
		list, fresh, err := b.Client.Instances(t.Context(), "web", discovery.Query{})
		require.NoError(t, err)
		assert.False(t, fresh.Stale)
		require.Len(t, list, 1)
		assert.Equal(t, key, list[0].Key())
		seen(t, b, key, withStatus(core.StatusHealthy))

		_, err = b.Client.SetStatus(t.Context(), discovery.StatusRequest{Key: key, Status: string(core.StatusMaintenance), Reason: "disk swap"})
		require.NoError(t, err)
		drained := seen(t, a, key, withStatus(core.StatusMaintenance))
		assert.Equal(t, "disk swap", drained.State.Reason)
		for before, beats := checks.Load(), 0; checks.Load() < before+3 || beats < 4; beats++ {
			renewed(t, a, got.Lease)
			for _, h := range []*programtest.Process{a, b} {
				in, err := h.Client.Instance(t.Context(), key)
				require.NoError(t, err)
				assert.Equal(t, core.StatusMaintenance, in.Status())
				assert.Equal(t, "disk swap", in.State.Reason)
			}
			pause(t, clientTTL/5)
		}
		_, err = b.Client.SetStatus(t.Context(), discovery.StatusRequest{Key: key, Status: "up"})
		require.NoError(t, err)
		seen(t, a, key, withStatus(core.StatusHealthy))
	})
}

// TestNobodySeesAHostDieWhoseClientsGoElsewhere shows that heartbeats of a client whose host was
// killed are answered renewed by another one, and that for longer than any session of the dead
// host lasts neither that one nor a third sees an event.
func TestNobodySeesAHostDieWhoseClientsGoElsewhere(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, stores.Options{})
		a, b, c := s.host(t, on), s.host(t, on), s.host(t, on)
		host, port, _ := checked(t)
		spec := core.Spec{
			Service: "web", ID: "curl", Host: host, Port: port, TTL: clientTTL, Keepalive: core.KeepaliveClient,
			Check: &core.Check{Type: core.CheckHTTP, Interval: time.Second},
		}
		got, err := a.Client.RegisterOnce(t.Context(), spec)
		require.NoError(t, err)
		both, err := client.New(client.Config{Addresses: []string{a.Address, b.Address}})
		require.NoError(t, err)
		t.Cleanup(both.Close)
		spec.ID = "program"
		kept, err := both.Register(t.Context(), spec)
		require.NoError(t, err)
		lease := kept.Lease()
		for _, h := range []*programtest.Process{a, b, c} {
			seen(t, h, got.Instance.Key(), withStatus(core.StatusHealthy))
			seen(t, h, kept.Instance().Key(), withStatus(core.StatusHealthy))
		}
		watchers := []*observer{observe(t, b), observe(t, c)}

		kill(t, a)
		for end := time.Now().Add(longestSession + s.expiry + 2*margin); time.Now().Before(end); pause(t, clientTTL/5) {
			renewed(t, b, got.Lease)
		}
		assert.Equal(t, lease, kept.Lease(), "the program had to register again")
		require.NoError(t, kept.Err())
		for _, w := range watchers {
			w.sawOnly(t)
			list, fresh, err := w.host.Client.Instances(t.Context(), "web", discovery.Query{})
			require.NoError(t, err)
			assert.False(t, fresh.Stale)
			assert.Len(t, list, 2)
		}

		// The same observers do see what ends.
		require.NoError(t, kept.Close(t.Context()))
		watchers[1].await(core.EventDeregistered, kept.Instance().Key())
	})
}

// TestWhatAKilledHostHeldExpires shows that an instance that lives with its host is gone for
// everybody within session_ttl and the store's own delay after the host was killed, and not
// long before.
func TestWhatAKilledHostHeldExpires(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, stores.Options{})
		a, b := s.host(t, on), s.host(t, on)
		atB := observe(t, b)
		got, err := a.Client.RegisterOnce(t.Context(), core.Spec{
			Service: "web", Host: "127.0.0.1", Port: 8081, Keepalive: core.KeepaliveAuto, Check: &core.Check{Type: core.CheckNone},
		})
		require.NoError(t, err)
		key := got.Instance.Key()
		atB.await(core.EventRegistered, key)

		killed := time.Now()
		kill(t, a)
		expired := atB.await(core.EventExpired, key)
		after := expired.at.Sub(killed)
		t.Logf("expired %v after the kill, session_ttl %v", after.Round(time.Millisecond), sessionTTL)
		assert.LessOrEqual(t, after, sessionTTL+s.expiry+margin)
		assert.GreaterOrEqual(t, after, sessionTTL/2, "sessions are renewed when a third of their time has passed")
		assert.Equal(t, core.CauseExpired, expired.Cause)
		_, err = b.Client.Instance(t.Context(), key)
		require.ErrorIs(t, err, core.ErrNotFound)
	})
}

// kill ends a host as a power cut would; its plugin has to go too.
func kill(t *testing.T, host *programtest.Process) {
	t.Helper()
	st, err := host.Client.Status(t.Context())
	require.NoError(t, err)
	require.NotNil(t, st.Plugin)
	host.Kill()
	host.Until("the plugin is gone", func(context.Context) bool { return syscall.Kill(st.Plugin.PID, 0) != nil })
}

// pause waits; what is waited for is time itself.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
