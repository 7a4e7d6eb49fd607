// Command prism-backend-quota is a whole backend in a hundred lines: the memory backend, with a
// limit on how many instances it takes. Build it as prism-backend-quota and serve it with
// prism serve --backend quota --set backend_config.limit=10.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

type quota struct {
	ports.Backend // everything that is not below
	limit         int
	mu            sync.Mutex // makes counting and writing one step
}

// Apply refuses each item that would create one record too many, and passes on the rest.
func (q *quota) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	held, err := q.held(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]ports.MutationResult, len(muts))
	var passed []ports.Mutation
	var places []int // of what is passed on
	for i, m := range muts {
		if m.Put != nil && m.Put.Replaces.IsZero() && !held[m.Put.Record.Key] {
			if len(held) >= q.limit {
				results[i].Err = core.Invalid("id", m.Put.Record.Key.String(), "the quota is used up; deregister something first")
				continue
			}
			held[m.Put.Record.Key] = true
		}
		passed, places = append(passed, m), append(places, i)
	}
	if len(passed) == 0 {
		return results, nil
	}
	done, err := q.Backend.Apply(ctx, passed)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		results[place] = done[i]
	}
	return results, nil
}

// held lists what is registered: what expired or was removed counts no more.
func (q *quota) held(ctx context.Context) (map[core.Key]bool, error) {
	list, err := q.Watch(ctx, ports.WatchRequest{})
	if err != nil {
		return nil, err
	}
	defer list.Close()
	held := map[core.Key]bool{}
	for {
		event, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return held, nil
		}
		if err != nil {
			return nil, err
		}
		if event.Kind == ports.WatchPut {
			held[event.Record.Key] = true
		}
	}
}

func open(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
	var o struct {
		Namespace string `json:"namespace"`
		Limit     int    `json:"limit"`
	}
	if err := pluginrpc.DecodeOptions(options, &o); err != nil {
		return nil, err
	}
	inner, err := memory.Open(ctx, memory.Options{Namespace: o.Namespace})
	return &quota{Backend: inner, limit: o.Limit}, err
}

func main() {
	info := memory.Info()
	pluginrpc.Serve(pluginrpc.Plugin{
		Name: "quota", Version: "0.1.0", Capabilities: info.Capabilities, Limits: info.Limits, Open: open,
		Options: []ports.Option{{Name: "limit", Type: ports.OptionInt, Default: "100", Doc: "How many registrations are taken."}},
	})
}
