package core

// decode.go: JSON that people write: unknown fields are errors, and errors name the field; and
// JSON that another version of Prism wrote: unknown fields are kept.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// DecodeStrict decodes one JSON value that a person wrote into a struct, and words the error, a
// FieldError, for that person. Path is where the value stands in the whole, "" for the whole itself. Names
// are exact: an unknown one, one in another case and one that occurs twice are errors.
func DecodeStrict(path string, b []byte, into any) error {
	if err := checkNames(path, b, reflect.TypeOf(into)); err != nil {
		return err
	}
	err := json.Unmarshal(b, into)
	if err == nil {
		return nil
	}
	if fe, ok := errors.AsType[*FieldError](err); ok {
		return fe
	}
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return Invalid(cmp.Or(join(path, te.Field), "body"), "a JSON "+te.Value, "use "+jsonKind(te.Type.Kind().String()))
	}
	return &FieldError{Field: join(path, "body"), Allowed: "it is not valid JSON: " + err.Error()}
}

func join(path, name string) string { return strings.Trim(path+"."+name, ".") }

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// checkNames looks for what encoding/json lets pass: it takes names in any case, and of a name
// that occurs twice the last. Types that decode themselves check themselves; what is not
// JSON, or of another type, is left to the decoder.
func checkNames(path string, b []byte, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case reflect.PointerTo(t).Implements(unmarshaler):
		return nil
	case t.Kind() == reflect.Slice:
		var list []json.RawMessage
		_ = json.Unmarshal(b, &list) // what is no list has no names, and the decoder finds it too
		for i, item := range list {
			if err := checkNames(fmt.Sprintf("%s[%d]", path, i), item, t.Elem()); err != nil {
				return err
			}
		}
		return nil
	case t.Kind() != reflect.Struct:
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil //nolint:nilerr // the decoder finds it too
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		name, ok := tok.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil {
			return nil //nolint:nilerr // the decoder finds it too
		}
		at := join(path, name)
		field, known := fieldNamed(t, name)
		if !known {
			return &FieldError{Field: at, Allowed: "there is no such field"}
		}
		if seen[name] {
			return Invalid(at, "a field that occurs twice", "name each field once")
		}
		seen[name] = true
		if err := checkNames(at, value, field); err != nil {
			return err
		}
	}
	return nil
}

// fieldNamed gives the type of the field that a struct has under a JSON name.
func fieldNamed(t reflect.Type, name string) (reflect.Type, bool) {
	for f := range t.Fields() {
		if tagged, _, _ := strings.Cut(f.Tag.Get("json"), ","); tagged == name {
			return f.Type, true
		}
	}
	return nil, false
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

// DecodeKeeping decodes a JSON object that another version may have written, and returns beside it
// the fields that T, a struct, does not know, nil where there are none. Hardly ever are there any, so
// that the object is read once and not twice.
func DecodeKeeping[T any](object []byte) (v T, unknown map[string]json.RawMessage, err error) {
	known := json.NewDecoder(bytes.NewReader(object))
	known.DisallowUnknownFields()
	if known.Decode(&v) == nil && known.InputOffset() == int64(len(object)) {
		return v, nil, nil
	}
	var whole T
	if err := json.Unmarshal(object, &whole); err != nil {
		return whole, nil, err
	}
	if err := json.Unmarshal(object, &unknown); err != nil {
		return whole, nil, err
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" { // not one that is embedded
			delete(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return whole, nil, nil
	}
	return whole, unknown, nil
}
