// Command prism-backend-memory serves the memory backend as a plugin. The records live in
// this process and go with it.
package main

import (
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/memory"
)

func main() { pluginrpc.Serve(pluginrpc.PluginOf(memory.Info(), nil, memory.Open)) }
