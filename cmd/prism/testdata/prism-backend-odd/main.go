// Command prism-backend-odd is the memory backend with a fault of one's choice, for tests of
// the program: "deletes" answers deletions and does not carry them out, "unreachable" is a store
// that is not there. It leaves a file named after its process in the folder "pids".
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// losing forgets deletions.
type losing struct{ ports.Backend }

// Apply implements ports.Backend.
func (l losing) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	var kept []ports.Mutation
	for _, m := range muts {
		if m.Delete == nil {
			kept = append(kept, m)
		}
	}
	done, err := l.Backend.Apply(ctx, kept)
	if err != nil {
		return nil, err
	}
	results := make([]ports.MutationResult, len(muts))
	for i, m := range muts {
		if m.Delete == nil {
			results[i], done = done[0], done[1:]
		}
	}
	return results, nil
}

func open(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
	var o struct{ Namespace, Fault, Password, Pids string }
	if err := pluginrpc.DecodeOptions(options, &o); err != nil {
		return nil, err
	}
	if o.Pids != "" {
		if err := os.WriteFile(filepath.Join(o.Pids, strconv.Itoa(os.Getpid())), nil, 0o600); err != nil {
			return nil, err
		}
	}
	if o.Fault == "unreachable" {
		return nil, fmt.Errorf("backend odd: nobody answers at its url; start the store: %w", ports.ErrUnavailable)
	}
	b, err := memory.Open(ctx, memory.Options{Namespace: o.Namespace})
	if err != nil || o.Fault != "deletes" {
		return b, err
	}
	return losing{b}, nil
}

func main() {
	info := memory.Info()
	pluginrpc.Serve(pluginrpc.Plugin{
		Name: "odd", Version: "0.1.0", Capabilities: info.Capabilities, Limits: info.Limits, Open: open,
		Options: []ports.Option{
			{Name: "fault", Type: ports.OptionString, Doc: "What is wrong with it."},
			{Name: "password", Type: ports.OptionString, Secret: true, Doc: "It opens nothing."},
			{Name: "pids", Type: ports.OptionString, Doc: "Where to leave a file for each process."},
		},
	})
}
