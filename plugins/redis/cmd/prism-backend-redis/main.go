// Command prism-backend-redis serves the Redis backend as a plugin.
package main

import (
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/redis"
)

func main() { pluginrpc.Serve(redis.Plugin()) }
