package conformance

// harness.go: what the suite needs from whoever runs it.

import (
	"context"
	"encoding/json"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Harness connects the suite to one store.
type Harness interface {
	// Open opens a backend on a namespace of the store, as a process of its own would. The suite
	// closes what it opens. It opens many namespaces at the same time, each under a name that
	// it never used before, and where the backend has the capability MultiHost, also the same
	// namespace twice: each handle then stands for one host. A backend without it is opened once
	// at a time, and its two users share the handle.
	//
	// Open is safe for concurrent use. It returns once the backend is ready; the context bounds
	// opening, not the backend's life.
	Open(ctx context.Context, namespace string) (ports.Backend, error)
}

// Faults is what a Harness implements that can break its store. The suite breaks one thing at
// a time, while nothing else runs.
type Faults interface {
	// CanInflict reports whether the harness has the means.
	CanInflict(f Fault) bool
	// Inflict breaks the store and returns when it is broken.
	Inflict(ctx context.Context, f Fault) error
	// Mend undoes what was inflicted and returns when the store serves again; backends may
	// need a while longer to notice. It does nothing when nothing is broken.
	Mend(ctx context.Context) error
}

// Mortal is what a ports.Backend that a Harness opened implements where it is a process of its
// own. The other backends are closed where one shall be gone, which gives them time to leave in order.
type Mortal interface {
	// Kill ends the process without a warning, as a crash does. Close comes next, and frees what
	// is left here; what it says of the dead process counts for nothing.
	Kill() error
}

// Fault is a way to break a store.
type Fault string

// The faults. Unless it says otherwise, mending brings the store back with its data.
const (
	FaultStop  Fault = "stop"  // the store's servers are gone
	FaultPause Fault = "pause" // the store's servers hang: connections stay, no answers
	FaultCut   Fault = "cut"   // the network between backend and store drops everything
	FaultWipe  Fault = "wipe"  // the store, which may be stopped, loses all data and serves again at once, empty
	// FaultLeader takes the leader from a store with the capability Replicated, while its other
	// servers stay; mending brings that server back. Of any other store it is FaultStop.
	FaultLeader Fault = "leader"
)

// Vandal is what a Harness implements that can write into its store past the backend, as a
// damaged disk or a newer version of the backend would. The record must be stored. A store
// that keeps no documents which others could write, and so has not the capability MultiHost,
// answers with ports.ErrUnsupported: the cases then ask for what shows through the backend.
type Vandal interface {
	// Corrupt replaces the stored document of a record by bytes that are no record.
	Corrupt(ctx context.Context, namespace string, k core.Key) error
	// NewerFormat turns the stored document of a record into one of a format that the backend
	// does not know yet, with its fields as they are.
	NewerFormat(ctx context.Context, namespace string, k core.Key) error
	// AddField adds a field to the JSON document of a record, beside those of the backend.
	AddField(ctx context.Context, namespace string, k core.Key, field string, value json.RawMessage) error
	// Field reads such a field; nil when the document does not have it.
	Field(ctx context.Context, namespace string, k core.Key, field string) (json.RawMessage, error)
}

// T is what a case needs of a test; *testing.T has it, and so has the runner behind Run.
// Fatalf ends the goroutine of the case and is called from no other.
type T interface {
	Helper()
	Name() string
	// Context ends just before the functions given to Cleanup are called, last one first.
	Context() context.Context
	Cleanup(f func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}
