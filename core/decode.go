package core

// decode.go: JSON that people write: unknown fields are errors, and errors name the field.

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// decodeStrict decodes one JSON object, refusing unknown fields, and words the error for
// the person who wrote the JSON.
func decodeStrict(path string, b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		return nil
	}
	field := func(name string) string {
		return strings.Trim(path+"."+name, ".")
	}
	if fe, ok := errors.AsType[*FieldError](err); ok {
		return fe
	}
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		name := field(te.Field)
		if name == "" {
			name = "body"
		}
		return Invalid(name, "a JSON "+te.Value, "use "+jsonKind(te.Type.Kind().String()))
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return &FieldError{Field: field(strings.Trim(name, `"`)), Allowed: "there is no such field"}
	}
	return &FieldError{Field: field("body"), Allowed: "it is not valid JSON: " + err.Error()}
}

func jsonKind(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "bool":
		return "true or false"
	case kind == "slice":
		return "an array"
	case kind == "struct", kind == "map":
		return "an object"
	default:
		return "a " + kind
	}
}
