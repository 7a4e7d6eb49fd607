package core

// instance.go: one instance of a service as everybody sees it.

import (
	"encoding/json"
	"strings"
	"time"
)

// Instance is an immutable snapshot of one registered instance. Copies are cheap enough to
// pass by value and share their tags, endpoints and metadata, which nobody can change.
type Instance struct {
	Namespace      string
	Service        string
	ID             string
	Host           string
	Port           int
	Endpoints      Endpoints
	Scheme         string
	Version        string
	Region         string
	Zone           string
	Datacenter     string
	Weight         int
	Tags           Tags
	Metadata       Metadata
	HealthCheckURL string
	TTL            time.Duration
	Keepalive      Keepalive
	Check          Check

	State State
	// Suspect is set by the protect threshold: the record expired together with most of its
	// service's instances and is kept for a while.
	Suspect bool

	Owner        string // a random identifier of the process that holds the instance
	Generation   Generation
	Revision     Revision
	RegisteredAt time.Time // of the first registration; survives adoption and re-assertion
	UpdatedAt    time.Time
}

// Key returns the instance's name.
func (i Instance) Key() Key { return Key{Service: i.Service, ID: i.ID} }

// Status is what is shown: the declared state unless it is "up", then the observed one.
func (i Instance) Status() Status { return i.State.Status() }

// Address is host:port, IPv6 bracketed.
func (i Instance) Address() string { return JoinAddress(i.Host, i.Port) }

// BaseURL is scheme://host:port.
func (i Instance) BaseURL() string { return i.Scheme + "://" + i.Address() }

// IsOwnHost reports whether a host, such as that of a URL, is the instance's own. A wildcard
// stands for it.
func (i Instance) IsOwnHost(host string) bool {
	given, err := NormaliseHost("host", host)
	if err != nil {
		return false
	}
	own, err := NormaliseHost("host", i.Host)
	return err == nil && (strings.EqualFold(given, own) || IsWildcard(given))
}

// IsZero reports whether there is no instance.
func (i Instance) IsZero() bool { return i.Service == "" }

// SameDescription reports whether everything that the owner describes is equal: all but
// state, ownership, revision and times.
func (i Instance) SameDescription(o Instance) bool {
	return i.Host == o.Host && i.Port == o.Port && i.Scheme == o.Scheme && i.Version == o.Version &&
		i.Region == o.Region && i.Zone == o.Zone && i.Datacenter == o.Datacenter && i.Weight == o.Weight &&
		i.HealthCheckURL == o.HealthCheckURL && i.TTL == o.TTL && i.Keepalive == o.Keepalive &&
		i.Metadata == o.Metadata && i.Tags.Equal(o.Tags) && i.Endpoints.Equal(o.Endpoints) && i.Check.equal(o.Check)
}

func (c Check) equal(o Check) bool {
	a, _ := c.MarshalJSON() // plain values always marshal
	b, _ := o.MarshalJSON()
	return string(a) == string(b)
}

// timestampFormat is RFC 3339 in UTC with milliseconds.
const timestampFormat = "2006-01-02T15:04:05.000Z"

// FormatTime writes a time as Prism's surfaces show it; the zero time is "".
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timestampFormat)
}

// description is the part that the owner describes, as JSON. It is the record's body in the
// store and the first part of the public form.
type description struct {
	Host           string         `json:"host"`
	Port           int            `json:"port"`
	Endpoints      Endpoints      `json:"endpoints"`
	Scheme         string         `json:"scheme"`
	Version        string         `json:"version"`
	Region         string         `json:"region"`
	Zone           string         `json:"zone"`
	Datacenter     string         `json:"datacenter"`
	Weight         int            `json:"weight"`
	Tags           Tags           `json:"tags"`
	Metadata       Metadata       `json:"metadata"`
	HealthCheckURL string         `json:"health_check_url"`
	TTL            Duration       `json:"ttl"`
	Keepalive      Keepalive      `json:"keepalive"`
	Check          describedCheck `json:"check"`
}

func (i Instance) description() description {
	return description{
		Host: i.Host, Port: i.Port, Endpoints: i.Endpoints, Scheme: i.Scheme, Version: i.Version, Region: i.Region,
		Zone: i.Zone, Datacenter: i.Datacenter, Weight: i.Weight, Tags: i.Tags, Metadata: i.Metadata,
		HealthCheckURL: i.HealthCheckURL, TTL: Duration(i.TTL), Keepalive: i.Keepalive, Check: describedCheck{i.Check},
	}
}

func (d description) apply(i *Instance) {
	i.Host, i.Port, i.Endpoints, i.Scheme, i.Version = d.Host, d.Port, d.Endpoints, d.Scheme, d.Version
	i.Region, i.Zone, i.Datacenter, i.Weight, i.Tags = d.Region, d.Zone, d.Datacenter, d.Weight, d.Tags
	i.Metadata, i.HealthCheckURL, i.TTL, i.Keepalive, i.Check = d.Metadata, d.HealthCheckURL, d.TTL.Std(), d.Keepalive, d.Check.Check
}

// instanceJSON is the public form: every field, snake_case, derived ones included.
type instanceJSON struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	ID        string `json:"id"`
	description
	Address      string   `json:"address"`
	BaseURL      string   `json:"base_url"`
	Status       Status   `json:"status"`
	Declared     Declared `json:"declared"`
	Observed     Observed `json:"observed"`
	Reason       string   `json:"reason"`
	StatusBy     string   `json:"status_by"`
	Suspect      bool     `json:"suspect"`
	Owner        string   `json:"owner"`
	Generation   string   `json:"generation"`
	Revision     string   `json:"revision"`
	RegisteredAt string   `json:"registered_at"`
	UpdatedAt    string   `json:"updated_at"`
}

// MarshalJSON writes the public form.
func (i Instance) MarshalJSON() ([]byte, error) {
	return json.Marshal(instanceJSON{
		Namespace: i.Namespace, Service: i.Service, ID: i.ID, description: i.description(), Address: i.Address(),
		BaseURL: i.BaseURL(), Status: i.Status(), Declared: i.State.Declared, Observed: i.State.Observed,
		Reason: i.State.Reason, StatusBy: i.State.Actor, Suspect: i.Suspect, Owner: i.Owner,
		Generation: i.Generation.String(), Revision: i.Revision.String(),
		RegisteredAt: FormatTime(i.RegisteredAt), UpdatedAt: FormatTime(i.UpdatedAt),
	})
}

// UnmarshalJSON reads the public form, for clients of a host; unknown fields are ignored.
func (i *Instance) UnmarshalJSON(b []byte) error {
	var j instanceJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	out := Instance{
		Namespace: j.Namespace, Service: j.Service, ID: j.ID, Suspect: j.Suspect, Owner: j.Owner,
		State: State{Declared: j.Declared, Observed: j.Observed, Reason: j.Reason, Actor: j.StatusBy},
	}
	j.apply(&out)
	var err error
	if out.Generation, err = ParseGeneration(j.Generation); err != nil {
		return err
	}
	if out.Revision, err = ParseRevision(j.Revision); err != nil {
		return err
	}
	for _, t := range []struct {
		from string
		to   *time.Time
	}{{j.RegisteredAt, &out.RegisteredAt}, {j.UpdatedAt, &out.UpdatedAt}} {
		if t.from == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339, t.from); err != nil {
			return err
		}
	}
	*i = out
	return nil
}
