package redis

// plugin.go: the backend as a plugin serves it.

import (
	"context"
	"encoding/json"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/ports"
)

// Plugin is what the backend's program serves. The client's own log, which is one for the whole
// program, is then at the level of debugging: what matters is in errors and in Health.
func Plugin() pluginrpc.Plugin {
	goredis.SetLogger(clientLog{})
	info := Info()
	return pluginrpc.Plugin{
		Name: info.Name, Version: info.Version, Capabilities: info.Capabilities, Limits: info.Limits, Options: Schema(),
		Open: func(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
			var o Options
			if err := pluginrpc.DecodeOptions(options, &o); err != nil {
				return nil, err
			}
			b, err := Open(ctx, o)
			if err != nil {
				return nil, err
			}
			return b, nil
		},
	}
}

// clientLog takes what the client logs.
type clientLog struct{}

// Printf implements the client's logger.
func (clientLog) Printf(ctx context.Context, format string, args ...any) {
	logger().DebugContext(ctx, "the client says", "text", fmt.Sprintf(format, args...))
}
