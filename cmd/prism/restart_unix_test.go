//go:build unix

package main

// restart_unix_test.go: a host that leaves and comes back with its state, over stores that
// outlive it and over memory, which goes with it.

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/hoststate"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/tools/stores"
)

// lastingStores are the kinds of store that this repository has a plugin for.
func lastingStores(t *testing.T) []stores.Kind {
	t.Helper()
	var out []stores.Kind
	for _, kind := range stores.Kinds() {
		if _, err := os.Stat(filepath.Join("..", "..", "plugins", string(kind))); err == nil {
			out = append(out, kind)
		}
	}
	return out
}

// storeArgs starts a store and returns how a host is told of it.
func storeArgs(t *testing.T, kind stores.Kind) []string {
	t.Helper()
	store := stores.ForTest(t, kind, stores.Options{})
	name := "prism-backend-" + string(kind)
	target := filepath.Join(built(t), name)
	if _, err := os.Stat(target); err != nil {
		pkg := "github.com/marketprism/prism/plugins/" + string(kind) + "/cmd/" + name
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", target, pkg).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	return []string{"--backend", string(kind), "--set", "backend_config.url=" + strings.Join(store.URLs(), ",")}
}

// lastingAddress is one where a restarted host can listen again.
func lastingAddress(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// oneClientOneAuto registers an instance that heartbeats keep alive and one that the host does.
func oneClientOneAuto(t *testing.T, p *process) (leases []string) {
	t.Helper()
	for id, keepalive := range map[string]core.Keepalive{"client": core.KeepaliveClient, "auto": core.KeepaliveAuto} {
		got, err := p.Client.RegisterOnce(t.Context(), core.Spec{
			Service: "svc", ID: id, Host: "127.0.0.1", Port: 8081, TTL: time.Minute, Keepalive: keepalive, Check: &core.Check{Type: core.CheckNone},
		})
		require.NoError(t, err)
		leases = append(leases, got.Lease)
	}
	return leases
}

func assertRenewed(t *testing.T, p *process, leases []string) {
	t.Helper()
	results, err := p.Client.Heartbeat(t.Context(), leases)
	require.NoError(t, err)
	for _, r := range results {
		assert.Equal(t, core.HeartbeatRenewed, r.State)
	}
}

// aWhile is longer than the sessions of a host with session_ttl=4 and what stores add to it.
const aWhile = 9 * time.Second

// startClock registers an instance that expires after a while.
func startClock(t *testing.T, p *process) {
	t.Helper()
	_, err := p.Client.RegisterOnce(t.Context(), core.Spec{
		Service: "clock", Host: "127.0.0.1", Port: 1, TTL: aWhile, Check: &core.Check{Type: core.CheckNone},
	})
	require.NoError(t, err)
}

func untilTheClockEnds(p *process) {
	p.t.Helper()
	p.Until("the clock expires", func(ctx context.Context) bool {
		list, _, _, err := p.Client.Events(ctx, discovery.HistoryQuery{Service: "clock", Types: []core.EventType{core.EventExpired}})
		return err == nil && len(list) > 0
	})
}

func TestARestartedHostGoesOnUnseen(t *testing.T) {
	for _, kind := range lastingStores(t) {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			t.Run(string(kind)+" "+sig.String(), func(t *testing.T) {
				store := append(storeArgs(t, kind), "--set", "session_ttl=4")
				args := append([]string{"--http", lastingAddress(t), "--set", "server.data_dir=" + t.TempDir()}, store...)
				other := serve(t, store...)
				first := serve(t, args...)
				leases := oneClientOneAuto(t, first)
				_, satisfied, err := other.Client.Wait(t.Context(), "svc", 2)
				require.NoError(t, err)
				require.True(t, satisfied)
				_, before, _, err := other.Client.Events(t.Context(), discovery.HistoryQuery{})
				require.NoError(t, err)

				first.End(sig)
				second := serve(t, args...)
				assertRenewed(t, second, leases)
				startClock(t, other)
				untilTheClockEnds(other)
				assertRenewed(t, second, leases)
				events, _, reset, err := other.Client.Events(t.Context(), discovery.HistoryQuery{After: before, Service: "svc"})
				require.NoError(t, err)
				assert.False(t, reset)
				assert.Empty(t, events)
				list, fresh, err := other.Client.Instances(t.Context(), "svc", anyInstance)
				require.NoError(t, err)
				assert.False(t, fresh.Stale)
				assert.Len(t, list, 2)
			})
		}
	}
}

func TestARestartedHostOverMemoryRegistersAgain(t *testing.T) {
	args := []string{"--http", lastingAddress(t), "--set", "server.data_dir=" + t.TempDir()}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		first := serve(t, args...)
		leases := oneClientOneAuto(t, first)
		first.End(sig)
		second := serve(t, args...)
		assertRenewed(t, second, leases)
		list, _, err := second.Client.Instances(t.Context(), "svc", anyInstance)
		require.NoError(t, err)
		assert.Len(t, list, 2)
		second.End(syscall.SIGTERM)
	}
}

