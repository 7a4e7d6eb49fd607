package telemetry_test

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// encoder writes labels as people read them, without escaping.
type encoder struct{}

func (encoder) Encode(it attribute.Iterator) string {
	var parts []string
	for it.Next() {
		kv := it.Attribute()
		parts = append(parts, string(kv.Key)+"="+kv.Value.String())
	}
	return strings.Join(parts, ",")
}

func (encoder) ID() attribute.EncoderID { return attribute.NewEncoderID() }
