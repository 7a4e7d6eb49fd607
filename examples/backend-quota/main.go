// Command prism-backend-quota is a whole backend in fifty lines: the memory backend, with a
// limit on how many instances it takes. Build it as prism-backend-quota and serve it with
// prism serve --backend quota --set backend_config.limit=10.
package main

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

type quota struct {
	ports.Backend // everything that is not below
	limit, used   atomic.Int64
}

// Apply refuses what would create one record too many, and passes on the rest.
func (q *quota) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	for _, m := range muts {
		if m.Put != nil && m.Put.Replaces.IsZero() && q.used.Add(1) > q.limit.Load() {
			q.used.Add(-1)
			return nil, core.Invalid("id", m.Put.Record.Key.String(), "the quota is used up; deregister something first")
		}
	}
	return q.Backend.Apply(ctx, muts)
}

func open(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
	var o struct {
		Namespace string `json:"namespace"`
		Limit     int64  `json:"limit"`
	}
	if err := pluginrpc.DecodeOptions(options, &o); err != nil {
		return nil, err
	}
	inner, err := memory.Open(ctx, memory.Options{Namespace: o.Namespace})
	q := &quota{Backend: inner}
	q.limit.Store(o.Limit)
	return q, err
}

func main() {
	info := memory.Info()
	pluginrpc.Serve(pluginrpc.Plugin{
		Name: "quota", Version: "0.1.0", Capabilities: info.Capabilities, Limits: info.Limits, Open: open,
		Options: []ports.Option{{Name: "limit", Type: ports.OptionInt, Default: "100", Doc: "How many registrations are taken."}},
	})
}
