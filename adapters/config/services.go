package config

// services.go: the services of the configuration: registrations, and defaults for a name.

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
)

// Service is one entry of services.
type Service struct {
	// Spec is what the entry says; its Service is the entry's name.
	Spec core.Spec
	// HasAddress is true when host and port are given: the host registers it under
	// auto_register. Without, it is the defaults of that service name.
	HasAddress bool
}

// Registrations returns the entries that have an address, by name.
func (c Config) Registrations() []core.Spec {
	var out []core.Spec
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		if s := c.Services[name]; s.HasAddress {
			out = append(out, s.Spec)
		}
	}
	return out
}

// ServiceDefaults returns the entries that have no address.
func (c Config) ServiceDefaults() map[string]core.Spec {
	out := map[string]core.Spec{}
	for name, s := range c.Services {
		if !s.HasAddress {
			out[name] = s.Spec
		}
	}
	return out
}

// serviceShape is the shape of an entry: the JSON of a core.Spec, without the name. A test
// holds the two together.
type serviceShape struct {
	ID             string          `koanf:"id"`
	Host           string          `koanf:"host"`
	Port           int             `koanf:"port"`
	Endpoints      []endpointShape `koanf:"endpoints"`
	Scheme         string          `koanf:"scheme"`
	Version        string          `koanf:"version"`
	Region         string          `koanf:"region"`
	Zone           string          `koanf:"zone"`
	Datacenter     string          `koanf:"datacenter"`
	Weight         int             `koanf:"weight"`
	Tags           []string        `koanf:"tags"`
	Metadata       map[string]any  `koanf:"metadata"`
	HealthCheckURL string          `koanf:"health_check_url"`
	Status         string          `koanf:"status"`
	TTL            time.Duration   `koanf:"ttl"`
	Keepalive      string          `koanf:"keepalive"`
	CreateOnly     bool            `koanf:"create_only"`
	Check          checkShape      `koanf:"check"`
}

type endpointShape struct {
	Name   string `koanf:"name"`
	Scheme string `koanf:"scheme"`
	Host   string `koanf:"host"`
	Port   int    `koanf:"port"`
}

type checkShape struct {
	Type            string        `koanf:"type"`
	Path            string        `koanf:"path"`
	Command         []string      `koanf:"command"`
	Interval        time.Duration `koanf:"interval"`
	Timeout         time.Duration `koanf:"timeout"`
	Rise            int           `koanf:"rise"`
	Fall            int           `koanf:"fall"`
	ExpectStatus    any           `koanf:"expect_status"`
	ExpectBody      string        `koanf:"expect_body"`
	DeregisterAfter time.Duration `koanf:"deregister_after"`
}

// services reads the typed entries.
func (l *loading) services(typed map[string]any, d core.Defaults) map[string]Service {
	out := make(map[string]Service, len(typed))
	for _, name := range slices.Sorted(maps.Keys(typed)) {
		fields, _ := typed[name].(map[string]any) // the schema says a section
		s, err := readService(name, fields, d)
		if err != nil {
			l.serviceFault(name, err)
			continue
		}
		out[name] = s
	}
	return out
}

func readService(name string, fields map[string]any, d core.Defaults) (Service, error) {
	_, hasHost := fields["host"]
	_, hasPort := fields["port"]
	switch {
	case hasHost && !hasPort:
		return Service{}, &core.FieldError{Field: "host", Allowed: "there is no port beside it; give both, or neither for defaults of that name"}
	case hasPort && !hasHost:
		return Service{}, &core.FieldError{Field: "port", Allowed: "there is no host beside it; give both, or neither for defaults of that name"}
	}
	body, _ := jsonReady(fields).(map[string]any) // a map stays one
	if !hasHost {
		body["port"] = 0 // a Spec's JSON has one
	}
	b, err := json.Marshal(body)
	if err != nil {
		return Service{}, err
	}
	s := Service{HasAddress: hasHost}
	if err := json.Unmarshal(b, &s.Spec); err != nil {
		return Service{}, err
	}
	s.Spec.Service = name
	d.CallerHost = "127.0.0.1"
	trial := s.Spec
	if hasHost {
		if s.Spec.Keepalive == "" {
			s.Spec.Keepalive = core.KeepaliveAuto
		}
	} else {
		trial.Host, trial.Port, d.AllowForeignHealthURL = d.CallerHost, 1, true
	}
	_, _, err = trial.Resolve(d)
	return s, err
}

// serviceFault places a fault of an entry at the line of the field that it names.
func (l *loading) serviceFault(name string, err error) {
	path := []string{"services", name}
	fe, ok := errors.AsType[*core.FieldError](err)
	if !ok {
		fe = &core.FieldError{Allowed: err.Error()}
	}
	var parts []string
	if fe.Field != "" && fe.Field != "service" {
		for part := range strings.SplitSeq(fe.Field, ".") {
			bare, _, _ := strings.Cut(part, "[")
			parts = append(parts, bare)
		}
	}
	var src Source
	for n := len(parts); n >= 0; n-- {
		if at, known := l.where[internalPath(append(slices.Clone(path), parts[:n]...))]; known {
			src = at
			break
		}
	}
	located := *fe
	located.Field = formatPath(path)
	if len(parts) > 0 {
		located.Field += "." + fe.Field
	}
	l.problems.add(src, &located)
}

// jsonReady turns durations into what a Spec's JSON takes.
func jsonReady(v any) any {
	switch x := v.(type) {
	case time.Duration:
		return x.String()
	case map[string]any:
		out := make(map[string]any, len(x))
		for key, item := range x {
			out[key] = jsonReady(item)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = jsonReady(item)
		}
		return out
	default:
		return v
	}
}
