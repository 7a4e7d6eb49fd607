package stores_test

// stores_test.go: real servers of every kind are started, stopped and lost.

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/tools/stores"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(startAndWait())
	}
	goleak.VerifyTestMain(m)
}

// limit is generous: what is waited for comes within seconds.
const limit = 60 * time.Second

func TestDataOutlivesAStopAndNotAWipe(t *testing.T) {
	t.Parallel()
	for _, kind := range stores.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c := stores.ForTest(t, kind, stores.Options{})
			urls, pids := c.URLs(), c.PIDs()
			client := newClient(t, c)
			require.NoError(t, client.put(ctx, "kept", "1"))

			require.NoError(t, c.Stop(ctx))
			assert.Empty(t, c.PIDs())
			require.Error(t, client.put(ctx, "kept", "2"), "a stopped store takes no writes")
			require.NoError(t, c.KeepData())
			require.NoError(t, c.Start(ctx))
			assert.Equal(t, urls, c.URLs(), "a restart keeps the ports")
			assert.NotEqual(t, pids, c.PIDs())
			assert.Equal(t, "1", must(client.get(ctx, "kept"))(t))

			require.NoError(t, c.Kill())
			require.NoError(t, c.Start(ctx))
			assert.Equal(t, "1", must(client.get(ctx, "kept"))(t), "data outlives a kill")

			require.NoError(t, client.put(ctx, "kept", "2"))
			require.ErrorContains(t, c.RevertData(), "stop it before")
			require.NoError(t, c.Kill())
			require.NoError(t, c.RevertData())
			require.NoError(t, c.Start(ctx))
			assert.Equal(t, "1", must(client.get(ctx, "kept"))(t), "what was written since is lost")

			require.NoError(t, c.Wipe(ctx))
			assert.Equal(t, urls, c.URLs())
			assert.Empty(t, must(client.get(ctx, "kept"))(t))
			require.NoError(t, client.put(ctx, "kept", "3"))
		})
	}
}

func TestAPausedStoreAnswersWhenResumed(t *testing.T) {
	t.Parallel()
	for _, kind := range stores.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c := stores.ForTest(t, kind, stores.Options{Fast: true})
			client := newClient(t, c)
			require.NoError(t, c.Pause())
			short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, client.put(short, "k", "v"), os.ErrDeadlineExceeded)
			require.NoError(t, c.Resume())
			require.NoError(t, client.put(ctx, "k", "v"))

			require.NoError(t, c.Pause())
			require.NoError(t, c.Stop(ctx), "a paused store can be stopped")
		})
	}
}

func TestThreeNodesOutliveTheirLeader(t *testing.T) {
	t.Parallel()
	for _, kind := range []stores.Kind{stores.Consul, stores.Etcd, stores.NATS} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c := stores.ForTest(t, kind, stores.Options{Nodes: 3})
			require.Len(t, c.PIDs(), 3)
			client := newClient(t, c)
			require.NoError(t, client.put(ctx, "k", "before"))

			first, err := c.Leader(ctx)
			require.NoError(t, err)
			require.NoError(t, c.KillNode(first))
			second, err := c.Leader(ctx)
			require.NoError(t, err)
			assert.NotEqual(t, first, second)
			client.at = second
			client.putSoon(ctx, t, "k", "without")

			require.NoError(t, c.StartNode(ctx, first))
			require.Len(t, c.PIDs(), 3)
			require.NoError(t, c.PauseNode(second))
			third, err := c.Leader(ctx)
			require.NoError(t, err)
			assert.NotEqual(t, second, third, "a paused node does not lead")
			require.NoError(t, c.ResumeNode(second))
			client.at = third
			client.putSoon(ctx, t, "k", "after")
			assert.Equal(t, "after", must(client.get(ctx, "k"))(t))
		})
	}
}

