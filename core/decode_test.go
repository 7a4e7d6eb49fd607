package core_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
)

func TestJSONThatPeopleWriteIsReadStrictly(t *testing.T) {
	type form struct {
		Name   string          `json:"name"`
		Count  int             `json:"count"`
		Share  float64         `json:"share"`
		On     *bool           `json:"on"`
		List   []string        `json:"list"`
		Nested struct{ X int } `json:"nested"`
		Pause  core.Duration   `json:"pause"`
		Tags   core.Tags       `json:"tags"`
	}
	var got form
	require.NoError(t, core.DecodeStrict("", []byte(`{"name":"a","count":1,"list":["x"],"pause":"3s"}`), &got))
	assert.Equal(t, form{Name: "a", Count: 1, List: []string{"x"}, Pause: core.Duration(3e9)}, got)
	for _, tc := range []struct{ path, body, says string }{
		{"", `{"colour":"a"}`, "colour: there is no such field"},
		{"check", `{"colour":"a"}`, "check.colour: there is no such field"},
		{"", `{"name":5}`, `name: "a JSON number" is not allowed; use a string`},
		{"", `{"count":"x"}`, `count: "a JSON string" is not allowed; use a whole number`},
		{"", `{"share":"x"}`, `share: "a JSON string" is not allowed; use a number`},
		{"", `{"on":1}`, `on: "a JSON number" is not allowed; use true or false`},
		{"", `{"list":"x"}`, `list: "a JSON string" is not allowed; use an array`},
		{"check", `{"nested":[]}`, `check.nested: "a JSON array" is not allowed; use an object`},
		{"", `[]`, `body: "a JSON array" is not allowed; use an object`},
		{"check", `[]`, `check: "a JSON array" is not allowed; use an object`},
		{"", `{`, "body: it is not valid JSON: "},
		{"check", `{"tags":["a/b"]}`, "tags[0]: "},
	} {
		err := core.DecodeStrict(tc.path, []byte(tc.body), &form{})
		require.ErrorIs(t, err, core.ErrInvalid)
		assert.True(t, strings.HasPrefix(err.Error(), tc.says), err)
	}
}
