package httpapi

// schema.go: the types that describe requests and answers in the OpenAPI document. Where the
// core reads or writes the JSON, a test holds these types and the core's together.

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/core"
)

// registration is the body of a registration; core.Spec reads it.
type registration struct {
	Service        string     `json:"service,omitempty" doc:"The service's name; when given, that of the path."`
	ID             string     `json:"id,omitempty" doc:"1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit. Default {service}-{host}-{port}, so that a restart takes over its own record." example:"api-1"`
	Host           string     `json:"host" doc:"Name, IPv4 or IPv6 address. A wildcard (0.0.0.0, ::) becomes the caller's address." example:"10.0.0.7"`
	Port           int        `json:"port" minimum:"1" maximum:"65535" example:"8080"`
	Endpoints      []endpoint `json:"endpoints,omitempty" nullable:"false" maxItems:"64" doc:"Further ways to reach the instance, by unique name."`
	Scheme         string     `json:"scheme,omitempty" doc:"Default http." example:"http"`
	Version        string     `json:"version,omitempty" doc:"Default metadata.version, else 1.0.0." example:"1.0.0"`
	Region         string     `json:"region,omitempty" doc:"Default metadata.region, else default."`
	Zone           string     `json:"zone,omitempty"`
	Datacenter     string     `json:"datacenter,omitempty" doc:"Default default."`
	Weight         int        `json:"weight,omitempty" minimum:"0" maximum:"65535" doc:"Share of the traffic; 0 means none. Default metadata.weight, else 100."`
	Tags           []string   `json:"tags,omitempty" nullable:"false" maxItems:"128" doc:"A set of names."`
	Metadata       freeObject `json:"metadata,omitempty"`
	HealthCheckURL string     `json:"health_check_url,omitempty" doc:"Of the instance's own host. Default {base_url}/health."`
	Status         string     `json:"status,omitempty" enum:"up,healthy,unhealthy,starting,maintenance,stopping" doc:"The first status; an update leaves it alone. Default up."`
	TTL            seconds    `json:"ttl,omitempty" doc:"How long the registration lives without a heartbeat: 2 to 86,400 seconds, fractions round up. Default 300."`
	Keepalive      string     `json:"keepalive,omitempty" enum:"auto,client" doc:"client: you send heartbeats; auto: the host renews while it lives. Default client."`
	CreateOnly     bool       `json:"create_only,omitempty" doc:"Refuse (409) instead of taking over an instance of the same id."`
	Check          *check     `json:"check,omitempty"`
}

type endpoint struct {
	Name   string `json:"name" example:"metrics"`
	Scheme string `json:"scheme,omitempty" doc:"Default http."`
	Host   string `json:"host,omitempty" doc:"Default the instance's own."`
	Port   int    `json:"port" minimum:"1" maximum:"65535"`
}

type check struct {
	Type            string    `json:"type,omitempty" enum:"http,tcp,grpc,exec,none" doc:"Default by scheme: http and https http, grpc grpc, others tcp. none: a live lease is healthy. exec only where the host's configuration allows it."`
	Path            string    `json:"path,omitempty" doc:"Replaces the path of health_check_url." example:"/health"`
	Command         []string  `json:"command,omitempty" nullable:"false" doc:"exec only: program and arguments, no shell."`
	Interval        seconds   `json:"interval,omitempty" doc:"1 to 86,400 seconds. Default the host's health_check_interval."`
	Timeout         seconds   `json:"timeout,omitempty" doc:"10 ms to the interval. Default the smaller of the interval and 10 seconds."`
	Rise            int       `json:"rise,omitempty" minimum:"1" maximum:"100" doc:"Passes in a row from unhealthy to healthy. Default 2."`
	Fall            int       `json:"fall,omitempty" minimum:"1" maximum:"100" doc:"Failures in a row from healthy to unhealthy. Default 3."`
	ExpectStatus    statusSet `json:"expect_status,omitempty"`
	ExpectBody      string    `json:"expect_body,omitempty" maxLength:"1024" doc:"Must occur in the first 64 KiB of the answer."`
	DeregisterAfter seconds   `json:"deregister_after,omitempty" doc:"Remove an instance that was unhealthy for this long; 0 never. Default the ttl for keepalive client, 0 for auto."`
	Implicit        bool      `json:"implicit,omitempty" doc:"Nobody asked for this check: 404 and 405 then count as alive."`
}