func TestRedisReplicasFollowAndRefuseWrites(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := stores.ForTest(t, stores.Redis, stores.Options{Nodes: 3, Auth: stores.Password, TLS: stores.MutualTLS})
	assert.Equal(t, 0, must(c.Leader(ctx))(t))
	client := newClient(t, c)
	require.NoError(t, client.put(ctx, "k", "v"))
	client.at = 2
	require.Eventually(t, func() bool { return must(client.get(ctx, "k"))(t) == "v" }, limit, 10*time.Millisecond)
	require.ErrorContains(t, client.put(ctx, "k", "v"), "READONLY")
}

func TestSentinelsChooseAnotherPrimary(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := stores.ForTest(t, stores.Redis, stores.Options{Nodes: 3, Topology: stores.Sentinel, Auth: stores.User, TLS: stores.ServerTLS})
	require.Len(t, c.Sentinels(), 3)
	require.Len(t, c.Addresses(), 3)
	require.Len(t, c.PIDs(), 6)
	client := newClient(t, c)
	require.NoError(t, client.put(ctx, "k", "v"))
	require.NoError(t, c.KillNode(0))
	second := must(c.Leader(ctx))(t)
	assert.NotEqual(t, 0, second)
	client.at = second
	require.NoError(t, client.put(ctx, "k", "w"))
	require.NoError(t, c.Restart(ctx), "who leads outlives a restart")
	require.NoError(t, client.put(ctx, "k", "x"))
}

