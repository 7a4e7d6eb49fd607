package ways

// means.go: joins a way to run a backend with the means to break its store.

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// WithFaults adds the means to break the store that h opens backends on.
func WithFaults(h conformance.Harness, faults conformance.Faults) conformance.Harness {
	if v, ok := h.(conformance.Vandal); ok {
		return everything{h, faults, v}
	}
	return breakable{h, faults}
}

// WithVandal adds the means to write into the store past the backend.
func WithVandal(h conformance.Harness, vandal conformance.Vandal) conformance.Harness {
	if f, ok := h.(conformance.Faults); ok {
		return everything{h, f, vandal}
	}
	return writable{h, vandal}
}

type (
	breakable struct {
		conformance.Harness
		conformance.Faults
	}
	writable struct {
		conformance.Harness
		conformance.Vandal
	}
	everything struct {
		conformance.Harness
		conformance.Faults
		conformance.Vandal
	}
)

// NoDocuments is the Vandal of a backend that keeps values in its own memory, where nobody
// else can write. The cases then ask for what shows through the backend.
type NoDocuments struct{}

var errNoDocuments = fmt.Errorf("the store keeps no documents: %w", ports.ErrUnsupported)

// Corrupt implements conformance.Vandal.
func (NoDocuments) Corrupt(context.Context, string, core.Key) error { return errNoDocuments }

// NewerFormat implements conformance.Vandal.
func (NoDocuments) NewerFormat(context.Context, string, core.Key) error { return errNoDocuments }

// AddField implements conformance.Vandal.
func (NoDocuments) AddField(context.Context, string, core.Key, string, json.RawMessage) error {
	return errNoDocuments
}

// Field implements conformance.Vandal.
func (NoDocuments) Field(context.Context, string, core.Key, string) (json.RawMessage, error) {
	return nil, errNoDocuments
}
