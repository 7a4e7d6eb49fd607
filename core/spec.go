package core

// spec.go: what an owner asks for when it registers, and how that becomes an instance:
// defaults, shorthand in the metadata, validation.

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Keepalive says who renews an instance.
type Keepalive string

// The ways of staying registered.
const (
	// KeepaliveAuto: Prism renews while the process (host or embedding program) lives.
	KeepaliveAuto Keepalive = "auto"
	// KeepaliveClient: the client sends heartbeats within the ttl.
	KeepaliveClient Keepalive = "client"
)

// Bounds of a ttl.
const (
	MinTTL = 2 * time.Second
	MaxTTL = 86_400 * time.Second
)

// MaxWeight is the greatest weight; 0 means no traffic.
const MaxWeight = 65_535

// Spec is what an owner declares of one instance. Only Service, Host and Port are needed.
// Its JSON form is the body of a registration (durations in seconds or "30s").
type Spec struct {
	Service        string // 1–128 of a-z A-Z 0-9 . _ -
	ID             string // default {service}-{host}-{port}
	Host           string // name, IPv4 or IPv6; a wildcard becomes the caller's address
	Port           int    // 1–65535
	Endpoints      []Endpoint
	Scheme         string // default "http"
	Version        string // default metadata.version, else "1.0.0"
	Region         string // default metadata.region, else "default"
	Zone           string
	Datacenter     string // default "default"
	Weight         *int   // 0–65,535; default metadata.weight, else 100
	Tags           []string
	Metadata       Metadata
	HealthCheckURL string // default {base_url}/health
	Status         string // initial status; default "up"
	TTL            time.Duration
	Keepalive      Keepalive
	CreateOnly     bool // refuse instead of taking over
	Check          *Check
}

type specJSON struct {
	Service        string          `json:"service,omitempty"`
	ID             string          `json:"id,omitempty"`
	Host           string          `json:"host"`
	Port           json.RawMessage `json:"port"`
	Endpoints      []Endpoint      `json:"endpoints,omitempty"`
	Scheme         string          `json:"scheme,omitempty"`
	Version        string          `json:"version,omitempty"`
	Region         string          `json:"region,omitempty"`
	Zone           string          `json:"zone,omitempty"`
	Datacenter     string          `json:"datacenter,omitempty"`
	Weight         json.RawMessage `json:"weight,omitempty"`
	Tags           []string        `json:"tags,omitempty"`
	Metadata       *Metadata       `json:"metadata,omitempty"`
	HealthCheckURL string          `json:"health_check_url,omitempty"`
	Status         string          `json:"status,omitempty"`
	TTL            json.RawMessage `json:"ttl,omitempty"`
	Keepalive      Keepalive       `json:"keepalive,omitempty"`
	CreateOnly     bool            `json:"create_only,omitempty"`
	Check          *Check          `json:"check,omitempty"`
}

