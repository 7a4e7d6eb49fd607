package config

// option.go: the selected backend's options, checked against the schema of its plugin.

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// ValidateBackend checks the selected backend's options against the schema that its plugin
// declares, and returns the JSON object that opens it, with the schema's defaults filled in.
// An error names the option, and where it was set; it never repeats a secret.
func (l *Loaded) ValidateBackend(schema []ports.Option) (json.RawMessage, error) {
	return l.ValidateOptions(schema, l.BackendOptions())
}

// ValidateOptions is ValidateBackend for a program that has changed what BackendOptions gave. What
// it left alone is read as it was written.
func (l *Loaded) ValidateOptions(schema []ports.Option, options map[string]any) (json.RawMessage, error) {
	types := make(map[string]ports.OptionType, len(schema))
	for _, o := range schema {
		types[o.Name] = o.Type
	}
	given := maps.Clone(options)
	written := map[string]*setting{}
	for name, s := range l.options {
		if value, there := options[name]; there && reflect.DeepEqual(value, s.Value) {
			given[name], written[name] = s.as(types[name]), s
		}
	}
	raw, err := pluginrpc.ValidateOptions(schema, given)
	if err == nil {
		return raw, nil
	}
	fe, ok := errors.AsType[*core.FieldError](err)
	if !ok {
		return nil, err
	}
	located, src := *fe, Source{}
	if s := written[strings.TrimPrefix(fe.Field, keyBackendConfig+".")]; s != nil {
		src, located.Field = s.From, s.Key
	}
	var p problems
	p.add(src, &located)
	return nil, p.err()
}

// as returns an option's value for a type: text as it was written, so that a password of
// digits keeps its zeros, and YAML's words for true and false.
func (s *setting) as(t ports.OptionType) any {
	scalar := s.Tag != "" && s.Tag != tagList
	switch {
	case scalar && t == ports.OptionString:
		return s.Text
	case scalar && t == ports.OptionBool:
		if b, ok := parseBool(s.Text, s.From); ok {
			return b
		}
	}
	return s.Value
}