// instance is core.Instance as it is shown.
type instance struct {
	Namespace      string         `json:"namespace"`
	Service        string         `json:"service"`
	ID             string         `json:"id"`
	Host           string         `json:"host"`
	Port           int            `json:"port"`
	Endpoints      []endpoint     `json:"endpoints" nullable:"false"`
	Scheme         string         `json:"scheme"`
	Version        string         `json:"version"`
	Region         string         `json:"region"`
	Zone           string         `json:"zone"`
	Datacenter     string         `json:"datacenter"`
	Weight         int            `json:"weight"`
	Tags           []string       `json:"tags" nullable:"false"`
	Metadata       freeObject     `json:"metadata"`
	HealthCheckURL string         `json:"health_check_url"`
	TTL            float64        `json:"ttl" doc:"Seconds."`
	Keepalive      core.Keepalive `json:"keepalive" enum:"auto,client"`
	Check          check          `json:"check"`
	Address        string         `json:"address" doc:"host:port, IPv6 in brackets." example:"10.0.0.7:8080"`
	BaseURL        string         `json:"base_url" example:"http://10.0.0.7:8080"`
	Status         core.Status    `json:"status" enum:"unknown,healthy,unhealthy,starting,maintenance,stopping" doc:"The declared status unless it is up, then the observed one."`
	Declared       core.Declared  `json:"declared" enum:"up,starting,maintenance,stopping" doc:"What the owner or an operator says."`
	Observed       core.Observed  `json:"observed" enum:"unknown,healthy,unhealthy" doc:"What checks found."`
	Reason         string         `json:"reason"`
	StatusBy       string         `json:"status_by" doc:"Who set the status last." example:"owner"`
	Suspect        bool           `json:"suspect" doc:"It expired together with most of its service and is kept for a while."`
	Owner          string         `json:"owner" doc:"The process that holds it."`
	Generation     string         `json:"generation" doc:"Which registration owns it."`
	Revision       string         `json:"revision" doc:"Which write came last; quoted, it is the ETag."`
	RegisteredAt   string         `json:"registered_at" format:"date-time"`
	UpdatedAt      string         `json:"updated_at" format:"date-time"`
}

// event is core.Event as it is shown.
type event struct {
	Cursor    string         `json:"cursor" doc:"Opaque; gives the place to go on from."`
	Time      string         `json:"time" format:"date-time"`
	Type      core.EventType `json:"type"`
	Namespace string         `json:"namespace"`
	Service   string         `json:"service" doc:"Empty for events of the backend."`
	ID        string         `json:"id"`
	OldStatus core.Status    `json:"old_status"`
	NewStatus core.Status    `json:"new_status"`
	Cause     core.Cause     `json:"cause"`
	Actor     string         `json:"actor"`
	Reason    string         `json:"reason"`
}

// shown is an instance in an answer, shownEvent an event.
type (
	shown      struct{ core.Instance }
	shownEvent struct{ core.Event }
)

// Schema implements huma.SchemaProvider.
func (shown) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[instance](), true, "")
}

// Schema implements huma.SchemaProvider.
func (shownEvent) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[event](), true, "")
}

func showAll(list []core.Instance) []shown {
	out := make([]shown, len(list))
	for i := range list {
		out[i] = shown{list[i]}
	}
	return out
}

// seconds documents a duration: a number of seconds, or "30s".
type seconds string

// Schema implements huma.SchemaProvider.
func (seconds) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeNumber, Description: "Seconds."},
		{Type: huma.TypeString, Description: "A duration.", Examples: []any{"30s"}},
	}}
}

// statusSet documents a set of HTTP statuses.
type statusSet string

// Schema implements huma.SchemaProvider.
func (statusSet) Schema(huma.Registry) *huma.Schema {
	status := &huma.Schema{Type: huma.TypeInteger}
	set := &huma.Schema{Type: huma.TypeString, Examples: []any{"200-299,404"}}
	return &huma.Schema{
		Description: "HTTP statuses that pass. Default 2xx.",
		OneOf:       []*huma.Schema{status, set, {Type: huma.TypeArray, Items: &huma.Schema{OneOf: []*huma.Schema{status, set}}}},
	}
}

// freeObject documents metadata.
type freeObject string

// Schema implements huma.SchemaProvider.
func (freeObject) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Description: "Any JSON object: at most 64 KiB, 32 levels deep, no key twice; numbers are kept exactly.",
	}
}