func TestShardsShareTheKeys(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := stores.ForTest(t, stores.Redis, stores.Options{Nodes: 3, Topology: stores.Sharded, Auth: stores.Password, TLS: stores.MutualTLS})
	client := newClient(t, c)
	require.NoError(t, client.put(ctx, "b", "v"), "slot 3300")
	require.ErrorContains(t, client.put(ctx, "a", "v"), "MOVED 15495 "+c.Addresses()[2])
	require.NoError(t, c.Restart(ctx))
	assert.Equal(t, "v", must(client.get(ctx, "b"))(t))
	require.NoError(t, c.Wipe(ctx))
	assert.Empty(t, must(client.get(ctx, "b"))(t))
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, kind := range stores.Kinds() {
		c, err := stores.Start(t.Context(), kind, stores.Options{Fast: true, Proxied: true, Dir: dir})
		require.NoError(t, err)
		addresses := c.Addresses()
		require.NoError(t, c.Close())
		assert.Empty(t, c.PIDs())
		for _, a := range addresses {
			assert.False(t, answers(t, a), "%s still listens on %s", kind, a)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestWhatCannotBeStartedSaysWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind stores.Kind
		opts stores.Options
		want string
	}{
		{"mysql", stores.Options{}, `store "mysql" is not known: it is one of ["consul" "etcd" "nats" "redis"]`},
		{stores.Etcd, stores.Options{Nodes: 2}, "etcd: Nodes is 2: it is 1 or 3"},
		{stores.Etcd, stores.Options{Auth: stores.NKey}, `etcd: Auth is "nkey": it is empty or one of ["password"]`},
		{stores.Etcd, stores.Options{TLS: 9}, "etcd: TLS is 9"},
		{stores.Consul, stores.Options{DataLimit: 5}, "Consul has no such limit"},
		{stores.Etcd, stores.Options{DataLimit: -5}, "DataLimit is -5 bytes"},
		{stores.Consul, stores.Options{Connections: -5}, "Connections is -5"},
		{stores.NATS, stores.Options{Connections: 5}, "Connections is 5"},
		{stores.Etcd, stores.Options{Nodes: 3, Topology: stores.Sharded}, `etcd: Topology is "sharded": leave it empty`},
		{stores.Redis, stores.Options{Topology: stores.Sentinel}, "with 3 Nodes"},
		{stores.Redis, stores.Options{Nodes: 3, Topology: "ring"}, `Topology is "ring": it is empty, "sentinel" or "sharded"`},
		{stores.Etcd, stores.Options{Binary: "/no/such"}, "/no/such"},
		{stores.NATS, stores.Options{Binary: "/bin/false"}, "ended by itself: exit status 1"},
	} {
		_, err := stores.Start(t.Context(), c.kind, c.opts)
		assert.ErrorContains(t, err, c.want)
	}
}

func TestABinaryOfTheEnvironmentWins(t *testing.T) {
	given := filepath.Join(t.TempDir(), "etcd")
	require.NoError(t, os.WriteFile(given, []byte("#!/bin/sh\n"), 0o700)) //nolint:gosec // It has to be executable.
	t.Setenv("PRISM_ETCD_BIN", given)
	assert.Equal(t, given, must(stores.Binary(t.Context(), stores.Etcd))(t))
	t.Setenv("PRISM_ETCD_BIN", given+"x")
	_, err := stores.Binary(t.Context(), stores.Etcd)
	require.ErrorContains(t, err, `PRISM_ETCD_BIN is "`+given+`x", which cannot be run`)
	t.Setenv("PRISM_REDIS_BIN", "")
	t.Setenv("PATH", t.TempDir())
	_, err = stores.Binary(t.Context(), stores.Redis)
	require.ErrorContains(t, err, "apt-get install redis-server")
}

func TestServersSayWhichTheyAre(t *testing.T) {
	t.Parallel()
	for _, kind := range stores.Kinds() {
		c := stores.ForTest(t, kind, stores.Options{Fast: true})
		assert.Regexp(t, `(?i)^`+string(kind)+`\S* \d+\.\d+\.\d+`, must(c.Version(t.Context()))(t))
	}
	// Others that can stand in, and one that warns first.
	server := must(stores.Binary(t.Context(), stores.Redis))(t)
	for said, want := range map[string]string{
		"Valkey server v=8.0.1 sha=00000000:0":              "Valkey 8.0.1",
		"WARNING: Package x is old\netcd Version: 3.4.45\n": "etcd 3.4.45",
		"nats-server: v2.12.3-RC.1":                         "nats-server 2.12.3-RC.1",
		"sorry":                                             "",
	} {
		given := filepath.Join(t.TempDir(), "redis-server")
		script := fmt.Sprintf("#!/bin/sh\ncase $1 in --version) echo '%s';; *) exec %s \"$@\";; esac\n", said, server)
		require.NoError(t, os.WriteFile(given, []byte(script), 0o700)) //nolint:gosec // It has to be executable.
		c := stores.ForTest(t, stores.Redis, stores.Options{Binary: given})
		version, err := c.Version(t.Context())
		assert.Equal(t, want, version)
		if want == "" {
			assert.ErrorContains(t, err, "names no version")
		}
	}
}

// putSoon writes again and again: a request to a cluster without a leader may never be answered.
func (c *client) putSoon(ctx context.Context, t *testing.T, key, value string) {
	t.Helper()
	require.Eventually(t, func() bool {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return c.put(attempt, key, value) == nil
	}, limit, 100*time.Millisecond)
}

// answers reports whether something accepts connections at an address.
func answers(t *testing.T, address string) bool {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	require.NoError(t, conn.Close())
	return true
}

// must fails the test on the error of a call that also returns a value.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return value
	}
}

func TestTheUsualPortIsTakenWhereItIsFree(t *testing.T) {
	const usual = "127.0.0.1:6379"
	var config net.ListenConfig
	somebody, err := config.Listen(t.Context(), "tcp", usual)
	if err == nil { // else another program has it, who does as well
		defer somebody.Close()
	}
	elsewhere := stores.ForTest(t, stores.Redis, stores.Options{UsualPort: true})
	assert.NotEqual(t, usual, elsewhere.Addresses()[0])
	if err == nil {
		require.NoError(t, somebody.Close())
		there := stores.ForTest(t, stores.Redis, stores.Options{UsualPort: true})
		assert.Equal(t, usual, there.Addresses()[0])
	}
}
