package pluginrpc

// options.go: a backend's options, checked against the schema that its plugin declares, on
// their way from a configuration file to the plugin.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// DefaultNamespace is the namespace of a configuration that names none.
const DefaultNamespace = "prism"

const optionsField = "backend_config"

// ValidateOptions checks what a configuration gives against a schema and returns the JSON
// object that Client.Open takes, with defaults filled in. Values may be what YAML, JSON, an
// environment variable or a Go program gives:
//
//   - string: a string.
//   - int: a whole number, or one as text.
//   - bool: true or false, or one as text.
//   - duration: seconds, or text such as "30s"; never negative. It is returned as "30s", in
//     seconds always.
//   - list: strings, or one string with commas.
//
// A missing value, null and an empty string count as not given, so that an unset environment
// variable does not hide a default. "namespace" is always known, and a valid name.
//
// Errors are *core.FieldError (core.ErrInvalid) with the field "backend_config.NAME". They
// never repeat the value of a secret option, nor of an unknown one.
func ValidateOptions(schema []ports.Option, given map[string]any) (json.RawMessage, error) {
	schema = withNamespace(schema)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.ContainsFunc(schema, func(o ports.Option) bool { return o.Name == name }) {
			return nil, unknownOption(schema, name)
		}
	}
	out := make(map[string]any, len(schema))
	for _, o := range schema {
		value, err := resolveOption(o, given[o.Name])
		if err != nil {
			return nil, err
		}
		if value != nil {
			out[o.Name] = value
		}
	}
	return json.Marshal(out)
}

// withNamespace adds the option that every backend has.
func withNamespace(schema []ports.Option) []ports.Option {
	if slices.ContainsFunc(schema, func(o ports.Option) bool { return o.Name == ports.OptionNamespace }) {
		return schema
	}
	return append([]ports.Option{{
		Name: ports.OptionNamespace, Type: ports.OptionString, Default: DefaultNamespace,
		Doc: "What keeps the records of one environment apart from those of another in the same store.",
	}}, schema...)
}

// resolveOption returns the value of one option in its canonical form, or nil for none.
func resolveOption(o ports.Option, given any) (any, error) {
	field := optionsField + "." + o.Name
	if given == nil || given == "" {
		if o.Default == "" {
			if o.Required {
				return nil, &core.FieldError{Field: field, Allowed: "it is required and not given" + sentence(o.Doc)}
			}
			return nil, nil
		}
		given = o.Default
	}
	value, rule := readOption(o.Type, given)
	if rule != "" {
		if o.Secret {
			return nil, &core.FieldError{Field: field, Allowed: "what is given is not allowed; " + rule}
		}
		return nil, core.Invalid(field, given, rule)
	}
	if list, ok := value.([]string); ok && o.Required && len(list) == 0 {
		return nil, &core.FieldError{Field: field, Allowed: "it is required and empty" + sentence(o.Doc)}
	}
	if o.Name == ports.OptionNamespace {
		return value, core.ValidateName(field, fmt.Sprint(value))
	}
	return value, nil
}

// sentence makes an option's doc the end of an error.
func sentence(doc string) string {
	if doc == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(doc, ".")
}

func unknownOption(schema []ports.Option, name string) error {
	names := make([]string, 0, len(schema))
	for _, o := range schema {
		names = append(names, o.Name)
	}
	allowed := "this backend has no such option; it has " + strings.Join(names, ", ")
	if near := nearest(name, names); near != "" {
		allowed = fmt.Sprintf("this backend has no such option; did you mean %q?", near)
	}
	return &core.FieldError{Field: optionsField + "." + name, Allowed: allowed}
}

// parseOptions reads the JSON object of an OpenRequest; empty input is the empty object.
func parseOptions(raw json.RawMessage) (map[string]any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var given map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&given); err != nil {
		return nil, &core.FieldError{Field: optionsField, Allowed: "it is not a JSON object"}
	}
	return given, nil
}

// DecodeOptions reads what Plugin.Open gets into a struct with json tags. It is strict: every
// option that the schema lists needs a field, "namespace" included. Durations are strings such
// as "30s"; core.Duration reads them, time.Duration does not. Errors are *core.FieldError and
// never repeat a value.
func DecodeOptions(raw json.RawMessage, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		return nil
	}
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(te.Value, " ") // What follows is the value.
		return &core.FieldError{
			Field: optionsField + "." + te.Field, Allowed: fmt.Sprintf("the plugin reads it as %s and got a JSON %s", te.Type, kind),
		}
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return &core.FieldError{Field: optionsField + "." + strings.Trim(name, `"`), Allowed: "the plugin has no such option"}
	}
	if fe, ok := errors.AsType[*core.FieldError](err); ok { // From a field's own UnmarshalJSON.
		return &core.FieldError{Field: optionsField + "." + fe.Field, Allowed: fe.Allowed}
	}
	return &core.FieldError{Field: optionsField, Allowed: "it is not a JSON object"}
}
