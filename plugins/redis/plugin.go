package redis

// plugin.go: the backend as a plugin serves it.

import (
	"context"
	"encoding/json"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/ports"
)

// Plugin is what the backend's program serves.
func Plugin() pluginrpc.Plugin {
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
