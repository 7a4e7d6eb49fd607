// Command prism-backend-memory serves the memory backend as a plugin. The records live in
// this process and go with it.
package main

import (
	"context"
	"encoding/json"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

func main() {
	info := memory.Info()
	pluginrpc.Serve(pluginrpc.Plugin{
		Name: info.Name, Version: info.Version, Capabilities: info.Capabilities, Limits: info.Limits,
		Open: func(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
			var o memory.Options
			if err := pluginrpc.DecodeOptions(options, &o); err != nil {
				return nil, err
			}
			return memory.Open(ctx, o)
		},
	})
}
