//go:build unix

package e2e

// main_test.go: the stores, the program that all tests share, and hosts.

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/cmd/internal/programtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/tools/stores"
)

// store is a row of the table: all tests run over each.
type store struct {
	kind stores.Kind
	// expiry is what its backend's README gives as the aim for an expiry beyond the TTL.
	expiry time.Duration
	auth   stores.Auth
	login  []string // the options that auth takes; the last is the secret
	// leader finds the node that leads where several replicate; nil where none takes its place by itself.
	leader func(ctx context.Context, on *stores.Cluster) (int, error)
}

var table = []store{
	{stores.Consul, time.Second, stores.Token, []string{"token"}, leader},
	{stores.Etcd, 1500 * time.Millisecond, stores.Password, []string{"username", "password"}, leader},
	{stores.NATS, 2500 * time.Millisecond, stores.Password, []string{"user", "password"}, streamLeader},
	{stores.Redis, 500 * time.Millisecond, stores.Password, []string{"password"}, nil},
}

func leader(ctx context.Context, on *stores.Cluster) (int, error) { return on.Leader(ctx) }

// streamLeader is of NATS, where the stream of a namespace has a leader of its own.
func streamLeader(ctx context.Context, on *stores.Cluster) (int, error) {
	return on.StreamLeader(ctx, "PRISM_prism")
}

// sessionTTL is small, so that what depends on it is soon seen.
const sessionTTL = 5 * time.Second

// margin is for what a busy machine adds to a bound.
const margin = 1500 * time.Millisecond

var quiet = slog.New(slog.DiscardHandler)

var binaries programtest.Binaries

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "prism-e2e-")
	if err == nil {
		names := make([]string, len(table))
		for i, s := range table {
			names[i] = string(s.kind)
		}
		binaries, err = programtest.Build(context.Background(), dir, names...)
	}
	for _, s := range table {
		if err == nil {
			_, err = stores.Binary(context.Background(), s.kind) // its time is no test's
		}
	}
	if err == nil {
		err = flag.Set("test.parallel", "8") // they wait more than they work; the command line wins
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir) // it is a temporary folder in any case
		os.Exit(code)
	}))
}

// overEach runs a test over each store, side by side.
func overEach(t *testing.T, test func(t *testing.T, s store)) {
	t.Helper()
	over(t, test, table)
}

func over(t *testing.T, test func(t *testing.T, s store), some []store) {
	t.Helper()
	t.Parallel()
	for _, s := range some {
		t.Run(string(s.kind), func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

// settings are the backend's options.
func (s store) settings(on *stores.Cluster) map[string]any {
	settings := map[string]any{"url": strings.Join(on.URLs(), ",")}
	if s.kind == stores.NATS {
		settings["replicas"] = on.Nodes()
	}
	return settings
}

// host serves on a store.
func (s store) host(t *testing.T, on *stores.Cluster, args ...string) *programtest.Process {
	t.Helper()
	args = append(args, "--backend", string(s.kind))
	for option, value := range s.settings(on) {
		args = append(args, set(option, fmt.Sprint(value))...)
	}
	return binaries.Serve(t, append(args, "--set", "server.data_dir="+t.TempDir(), "--set", fmt.Sprintf("session_ttl=%v", sessionTTL))...)
}

// seen waits until a host shows an instance as it should be, and returns it.
func seen(t *testing.T, host *programtest.Process, key core.Key, as func(core.Instance) bool) (in core.Instance) {
	t.Helper()
	host.Until(key.String()+" is seen as it should be", func(ctx context.Context) bool {
		var err error
		in, err = host.Client.Instance(ctx, key)
		return err == nil && as(in)
	})
	return in
}

// withStatus is a condition for seen.
func withStatus(status core.Status) func(core.Instance) bool {
	return func(in core.Instance) bool { return in.Status() == status }
}

// renewed sends one heartbeat, which must be answered so.
func renewed(t *testing.T, host *programtest.Process, lease string) {
	t.Helper()
	results, err := host.Client.Heartbeat(t.Context(), []string{lease})
	require.NoError(t, err, host.Stderr())
	require.Len(t, results, 1)
	require.Equal(t, core.HeartbeatRenewed, results[0].State)
}
