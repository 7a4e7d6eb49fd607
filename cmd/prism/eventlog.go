package main

// eventlog.go: the host's own look at the events: a line in the log and a count for each.

import (
	"context"
	"log/slog"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// followEvents logs and counts events until ctx ends, as the section events says.
func (h *host) followEvents(ctx context.Context, cfg config.Events) error {
	if !cfg.EnableLogging && !cfg.EnableMetrics {
		return nil
	}
	sub, err := h.client.Subscribe(discovery.SubscribeOptions{})
	if err != nil {
		return err
	}
	h.tasks.Go(func() {
		for {
			item, err := sub.Next(ctx)
			if err != nil {
				return
			}
			if item.Lagged > 0 {
				h.log.Warn("the event log is too slow and missed events", slog.Int("missed", item.Lagged))
				h.metrics.EventsMissed(item.Lagged)
				continue
			}
			if cfg.EnableMetrics {
				h.metrics.Event(item.Event.Type)
			}
			if cfg.EnableLogging {
				h.logEvent(ctx, item.Event)
			}
		}
	})
	return nil
}

func (h *host) logEvent(ctx context.Context, e core.Event) {
	level := slog.LevelInfo
	switch e.Type {
	case core.EventExpired, core.EventDegraded, core.EventLeaseSuperseded:
		level = slog.LevelWarn
	case core.EventRegistered, core.EventUpdated, core.EventStatusChanged, core.EventDeregistered, core.EventRecovered, core.EventDiscovered:
	}
	attrs := []slog.Attr{slog.String("event", string(e.Type))}
	for _, a := range []struct{ key, value string }{
		{"service", e.Service},
		{"id", e.ID},
		{"old_status", string(e.OldStatus)},
		{"new_status", string(e.NewStatus)},
		{"cause", string(e.Cause)},
		{"actor", e.Actor},
		{"reason", e.Reason},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	h.log.LogAttrs(ctx, level, "event", attrs...)
}
