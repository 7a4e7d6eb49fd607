package redis

// plugin.go: the backend as a plugin serves it.

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/marketprism/prism/adapters/pluginrpc"
)

// Plugin is what the backend's program serves. The client's own log, which is one for the whole
// program, is then at the level of debugging: what matters is in errors and in Health.
func Plugin() pluginrpc.Plugin {
	goredis.SetLogger(clientLog{})
	return pluginrpc.PluginOf(Info(), Schema(), Open)
}

// clientLog takes what the client logs.
type clientLog struct{}

// Printf implements the client's logger.
func (clientLog) Printf(ctx context.Context, format string, args ...any) {
	logger().DebugContext(ctx, "the client says", "text", fmt.Sprintf(format, args...))
}