func TestAnotherAddressHasAnotherState(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, "--http", lastingAddress(t), "--set", "server.data_dir="+dir)
	leases := oneClientOneAuto(t, first)
	first.End(syscall.SIGTERM)
	second := serve(t, "--http", lastingAddress(t), "--set", "server.data_dir="+dir)
	results, err := second.Client.Heartbeat(t.Context(), leases)
	require.NoError(t, err)
	for _, r := range results {
		assert.Equal(t, core.HeartbeatUnknown, r.State)
	}
}

func TestAStateThatCannotBeHadIsExplained(t *testing.T) {
	address := lastingAddress(t)
	plugins := "plugin.dirs=" + built(t)
	dir := t.TempDir()
	held, err := hoststate.Open(hoststate.Options{Dir: dir, Backend: "memory", Namespace: "prism", Address: address})
	require.NoError(t, err)
	defer func() { require.NoError(t, held.Close()) }()
	r := invoke(t.Context(), "", "serve", "--http", address, "--grpc", "", "--set", plugins, "--set", "server.data_dir="+dir)
	assert.NotZero(t, r.code)
	assert.Equal(t, "prism: conflict: server.data_dir: another host keeps its state for the backend memory, the namespace prism and the address "+
		address+" in "+dir+"; stop it, or give this host another address or another server.data_dir\n", r.err)

	file := writeFile(t, "file", "")
	r = invoke(t.Context(), "", "serve", "--http", address, "--grpc", "", "--set", plugins, "--set", "server.data_dir="+file)
	assert.Equal(t, exitUsage, r.code)
	assert.Equal(t, "prism: server.data_dir: the folder "+file+" cannot be made (not a directory); name one that this user may write to\n", r.err)
}

func TestAHostWithoutAFolderForItsStateDoesWithout(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", filepath.Join(writeFile(t, "file", ""), "state"))
	p := serve(t, "--http", lastingAddress(t))
	assert.Contains(t, p.Stderr(), "no state is kept")
	assert.Contains(t, p.Stderr(), "server.data_dir: the folder ")
	oneClientOneAuto(t, p)
}

func TestAStateThatCannotBeReadIsLeftAside(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--http", lastingAddress(t), "--set", "server.data_dir=" + dir}
	first := serve(t, args...)
	leases := oneClientOneAuto(t, first)
	first.End(syscall.SIGKILL)
	found, err := filepath.Glob(filepath.Join(dir, "*.state"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NoError(t, os.WriteFile(found[0], []byte("scribble"), 0o600))
	second := serve(t, args...)
	second.Until("the log says so", func(context.Context) bool { return strings.Contains(second.Stderr(), "cannot be read") })
	results, err := second.Client.Heartbeat(t.Context(), leases)
	require.NoError(t, err)
	assert.Equal(t, core.HeartbeatUnknown, results[0].State)
	aside, err := filepath.Glob(filepath.Join(dir, "*.unreadable-*"))
	require.NoError(t, err)
	assert.Len(t, aside, 1)
}
