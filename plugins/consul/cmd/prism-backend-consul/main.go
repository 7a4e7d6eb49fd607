// Command prism-backend-consul serves the Consul backend as a plugin.
package main

import (
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/consul"
)

func main() { pluginrpc.Serve(consul.Plugin()) }
