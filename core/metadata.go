package core

// metadata.go: free-form JSON that travels with an instance, kept canonical and exact.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits of metadata in its canonical form.
const (
	MaxMetadataBytes = 64 << 10
	MaxMetadataDepth = 32
)

// maxMetadataInput is what is read at most: a JSON writer may use six bytes, \u003c, for one.
const maxMetadataInput = 6 * MaxMetadataBytes

// Metadata is an immutable JSON object in canonical form: keys sorted, no white space,
// number literals exactly as they were given. The zero value is the empty object.
type Metadata struct{ raw string } // "" stands for {}

// ParseMetadata checks and canonicalises a JSON object: at most 64 KiB in canonical form, so that
// what was accepted once always is; at most 32 levels deep, no duplicate keys. "null" and empty input
// give the empty object.
func ParseMetadata(b []byte) (Metadata, error) {
	if len(b) > maxMetadataInput {
		return Metadata{}, metadataTooLarge(len(b))
	}
	trimmed := bytes.TrimSpace(b)
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return Metadata{}, nil
	}
	if trimmed[0] != '{' {
		return Metadata{}, Invalid("metadata", string(trimmed), "use a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(trimmed))
	dec.UseNumber()
	var out bytes.Buffer
	if err := canonical(dec, &out, "metadata", 1); err != nil {
		return Metadata{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Metadata{}, Invalid("metadata", string(trimmed), "use one JSON object with nothing after it")
	}
	if out.Len() > MaxMetadataBytes {
		return Metadata{}, metadataTooLarge(out.Len())
	}
	if out.Len() == 2 {
		return Metadata{}, nil
	}
	return Metadata{raw: out.String()}, nil
}

func metadataTooLarge(n int) error {
	return TooLarge("metadata", fmt.Sprintf("%d bytes", n), "at most 64 KiB of JSON")
}

// NewMetadata encodes a Go value that marshals to a JSON object (a map or a struct).
func NewMetadata(v any) (Metadata, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Metadata{}, &FieldError{Field: "metadata", Allowed: "it cannot be written as JSON: " + err.Error()}
	}
	return ParseMetadata(b)
}

// MustMetadata is NewMetadata for values known to be right; it panics when they are not.
func MustMetadata(v any) Metadata {
	m, err := NewMetadata(v)
	if err != nil {
		panic(err)
	}
	return m
}

// String returns the canonical JSON.
func (m Metadata) String() string {
	if m.raw == "" {
		return "{}"
	}
	return m.raw
}

// IsEmpty reports whether there is no key.
func (m Metadata) IsEmpty() bool { return m.raw == "" }

// MarshalJSON implements json.Marshaler.
func (m Metadata) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON implements json.Unmarshaler with the checks of ParseMetadata.
func (m *Metadata) UnmarshalJSON(b []byte) error {
	v, err := ParseMetadata(b)
	if err == nil {
		*m = v
	}
	return err
}

// Map decodes the metadata into a fresh map that the caller may change. Numbers are
// json.Number, so that integers above 2^53 stay exact.
func (m Metadata) Map() map[string]any {
	out := map[string]any{}
	dec := json.NewDecoder(strings.NewReader(m.String()))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil {
		return map[string]any{} // unreachable: raw was checked when it was made
	}
	return out
}

// Get returns the value at a top-level key as text: strings without quotes, all else as JSON.
func (m Metadata) Get(key string) (string, bool) {
	if m.raw == "" {
		return "", false
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal([]byte(m.raw), &top); err != nil {
		return "", false
	}
	v, ok := top[key]
	if !ok {
		return "", false
	}
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s, true
	}
	return string(v), true
}

// canonical copies one JSON value from dec to out, sorting keys.
func canonical(dec *json.Decoder, out *bytes.Buffer, path string, depth int) error {
	tok, err := dec.Token()
	if err != nil {
		return &FieldError{Field: path, Allowed: "it is not valid JSON: " + err.Error()}
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return scalar(out, tok)
	}
	if depth > MaxMetadataDepth {
		return Invalid(path, "a value nested deeper than 32 levels", "nest at most 32 levels")
	}
	if delim == '[' {
		out.WriteByte('[')
		for i := 0; dec.More(); i++ {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := canonical(dec, out, fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	} else if err := object(dec, out, path, depth); err != nil {
		return err
	}
	if _, err := dec.Token(); err != nil { // the closing delimiter
		return &FieldError{Field: path, Allowed: "it is not valid JSON: " + err.Error()}
	}
	return nil
}

func object(dec *json.Decoder, out *bytes.Buffer, path string, depth int) error {
	fields := map[string][]byte{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return &FieldError{Field: path, Allowed: "it is not valid JSON: " + err.Error()}
		}
		key, ok := tok.(string)
		if !ok {
			return Invalid(path, fmt.Sprint(tok), "object keys are strings")
		}
		if _, dup := fields[key]; dup {
			return Invalid(path+"."+key, "a key that occurs twice", "name each key once")
		}
		var val bytes.Buffer
		if err := canonical(dec, &val, path+"."+key, depth+1); err != nil {
			return err
		}
		fields[key] = val.Bytes()
	}
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := scalar(out, k); err != nil {
			return err
		}
		out.WriteByte(':')
		out.Write(fields[k])
	}
	out.WriteByte('}')
	return nil
}

func scalar(out *bytes.Buffer, v any) error {
	if n, ok := v.(json.Number); ok {
		out.WriteString(n.String())
		return nil
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return &FieldError{Field: "metadata", Allowed: "it cannot be written as JSON: " + err.Error()}
	}
	out.Truncate(out.Len() - 1) // the encoder's newline
	return nil
}
