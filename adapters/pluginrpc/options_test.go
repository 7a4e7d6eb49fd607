package pluginrpc_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var schema = []ports.Option{
	{Name: "url", Type: ports.OptionString, Required: true, Doc: "Where the store is."},
	{Name: "password", Type: ports.OptionString, Secret: true},
	{Name: "pin", Type: ports.OptionInt, Secret: true},
	{Name: "db", Type: ports.OptionInt, Default: "0"},
	{Name: "mirror", Type: ports.OptionBool, Default: "true"},
	{Name: "timeout", Type: ports.OptionDuration, Default: "5"},
	{Name: "servers", Type: ports.OptionList},
}

func TestValidateOptionsReads(t *testing.T) {
	const rest = `"namespace":"prism","url":"u"`
	for name, c := range map[string]struct {
		given map[string]any
		want  string // beside namespace, url and what defaults give
	}{
		"defaults":                    {nil, `"db":0,"mirror":true,"timeout":"5s"`},
		"empty counts as not given":   {map[string]any{"db": "", "mirror": "", "timeout": "", "servers": "", "password": nil}, `"db":0,"mirror":true,"timeout":"5s"`},
		"text, as from environment":   {map[string]any{"db": " 7 ", "mirror": "false", "timeout": "1m30s", "servers": "a, b,,c"}, `"db":7,"mirror":false,"timeout":"90s","servers":["a","b","c"]`},
		"values, as from YAML":        {map[string]any{"db": 7, "mirror": false, "timeout": 2.5, "servers": []any{"a,b", "c"}}, `"db":7,"mirror":false,"timeout":"2.5s","servers":["a,b","c"]`},
		"values, as from JSON":        {map[string]any{"db": 7.0, "timeout": json.Number("0.25")}, `"db":7,"mirror":true,"timeout":"0.25s"`},
		"values, as from Go":          {map[string]any{"db": int64(7), "timeout": 1500 * time.Millisecond, "servers": []string{"a"}}, `"db":7,"mirror":true,"timeout":"1.5s","servers":["a"]`},
		"core.Duration and json ints": {map[string]any{"db": json.Number("7"), "timeout": core.Duration(time.Nanosecond)}, `"db":7,"mirror":true,"timeout":"0.000000001s"`},
		"uint64 and zero":             {map[string]any{"db": uint64(7), "timeout": 0}, `"db":7,"mirror":true,"timeout":"0s"`},
		"an empty list is given":      {map[string]any{"servers": []any{}}, `"db":0,"mirror":true,"timeout":"5s","servers":[]`},
		"a secret":                    {map[string]any{"password": "p,\"q"}, `"db":0,"mirror":true,"timeout":"5s","password":"p,\"q"`},
	} {
		t.Run(name, func(t *testing.T) {
			given := map[string]any{"url": "u"}
			maps.Copy(given, c.given)
			raw, err := pluginrpc.ValidateOptions(schema, given)
			require.NoError(t, err)
			assert.JSONEq(t, "{"+rest+","+c.want+"}", string(raw))

			// What came out goes in again, unchanged: the plugin validates too.
			var again map[string]any
			require.NoError(t, json.Unmarshal(raw, &again))
			second, err := pluginrpc.ValidateOptions(schema, again)
			require.NoError(t, err)
			assert.Equal(t, string(raw), string(second))
		})
	}
}

func TestValidateOptionsRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		option string
		given  any
		want   string
	}{
		"an unknown option, with the nearest":       {"pasword", "s3cret", `did you mean "password"?`},
		"swapped letters":                           {"ulr", "s3cret", `did you mean "url"?`},
		"another case":                              {"Mirror", true, `did you mean "mirror"?`},
		"an unknown option, with none near":         {"replication", "s3cret", "it has namespace, url, password, pin, db, mirror, timeout, servers"},
		"no string":                                 {"url", 12, "12 is not allowed; use a string; put it in quotes"},
		"not given":                                 {"url", nil, "it is required and not given: Where the store is"},
		"given as nothing":                          {"url", "", "it is required and not given"},
		"a fraction":                                {"db", 1.5, "use a whole number"},
		"text that is no number":                    {"db", "one", `"one" is not allowed; use a whole number`},
		"a number too large":                        {"db", 1e300, "use a whole number"},
		"a bool for a number":                       {"db", true, "use a whole number"},
		"text that is no bool":                      {"mirror", "maybe", "use true or false"},
		"a number for a bool":                       {"mirror", 1, "use true or false"},
		"text that is no duration":                  {"timeout", "soon", `use a number of seconds`},
		"a negative duration":                       {"timeout", -1, `use a number of seconds, 0 or more`},
		"a duration out of range":                   {"timeout", 1e300, `use a number of seconds`},
		"a bool for a duration":                     {"timeout", true, `use a number of seconds`},
		"a list of numbers":                         {"servers", []any{1}, "use a list of strings"},
		"an object":                                 {"servers", map[string]any{}, "use a list of strings"},
		"a secret of a wrong type":                  {"password", []any{"s3cret"}, "what is given is not allowed; use a string"},
		"a secret that cannot be read":              {"pin", "s3cret", "what is given is not allowed; use a whole number"},
		"a namespace that is none":                  {"namespace", "a/b", "the character '/'"},
		"a namespace that is too long":              {"namespace", strings.Repeat("x", 200), "128"},
		"an option without a type that is known":    {"future", 1, "does not know"},
		"a list that is required and holds nothing": {"required", []any{}, "it is required and empty"},
	} {
		t.Run(name, func(t *testing.T) {
			options := schema
			switch c.option {
			case "future":
				options = append(slices.Clip(options), ports.Option{Name: "future", Type: "colour"})
			case "required":
				options = append(slices.Clip(options), ports.Option{Name: "required", Type: ports.OptionList, Required: true})
			}
			_, err := pluginrpc.ValidateOptions(options, map[string]any{"url": "u", c.option: c.given})
			require.ErrorIs(t, err, core.ErrInvalid)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "s3cret")
			fe, ok := errors.AsType[*core.FieldError](err)
			require.True(t, ok)
			assert.Equal(t, "backend_config."+c.option, fe.Field)
		})
	}
}

func TestNamespaceIsThePluginsOwnWhenDeclared(t *testing.T) {
	raw, err := pluginrpc.ValidateOptions([]ports.Option{{Name: "namespace", Type: ports.OptionString, Default: "mine"}}, nil)
	require.NoError(t, err)
	assert.JSONEq(t, `{"namespace":"mine"}`, string(raw))
	raw, err = pluginrpc.ValidateOptions(nil, map[string]any{"namespace": "test"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"namespace":"test"}`, string(raw))
}

func TestDecodeOptions(t *testing.T) {
	type options struct {
		Namespace string        `json:"namespace"`
		URL       string        `json:"url"`
		Password  string        `json:"password"`
		Pin       int           `json:"pin"`
		DB        int           `json:"db"`
		Mirror    bool          `json:"mirror"`
		Timeout   core.Duration `json:"timeout"`
		Servers   []string      `json:"servers"`
	}
	raw, err := pluginrpc.ValidateOptions(schema, map[string]any{"url": "u", "timeout": 90.5, "servers": "a,b"})
	require.NoError(t, err)
	var got options
	require.NoError(t, pluginrpc.DecodeOptions(raw, &got))
	assert.Equal(t, options{
		Namespace: "prism", URL: "u", Mirror: true, Timeout: core.Duration(90*time.Second + 500*time.Millisecond), Servers: []string{"a", "b"},
	}, got)

	for name, c := range map[string]struct{ raw, field, want string }{
		"an unknown field":    {`{"urll":"s3cret"}`, "backend_config.urll", "no such option"},
		"another type":        {`{"db":"s3cret"}`, "backend_config.db", "got a JSON string"},
		"a number that is no": {`{"db":1234.5}`, "backend_config.db", "got a JSON number"},
		"a bad duration":      {`{"timeout":"s3cret"}`, "backend_config.duration", "use a number of seconds"},
		"no object":           {`s3cret`, "backend_config", "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			err := pluginrpc.DecodeOptions(json.RawMessage(c.raw), &options{})
			require.ErrorIs(t, err, core.ErrInvalid)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "s3cret")
			assert.NotContains(t, err.Error(), "1234")
			fe, ok := errors.AsType[*core.FieldError](err)
			require.True(t, ok)
			assert.Equal(t, c.field, fe.Field)
		})
	}
	var plain struct {
		Timeout time.Duration `json:"timeout"`
	}
	require.Error(t, pluginrpc.DecodeOptions(json.RawMessage(`{"timeout":"5s"}`), &plain), "30 must never become 30 ns")
}
