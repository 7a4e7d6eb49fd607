package ports

// info.go: what a backend says about itself, and the options it takes.

import "time"

// ContractVersion is the version of this contract. A plugin of another one is refused.
const ContractVersion = 1

// Info describes a backend, statically.
type Info struct {
	Name         string // "memory", "etcd", …
	Version      string // of the implementation
	Capabilities Capabilities
	Limits       Limits
}

// Capabilities never excuse a backend from a conformance case; they choose what it asserts.
type Capabilities struct {
	// History: a watch shows every intermediate state rather than the latest.
	History bool
	// Resume: a cursor is good after the plugin restarts.
	Resume bool
	// Replicated: the store has a leader that can be lost.
	Replicated bool
	// ExpiryUnattended: sessions end and their records go with no Prism process alive.
	ExpiryUnattended bool
	// Durable: an acknowledged write survives the loss of one server of three.
	Durable bool
	// MultiHost: several hosts can share the store.
	MultiHost bool
}

// Limits of a backend.
type Limits struct {
	// MaxExpiryDelay is the target for how long after its TTL an ended session's records go.
	MaxExpiryDelay time.Duration
	// MinSessionTTL is the shortest TTL that is granted as asked. Above it whole seconds are; a
	// part of a second may be rounded up.
	MinSessionTTL time.Duration
}

// Option describes one option of a backend, for validation and help before it is opened.
type Option struct {
	Name     string     // "url", "password"
	Type     OptionType // how its value is read
	Default  string     // as text; "" for none
	Required bool
	Secret   bool // masked wherever it would be shown
	Doc      string
}

// OptionType says how an option's value is read.
type OptionType string

// The types of an option. Durations are seconds or "30s".
const (
	OptionString   OptionType = "string"
	OptionInt      OptionType = "int"
	OptionBool     OptionType = "bool"
	OptionDuration OptionType = "duration"
	OptionList     OptionType = "list" // of strings; or one string with commas
)

// OptionNamespace is an option that every backend has.
const OptionNamespace = "namespace"
