// Command prism-backend-nats serves the NATS backend as a plugin.
package main

import (
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/nats"
)

func main() { pluginrpc.Serve(nats.Plugin()) }