// MarshalJSON writes the body of a registration.
func (s Spec) MarshalJSON() ([]byte, error) {
	j := specJSON{
		Service: s.Service, ID: s.ID, Host: s.Host, Port: json.RawMessage(strconv.Itoa(s.Port)), Endpoints: s.Endpoints,
		Scheme: s.Scheme, Version: s.Version, Region: s.Region, Zone: s.Zone, Datacenter: s.Datacenter, Tags: s.Tags,
		HealthCheckURL: s.HealthCheckURL, Status: s.Status, Keepalive: s.Keepalive, CreateOnly: s.CreateOnly, Check: s.Check,
	}
	if s.Weight != nil {
		j.Weight = json.RawMessage(strconv.Itoa(*s.Weight))
	}
	if s.TTL != 0 {
		j.TTL = secondsOf(s.TTL)
	}
	if !s.Metadata.IsEmpty() {
		j.Metadata = &s.Metadata
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the body of a registration; an unknown field is an error that names it.
func (s *Spec) UnmarshalJSON(b []byte) error {
	var j specJSON
	if err := DecodeStrict("", b, &j); err != nil {
		return err
	}
	out := Spec{
		Service: j.Service, ID: j.ID, Host: j.Host, Endpoints: j.Endpoints, Scheme: j.Scheme, Version: j.Version,
		Region: j.Region, Zone: j.Zone, Datacenter: j.Datacenter, Tags: j.Tags, HealthCheckURL: j.HealthCheckURL,
		Status: j.Status, Keepalive: j.Keepalive, CreateOnly: j.CreateOnly, Check: j.Check,
	}
	if j.Metadata != nil {
		out.Metadata = *j.Metadata
	}
	var err error
	if out.Port, err = wholeNumber("port", j.Port, "use 1–65535"); err != nil {
		return err
	}
	if present(j.Weight) {
		w, err := wholeNumber("weight", j.Weight, "use 0–65,535")
		if err != nil {
			return err
		}
		out.Weight = &w
	}
	if present(j.TTL) {
		if out.TTL, err = durationOf("ttl", j.TTL); err != nil {
			return err
		}
		if out.TTL <= 0 {
			return ttlError(strings.Trim(string(j.TTL), `"`))
		}
	}
	*s = out
	return nil
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// wholeNumber reads an integer and says in the user's terms what is wrong with anything else.
func wholeNumber(field string, raw json.RawMessage, allowed string) (int, error) {
	if !present(raw) {
		return 0, &FieldError{Field: field, Allowed: "it is missing; " + allowed}
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return 0, Invalid(field, strings.Trim(string(raw), `"`), allowed)
	}
	return n, nil
}

func ttlError(given any) error {
	return Invalid("ttl", given, "use 2 to 86,400 seconds; fractions are rounded up")
}

// Defaults is what a host adds to a Spec.
type Defaults struct {
	Namespace     string
	TTL           time.Duration // instance_ttl
	Keepalive     Keepalive
	CheckInterval time.Duration
	CheckTimeout  time.Duration
	HealthPath    string // network.health_check_endpoint, "/health"
	// CallerHost replaces a wildcard host; empty refuses wildcards.
	CallerHost string
	// AllowForeignHealthURL lets a health_check_url name another host than the instance's own.
	AllowForeignHealthURL bool
	AllowExec             bool
}

// StandardDefaults are the documented ones.
func StandardDefaults() Defaults {
	return Defaults{
		Namespace: "prism", TTL: 300 * time.Second, Keepalive: KeepaliveClient, CheckInterval: 30 * time.Second,
		CheckTimeout: 10 * time.Second, HealthPath: "/health",
	}
}

// Resolve validates a Spec and returns the instance it describes, with every default in
// force filled in, and warnings for people. Ownership, generation and times are the
// registry's to add. The error is a FieldError.
func (s Spec) Resolve(d Defaults) (Instance, []string, error) {
	var warnings []string
	if err := ValidateName("service", s.Service); err != nil {
		return Instance{}, nil, err
	}
	in := Instance{
		Namespace: d.Namespace, Service: s.Service, ID: s.ID, Port: s.Port, Scheme: s.Scheme, Version: s.Version,
		Region: s.Region, Zone: s.Zone, Datacenter: s.Datacenter, Metadata: s.Metadata, Keepalive: s.Keepalive,
	}
	host := s.Host
	if IsWildcard(host) {
		if d.CallerHost == "" {
			return Instance{}, nil, Invalid("host", host, "a wildcard is not an address that others can reach; name one")
		}
		warnings = append(warnings, fmt.Sprintf("host: %s is a wildcard; registered as %s", host, d.CallerHost))
		host = d.CallerHost
	}
	var err error
	if in.Host, err = NormaliseHost("host", host); err != nil {
		return Instance{}, nil, err
	}
	if err := ValidatePort("port", s.Port); err != nil {
		return Instance{}, nil, err
	}
	if in.ID == "" {
		in.ID = DeriveID(s.Service, in.Host, in.Port)
	}
	if err := ValidateName("id", in.ID); err != nil {
		return Instance{}, nil, err
	}
	if err := s.resolveDescription(&in, d); err != nil {
		return Instance{}, nil, err
	}
	w, err := s.resolveLiveness(&in, d)
	return in, append(warnings, w...), err
}

func (s Spec) resolveDescription(in *Instance, d Defaults) (err error) {
	open := func(field *string, key, fallback string) {
		if *field == "" {
			if v, ok := s.shorthand(key); ok && key != "" {
				*field = v
			} else {
				*field = fallback
			}
		}
	}
	open(&in.Scheme, "", "http")
	open(&in.Version, "version", "1.0.0")
	open(&in.Region, "region", "default")
	open(&in.Datacenter, "", "default")
	if err := validateScheme("scheme", in.Scheme); err != nil {
		return err
	}
	for _, f := range []struct{ name, value string }{
		{"version", in.Version}, {"region", in.Region}, {"zone", in.Zone}, {"datacenter", in.Datacenter},
	} {
		if err := validateText(f.name, f.value); err != nil {
			return err
		}
	}
	in.Weight = 100
	if s.Weight != nil {
		in.Weight = *s.Weight
	} else if v, ok := s.shorthand("weight"); ok {
		if in.Weight, err = wholeNumber("metadata.weight", json.RawMessage(v), "use 0–65,535"); err != nil {
			return err
		}
	}
	if in.Weight < 0 || in.Weight > MaxWeight {
		return Invalid("weight", in.Weight, "use 0–65,535; 0 means no traffic")
	}
	if in.Tags, err = NewTags(s.Tags...); err != nil {
		return err
	}
	if in.Endpoints, err = NewEndpoints(in.Host, reachable(s.Endpoints)...); err != nil {
		return err
	}
	in.HealthCheckURL, err = s.healthURL(*in, d)
	return err
}

// reachable leaves a wildcard host open, which then is the instance's.
func reachable(list []Endpoint) []Endpoint {
	list = slices.Clone(list)
	for i := range list {
		if IsWildcard(list[i].Host) {
			list[i].Host = ""
		}
	}
	return list
}

// shorthand is what the metadata says where a field is left open. null and "" say nothing.
func (s Spec) shorthand(key string) (string, bool) {
	v, _ := s.Metadata.Get(key)
	return v, v != ""
}

func (s Spec) healthURL(in Instance, d Defaults) (string, error) {
	field, raw := "health_check_url", s.HealthCheckURL
	if raw == "" {
		path := d.HealthPath
		if v, ok := s.shorthand("health_endpoint"); ok {
			field, path = "metadata.health_endpoint", v
		}
		if s.Check != nil && s.Check.Path != "" {
			field, path = "check.path", s.Check.Path
		}
		if !strings.HasPrefix(path, "/") {
			return "", Invalid(field, path, `it begins with "/"`)
		}
		base := in.BaseURL()
		if in.Scheme != "http" && in.Scheme != "https" {
			base = "http://" + in.Address()
		}
		raw = base + path
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || len(raw) > 2048 {
		return "", Invalid(field, withoutCredentials(raw), "use an http or https URL without credentials")
	}
	if d.AllowForeignHealthURL {
		return raw, nil
	}
	if !in.IsOwnHost(u.Hostname()) {
		return "", Invalid(field, raw, "it must be of the instance's own host "+in.Host)
	}
	return raw, nil
}

// withoutCredentials is a URL, or what was meant as one, as it may stand in a message.
func withoutCredentials(raw string) string {
	scheme, rest, found := strings.Cut(raw, "//")
	if at := strings.LastIndexByte(rest, '@'); found && at >= 0 {
		return scheme + "//***" + rest[at:]
	}
	return raw
}

func (s Spec) resolveLiveness(in *Instance, d Defaults) (warnings []string, err error) {
	in.TTL = s.TTL
	if in.TTL == 0 {
		in.TTL = d.TTL
	}
	if r := in.TTL % time.Second; r != 0 && in.TTL > 0 && in.TTL < MaxTTL {
		in.TTL += time.Second - r
		warnings = append(warnings, fmt.Sprintf("ttl: %s was rounded up to %s", s.TTL, in.TTL))
	}
	if in.TTL < MinTTL || in.TTL > MaxTTL {
		return nil, ttlError(in.TTL)
	}
	if in.Keepalive == "" {
		in.Keepalive = d.Keepalive
	}
	if in.Keepalive != KeepaliveAuto && in.Keepalive != KeepaliveClient {
		return nil, Invalid("keepalive", string(in.Keepalive), "use auto or client")
	}
	check := Check{Implicit: true}
	if s.Check != nil {
		check = *s.Check
		check.Implicit = s.Check.Implicit || s.Check.Type == "" && s.Check.Path == "" && s.HealthCheckURL == ""
	} else if s.HealthCheckURL != "" {
		check.Implicit = false
	}
	if in.Check, err = check.resolve(d, in.Scheme, in.Keepalive, in.TTL); err != nil {
		return nil, err
	}
	in.State = State{Declared: DeclaredUp, Observed: ObservedUnknown, Actor: "owner"}
	if s.Status != "" {
		declared, observed, err := ParseSettable("status", s.Status)
		if err != nil {
			return nil, err
		}
		in.State.Declared = declared
		if observed != nil {
			in.State.Observed = *observed
		}
	}
	if in.Check.Type == CheckNone && in.State.Observed == ObservedUnknown {
		in.State.Observed = ObservedHealthy // a live lease is healthy
	}
	return warnings, nil
}

func validateScheme(field, scheme string) error {
	for i, r := range scheme {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if letter || i > 0 && (r >= '0' && r <= '9' || strings.ContainsRune("+-.", r)) {
			continue
		}
		return Invalid(field, scheme, "use a URL scheme such as http, https, grpc or tcp (RFC 3986, section 3.1)")
	}
	if len(scheme) > 32 {
		return Invalid(field, scheme, "use at most 32 bytes")
	}
	return nil
}

func validateText(field, s string) error {
	if len(s) > MaxName {
		return Invalid(field, s, "use at most 128 bytes")
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == 0xfffd {
			return Invalid(field, s, fmt.Sprintf("the character %q; use printable text", r))
		}
	}
	return nil
}
