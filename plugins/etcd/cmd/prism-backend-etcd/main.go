// Command prism-backend-etcd serves the etcd backend as a plugin.
package main

import (
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/etcd"
)

func main() { pluginrpc.Serve(etcd.Plugin()) }
