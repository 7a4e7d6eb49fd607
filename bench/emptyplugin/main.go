// Command emptyplugin is a go-plugin plugin that does nothing: what is measured against it has
// the same process, handshake and mutual TLS around it.
package main

import (
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/marketprism/prism/bench/empty"
)

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: empty.Handshake, Plugins: empty.Plugins,
		GRPCServer: plugin.DefaultGRPCServer, Logger: hclog.NewNullLogger(),
	})
}
