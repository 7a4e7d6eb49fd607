package ways

// documents.go: how a store is written into past the backend, where records are JSON documents.

import (
	"context"
	"encoding/json"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/core"
)

// Documents are the records of a store, as its own client sees them.
type Documents interface {
	// Read returns the document of a record; it is an error that there is none.
	Read(ctx context.Context, namespace string, k core.Key) ([]byte, error)
	// Write replaces it, as another version of the backend would, so that watches tell.
	Write(ctx context.Context, namespace string, k core.Key, document []byte) error
}

// VandalOf is the Vandal of a store that keeps documents.
func VandalOf(d Documents) conformance.Vandal { return vandal{d} }

type vandal struct{ documents Documents }

func (v vandal) fields(ctx context.Context, namespace string, k core.Key) (map[string]json.RawMessage, error) {
	document, err := v.documents.Read(ctx, namespace, k)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	return all, json.Unmarshal(document, &all)
}

// Corrupt implements conformance.Vandal.
func (v vandal) Corrupt(ctx context.Context, namespace string, k core.Key) error {
	return v.documents.Write(ctx, namespace, k, []byte("\x00 no record"))
}

// NewerFormat implements conformance.Vandal. The format is the number of the field "v", as in the
// documents of package backendkit.
func (v vandal) NewerFormat(ctx context.Context, namespace string, k core.Key) error {
	return v.AddField(ctx, namespace, k, "v", json.RawMessage("999"))
}

// AddField implements conformance.Vandal.
func (v vandal) AddField(ctx context.Context, namespace string, k core.Key, field string, value json.RawMessage) error {
	all, err := v.fields(ctx, namespace, k)
	if err != nil {
		return err
	}
	all[field] = value
	document, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return v.documents.Write(ctx, namespace, k, document)
}

// Field implements conformance.Vandal.
func (v vandal) Field(ctx context.Context, namespace string, k core.Key, field string) (json.RawMessage, error) {
	all, err := v.fields(ctx, namespace, k)
	return all[field], err
}
