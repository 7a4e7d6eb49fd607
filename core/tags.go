package core

// tags.go: immutable sets of tags and lists of further endpoints.

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
)

// MaxTags and MaxEndpoints bound what one instance may carry.
const (
	MaxTags      = 128
	MaxEndpoints = 64
)

// Tags is an immutable, sorted set. The zero value is empty.
type Tags struct{ sorted []string }

// NewTags checks the names and removes repetitions.
func NewTags(tags ...string) (Tags, error) {
	for i, t := range tags {
		if err := ValidateName(fmt.Sprintf("tags[%d]", i), t); err != nil {
			return Tags{}, err
		}
	}
	s := slices.Compact(slices.Sorted(slices.Values(tags)))
	if len(s) > MaxTags {
		return Tags{}, TooLarge("tags", fmt.Sprintf("%d tags", len(s)), fmt.Sprintf("use at most %d", MaxTags))
	}
	return Tags{sorted: s}, nil
}

// Has reports whether the set holds a tag.
func (t Tags) Has(tag string) bool {
	_, ok := slices.BinarySearch(t.sorted, tag)
	return ok
}

// Len returns the number of tags.
func (t Tags) Len() int { return len(t.sorted) }

// All yields the tags in order.
func (t Tags) All() iter.Seq[string] { return slices.Values(t.sorted) }

// Strings returns a copy.
func (t Tags) Strings() []string { return append([]string{}, t.sorted...) }

// Equal compares two sets.
func (t Tags) Equal(o Tags) bool { return slices.Equal(t.sorted, o.sorted) }

// MarshalJSON writes an array, never null.
func (t Tags) MarshalJSON() ([]byte, error) { return json.Marshal(t.Strings()) }

// UnmarshalJSON reads an array of names.
func (t *Tags) UnmarshalJSON(b []byte) error {
	var raw []string
	if err := json.Unmarshal(b, &raw); err != nil {
		return Invalid("tags", string(b), "use an array of strings")
	}
	v, err := NewTags(raw...)
	if err == nil {
		*t = v
	}
	return err
}

// Endpoint is a further way to reach an instance: its metrics, its admin port, its
// second address family.
type Endpoint struct {
	Name   string `json:"name"`
	Scheme string `json:"scheme"`
	Host   string `json:"host"` // the instance's own when empty
	Port   int    `json:"port"`
}

// URL returns scheme://host:port.
func (e Endpoint) URL() string { return e.Scheme + "://" + JoinAddress(e.Host, e.Port) }

// Endpoints is an immutable list of further endpoints, by unique name.
type Endpoints struct{ list []Endpoint }

// NewEndpoints checks the list; endpoints without a host get defaultHost, without a
// scheme "http".
func NewEndpoints(defaultHost string, list ...Endpoint) (Endpoints, error) {
	if len(list) > MaxEndpoints {
		return Endpoints{}, TooLarge("endpoints", fmt.Sprintf("%d endpoints", len(list)), fmt.Sprintf("use at most %d", MaxEndpoints))
	}
	out := slices.Clone(list)
	seen := map[string]bool{}
	for i := range out {
		at := fmt.Sprintf("endpoints[%d]", i)
		e := &out[i]
		if err := ValidateName(at+".name", e.Name); err != nil {
			return Endpoints{}, err
		}
		if seen[e.Name] {
			return Endpoints{}, Invalid(at+".name", e.Name, "it occurs twice; name each endpoint once")
		}
		seen[e.Name] = true
		if e.Host == "" {
			e.Host = defaultHost
		}
		host, err := NormaliseHost(at+".host", e.Host)
		if err != nil {
			return Endpoints{}, err
		}
		e.Host = host
		if err := ValidatePort(at+".port", e.Port); err != nil {
			return Endpoints{}, err
		}
		if e.Scheme == "" {
			e.Scheme = "http"
		}
		if err := validateScheme(at+".scheme", e.Scheme); err != nil {
			return Endpoints{}, err
		}
	}
	return Endpoints{list: out}, nil
}

// Len returns the number of endpoints.
func (e Endpoints) Len() int { return len(e.list) }

// All yields the endpoints in the order they were declared.
func (e Endpoints) All() iter.Seq[Endpoint] { return slices.Values(e.list) }

// Get finds an endpoint by name.
func (e Endpoints) Get(name string) (Endpoint, bool) {
	for _, ep := range e.list {
		if ep.Name == name {
			return ep, true
		}
	}
	return Endpoint{}, false
}

// Equal compares two lists.
func (e Endpoints) Equal(o Endpoints) bool { return slices.Equal(e.list, o.list) }

// MarshalJSON writes an array, never null.
func (e Endpoints) MarshalJSON() ([]byte, error) {
	if e.list == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(e.list)
}

// UnmarshalJSON reads an array; hosts must be filled in.
func (e *Endpoints) UnmarshalJSON(b []byte) error {
	var raw []Endpoint
	if err := json.Unmarshal(b, &raw); err != nil {
		return Invalid("endpoints", string(b), "use an array of {name, scheme, port, host}")
	}
	v, err := NewEndpoints("", raw...)
	if err == nil {
		*e = v
	}
	return err
}
