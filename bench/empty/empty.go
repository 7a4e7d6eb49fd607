// Package empty is a go-plugin plugin that does nothing, as its two ends know it: the program
// bench/emptyplugin and the benchmarks that launch it.
package empty

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Handshake tells the plugin from other programs.
var Handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "PRISM_BENCH_EMPTY", MagicCookieValue: "empty"}

// Plugins is what the program serves and a host dispenses.
var Plugins = plugin.PluginSet{"empty": nothing{}}

// nothing serves nothing beside what go-plugin itself does.
type nothing struct{ plugin.NetRPCUnsupportedPlugin }

func (nothing) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (nothing) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return struct{}{}, nil
}
