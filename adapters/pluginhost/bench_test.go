package pluginhost_test

// bench_test.go: what a launch costs beside a bare go-plugin client, both up to the first
// answered call. The goal: at most one and a half times as long, and 50 ms.

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/adapters/pluginrpc"
)

// empty is a plugin of which nothing is asked but a ping.
type empty struct{ plugin.NetRPCUnsupportedPlugin }

func (empty) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (empty) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

var emptySet = map[int]plugin.PluginSet{1: {"empty": empty{}}}

func playEmpty() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: pluginrpc.Handshake, VersionedPlugins: emptySet,
		GRPCServer: plugin.DefaultGRPCServer, Logger: hclog.NewNullLogger(),
	})
}

func BenchmarkStart(b *testing.B) {
	exe, err := os.Executable()
	require.NoError(b, err)
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.CommandContext(b.Context(), exe)
			cmd.Env = []string{varRole + "=" + roleEmpty}
			client := plugin.NewClient(&plugin.ClientConfig{
				HandshakeConfig: pluginrpc.Handshake, VersionedPlugins: emptySet, Cmd: cmd, AutoMTLS: true, SkipHostEnv: true,
				AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
			})
			protocol, err := client.Client()
			require.NoError(b, err)
			require.NoError(b, protocol.Ping())
			b.StopTimer()
			client.Kill()
			b.StartTimer()
		}
	})
	for _, name := range []string{"prism", "pinned"} {
		b.Run(name, func(b *testing.B) {
			f := newFixture(b, rolePlugin, nil)
			f.Env = []string{varRole + "=" + rolePlugin}
			if name == "pinned" {
				f.SHA256, err = pluginhost.Digest(f.Path)
				require.NoError(b, err)
			}
			for b.Loop() {
				h, err := pluginhost.Open(b.Context(), f.Launch)
				require.NoError(b, err)
				require.NoError(b, h.Health(b.Context()))
				b.StopTimer()
				require.NoError(b, h.Close())
				b.StartTimer()
			}
		})
	}
}

// BenchmarkCall is a round trip, for what the supervisor adds to one.
func BenchmarkCall(b *testing.B) {
	h := newFixture(b, rolePlugin, nil).open(b)
	ctx, cancel := context.WithTimeout(b.Context(), patience*10)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Health(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
