package core_test

import (
	"encoding/json"
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

func TestFieldsOfOtherVersionsAreKept(t *testing.T) {
	type inner struct {
		Name string `json:"name"`
	}
	type form struct {
		V int `json:"v"`
		inner
	}
	want := form{V: 1, inner: inner{Name: "a"}}
	for _, tc := range []struct {
		object string
		keeps  map[string]json.RawMessage
	}{
		{`{"v":1,"name":"a"}`, nil},
		{"{\"v\":1,\"name\":\"a\"}\n", nil},
		{`{"v":1,"colour":{"r":1},"name":"a"}`, map[string]json.RawMessage{"colour": json.RawMessage(`{"r":1}`)}},
		{`{"v":1,"":2,"name":"a"}`, map[string]json.RawMessage{"": json.RawMessage(`2`)}},
		{`{"colour":null,"v":1,"name":"a"}`, map[string]json.RawMessage{"colour": json.RawMessage(`null`)}},
	} {
		got, unknown, err := core.DecodeKeeping[form]([]byte(tc.object))
		require.NoError(t, err, tc.object)
		assert.Equal(t, want, got, tc.object)
		assert.Equal(t, tc.keeps, unknown, tc.object)
	}
	for _, broken := range []string{``, `{`, `[]`, `"a"`, `{"v":1}{}`, `{"v":"a"}`, `{"v":1,"colour":1}]`} {
		_, _, err := core.DecodeKeeping[form]([]byte(broken))
		require.Error(t, err, broken)
	}
}

// A host reads what a newer one wrote, and a client what a newer host shows, in every part.
func TestPartsOfOtherVersionsAreRead(t *testing.T) {
	in, _, err := core.Spec{
		Service: "svc", Host: "127.0.0.1", Port: 8080, Endpoints: []core.Endpoint{{Name: "metrics", Port: 9}}, Check: &core.Check{Rise: 7},
	}.Resolve(core.StandardDefaults())
	require.NoError(t, err)
	newer := func(b []byte, err error) []byte {
		require.NoError(t, err)
		s := strings.Replace(string(b), `"rise":7`, `"rise":7,"method":"HEAD"`, 1)
		s = strings.Replace(s, `"name":"metrics"`, `"name":"metrics","weight":1`, 1)
		require.Len(t, s, len(b)+len(`,"method":"HEAD"`)+len(`,"weight":1`))
		return []byte(s)
	}
	var stored, shown core.Instance
	_, err = core.DecodeBody(newer(core.EncodeBody(in, nil)), &stored)
	require.NoError(t, err)
	assert.True(t, in.SameDescription(stored))
	require.NoError(t, json.Unmarshal(newer(json.Marshal(in)), &shown))
	assert.True(t, in.SameDescription(shown))
	require.ErrorContains(t, json.Unmarshal([]byte(`{"method":"HEAD"}`), &core.Check{}), "there is no such field", "people write fields that there are")
}
