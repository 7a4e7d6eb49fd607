package pluginrpc

// goplugin.go: what host and plugin must agree on before they speak gRPC.

import (
	"context"
	"errors"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/ports"
)

// PluginName is the name to dispense; the value is a *Client.
const PluginName = "backend"

// Handshake tells a backend plugin from other programs. It is no security measure. Versions
// are negotiated through VersionedPlugins.
var Handshake = plugin.HandshakeConfig{
	MagicCookieKey:   "PRISM_BACKEND_PLUGIN",
	MagicCookieValue: "prism.backend",
}

// VersionedPlugins is what a plugin serves: srv, under the version of the contract.
func VersionedPlugins(srv backendv1.RegistryBackendServer) map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{
		ports.ContractVersion: {PluginName: &backendPlugin{server: srv}},
	}
}

// ClientPlugins is what a host accepts, by version of the contract.
func ClientPlugins() map[int]plugin.PluginSet { return VersionedPlugins(nil) }

// backendPlugin implements plugin.GRPCPlugin for both halves; server is nil in a host.
type backendPlugin struct {
	plugin.NetRPCUnsupportedPlugin

	server backendv1.RegistryBackendServer
}

// GRPCServer implements plugin.GRPCPlugin.
func (p *backendPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	if p.server == nil {
		return errors.New("this plugin set is a host's; serve one of VersionedPlugins")
	}
	backendv1.RegisterRegistryBackendServer(s, p.server)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (p *backendPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn), nil
}
