package registry

// types.go: what callers ask of the registry and what they get. Package discovery aliases
// these, so that programs import one package.

import (
	"time"

	"github.com/marketprism/prism/core"
)

// RegisterRequest asks for a registration.
type RegisterRequest struct {
	Spec core.Spec
	// CallerHost replaces a wildcard host; empty means the registry's own default.
	CallerHost string
	// Keepalive is used when the Spec leaves it open; empty means the registry's default.
	Keepalive core.Keepalive
}

// Registered answers a registration.
type Registered struct {
	Instance core.Instance
	Lease    string // opaque token; a secret
	Created  bool   // false when an earlier registration was taken over
	Warnings []string
}

// UpdateRequest replaces everything that the owner describes; the status stays.
type UpdateRequest struct {
	Lease      string
	Spec       core.Spec
	CallerHost string
	IfMatch    core.Revision // zero: whatever is current
}

// DeregisterRequest removes an instance, by lease or as an operator.
type DeregisterRequest struct {
	Key     core.Key
	Lease   string // empty: an operator's act
	Actor   string // operator's name; "" is "operator" (or "owner" with a lease)
	Reason  string
	IfMatch core.Revision
}

// StatusRequest sets a status, by lease or as an operator.
type StatusRequest struct {
	Key     core.Key
	Status  string // up, healthy, unhealthy, starting, maintenance, stopping
	Reason  string
	Lease   string // empty: an operator's act
	Actor   string
	IfMatch core.Revision
}

// HeartbeatResult answers for one lease.
type HeartbeatResult struct {
	Lease string
	State core.HeartbeatState
}

// Freshness says how far a read may lag behind the store.
type Freshness struct {
	// Stale: for more than 5 s nothing has proved that the view is current.
	Stale bool
	// Age is the time since the last proof.
	Age time.Duration
}

// Status describes a registry for people.
type Status struct {
	Namespace   string
	Backend     string
	Connected   bool // the watch is up and synced
	Synced      bool // a snapshot has been seen since the start
	Epoch       string
	Cursor      core.Revision
	Freshness   Freshness
	Services    int
	Instances   int
	Held        int // instances that this process keeps alive
	Sessions    int
	Skipped     int // records that could not be read
	LastFailure string
	// WatchLag is the time from the acknowledgement of a write of this process to the watch
	// showing it, or something newer: the latest that was measured, or one under way that is
	// longer already. 0 before the first write.
	WatchLag time.Duration
}
