// Command prism-backend-journal is a whole backend in fifty lines: the memory backend, which also
// writes each change that it carries out to a file, as a line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

type journal struct {
	ports.Backend // everything that is not below
	log           *slog.Logger
}

// Apply passes on what it is asked, and writes down what was done.
func (j journal) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	results, err := j.Backend.Apply(ctx, muts)
	for i, done := range results {
		if done.Err == nil {
			j.log.Info("changed", "key", muts[i].Key().String(), "revision", done.Record.Revision.String())
		}
	}
	return results, err
}

func open(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
	var o struct{ Namespace, File string }
	if err := pluginrpc.DecodeOptions(options, &o); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(o.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("backend_config.file: %w: %w", err, ports.ErrInvalid)
	}
	inner, err := memory.Open(ctx, memory.Options{Namespace: o.Namespace})
	return journal{inner, slog.New(slog.NewJSONHandler(file, nil))}, err
}

func main() {
	info := memory.Info()
	pluginrpc.Serve(pluginrpc.Plugin{
		Name: "journal", Version: "0.1.0", Capabilities: info.Capabilities, Limits: info.Limits, Open: open,
		Options: []ports.Option{{Name: "file", Type: ports.OptionString, Required: true, Doc: "Where changes are written."}},
	})
}
