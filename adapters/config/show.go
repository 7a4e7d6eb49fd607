package config

// show.go: the configuration in force, for people: each value, where it came from, and
// whether it does anything.

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/marketprism/prism/ports"
)

// Entry is one value as "config show" prints it.
type Entry struct {
	Path string `json:"path"`
	// Value is text, a number, true or false, or a list or map of these; durations are text
	// such as "30s"; secrets are "***".
	Value  any    `json:"value"`
	Layer  Layer  `json:"layer"`
	Origin string `json:"origin"` // "file:line", a variable or a flag; "" for a default
	// NoEffect says why the value does nothing; "" when it is in force.
	NoEffect string `json:"no_effect,omitempty"`
}

// Show lists every value in force and every one that was given and does nothing, in the
// order of the documentation. Options of the backend are masked as its schema says; without
// one, by their names.
func (l *Loaded) Show(schema ...ports.Option) []Entry {
	out := make([]Entry, 0, len(l.entries)+len(l.profiles))
	for _, e := range l.entries {
		secret := e.secret
		if e.path[0] == keyBackendConfig {
			name := e.path[len(e.path)-1]
			secret = secretName(name)
			if e.noEffect == "" {
				secret = secretOption(name, schema)
			}
		}
		out = append(out, e.show(secret))
	}
	for _, e := range l.profiles {
		out = append(out, e.show(false))
	}
	return out
}

func (e entry) show(secret bool) Entry {
	why := e.noEffect
	if why == "" {
		why = noEffect(e)
	}
	return Entry{
		Path: formatPath(e.path), Value: mask(showable(e.setting.Value), secret), Layer: e.setting.From.Layer,
		Origin: e.setting.From.String(), NoEffect: why,
	}
}

// showable turns typed values into what JSON and people read alike.
func showable(v any) any {
	switch x := v.(type) {
	case time.Duration:
		return x.String()
	case LogField:
		if x.Value != "" {
			return x.Value
		}
		return x.Show
	case []CustomMetric:
		return []any{}
	case json.Number:
		return x
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = showable(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for key, item := range x {
			out[key] = showable(item)
		}
		return out
	default:
		return v
	}
}

// idle are keys, and sections, that are accepted and do nothing; the first that matches
// counts, and "" is in force.
var idle = []struct{ key, why string }{
	{"events.file", "no effect yet: the history file is not built in this version"},
	{"server.dns", "no effect yet: the DNS listener is not built in this version"},
	{"server.dns_domain", "no effect yet: the DNS listener is not built in this version"},
	{"network.retry", "no effect any more: the host retries by itself, with jitter, until the caller's deadline"},
	{"network.request_timeout", "no effect any more: how long a call to the store may take is fixed, 5 s for a write"},
	{"security.tls", "no effect yet: TLS on the listeners is not built in this version"},
	{"security.auth.type", "no effect yet: authentication is not built in this version"},
	{"security.auth.token", "no effect yet: authentication is not built in this version"},
	{"security.auth.username", "no effect yet: authentication is not built in this version"},
	{"security.auth.password", "no effect yet: authentication is not built in this version"},
	{"security.auth.tokens", "no effect yet: authentication is not built in this version"},
	{"logging.enable_structured", "no effect any more: logs are always structured; logging.format chooses json or text"},
	{"monitoring.metrics_labels.service", ""},
	{"monitoring.metrics_labels", "no effect any more: of the labels only service can be chosen, so that their number stays bounded"},
	{"monitoring.custom_metrics", "no effect any more: these metrics exist by themselves and describe themselves"},
}

// noEffect says why a value that somebody gave does nothing, or "".
func noEffect(e entry) string {
	if e.setting.From.Layer == LayerDefault {
		return ""
	}
	path := formatPath(e.path)
	for _, i := range idle {
		if path == i.key || strings.HasPrefix(path, i.key+".") {
			return i.why
		}
	}
	return ""
}

// report completes the notices with the keys that do nothing.
func (l *Loaded) report(before []Notice) {
	l.Notices = before
	for _, e := range l.entries {
		if why := noEffect(e); why != "" && e.noEffect == "" {
			key := formatPath(e.path)
			l.Notices = append(l.Notices, Notice{
				Kind: NoticeNoEffect, Key: key, Source: e.setting.From, Message: fmt.Sprintf("%s has %s", key, why),
			})
		}
	}
}
