package main

// logging.go: the host's log, as the section logging says.

import (
	"io"
	"log/slog"
	"maps"
	"slices"

	"github.com/marketprism/prism/adapters/config"
)

// newLogger returns the log and its level, which a reload may change.
func newLogger(w io.Writer, cfg config.Logging) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	level.Set(cfg.SlogLevel())
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: shape(cfg.Fields)}
	var handler slog.Handler = slog.NewJSONHandler(w, o)
	if cfg.Format == "text" {
		handler = slog.NewTextHandler(w, o)
	}
	log := slog.New(handler)
	for _, name := range slices.Sorted(maps.Keys(cfg.Fields)) {
		if value := cfg.Fields[name].Value; value != "" {
			log = log.With(slog.String(name, value))
		}
	}
	return log, level
}

// usualNames translates the names of the configuration into slog's.
var usualNames = map[string]string{
	"timestamp": slog.TimeKey, "message": slog.MessageKey, "service_name": "service", "instance_id": "id",
}

// shape leaves out the attributes that the configuration does not show, and writes durations
// as people do.
func shape(fields map[string]config.LogField) func([]string, slog.Attr) slog.Attr {
	hidden := map[string]bool{}
	for name, field := range fields {
		if field.Show || field.Value != "" {
			continue
		}
		hidden[name] = true
		if usual, ok := usualNames[name]; ok {
			hidden[usual] = true
		}
	}
	return func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && hidden[a.Key] {
			return slog.Attr{}
		}
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}
}
