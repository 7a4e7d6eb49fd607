package backendkit_test

// document_test.go: what is stored comes back, byte for byte, and what this version does not
// know is kept.

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func fullRecord() *ports.Record {
	at := time.Date(2031, 2, 3, 4, 5, 6, 789e6, time.UTC)
	return &ports.Record{
		Key: core.Key{Service: "api.v2", ID: "a_1"}, Generation: core.Generation{N: math.MaxUint64, Random: "R4nd0m"}, Session: "s-1",
		Owner: "host \"x\"", LeaseHash: "ab12",
		State: core.State{
			Declared: core.DeclaredMaintenance, Observed: core.ObservedUnhealthy, ByOperator: true, Actor: "ops",
			Reason: "näm <&> „x“ \u2028", Streak: -3, ChangedAt: at,
		},
		Body: []byte(`{"v":1,"html":"<&>","big":12345678901234567890.10,"dup":1,"dup":2}`), RegisteredAt: at.Add(-time.Hour), UpdatedAt: at.Add(time.Minute),
	}
}

func record(r *ports.Record) backendkit.Document {
	return backendkit.Document{Found: ports.Found{Record: r}}
}

func TestADocumentComesBackInEveryField(t *testing.T) {
	full := fullRecord()
	bare := &ports.Record{
		Key: core.Key{Service: "s", ID: "i"}, Generation: core.Generation{N: 1, Random: "r"}, Session: "s", Body: []byte(`{}`),
		State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown},
	}
	tomb := &ports.Tombstone{Key: full.Key, Generation: full.Generation, Session: "s", Cause: core.CauseOperator, Actor: "ops", Reason: "<gone>"}
	for name, doc := range map[string]backendkit.Document{
		"full": record(full), "bare": record(bare), "tombstone": {Found: ports.Found{Tombstone: tomb}, Write: "w1"},
		"tombstone without words": {Found: ports.Found{Tombstone: &ports.Tombstone{Key: full.Key, Generation: full.Generation, Session: "s", Cause: core.CauseExpired}}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := backendkit.Encode(doc)
			require.NoError(t, err)
			require.True(t, json.Valid(data), "%s", data)
			came, err := backendkit.Decode(data)
			require.NoError(t, err)
			assert.Equal(t, doc, came)
		})
	}
}

func TestABodyComesBackByteForByte(t *testing.T) {
	for _, body := range []string{
		"", " ", "null", "{}", " {\n}\r\n", `{"a" : 1 , "b":2}`, `{"e":"\u003c\/\u0000","raw":"é😀` + "\u2028" + `"}`,
		"not JSON", "\xff\xfe", `"text"`, `{"nested":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		rec := fullRecord()
		rec.Body = []byte(body)
		data, err := backendkit.Encode(record(rec))
		require.NoError(t, err)
		require.True(t, json.Valid(data), "%s", data)
		came, err := backendkit.Decode(data)
		require.NoError(t, err)
		assert.Equal(t, body, string(came.Record.Body))
	}
}

func TestUnknownFieldsAreKept(t *testing.T) {
	data, err := backendkit.Encode(record(fullRecord()))
	require.NoError(t, err)
	newer := strings.Replace(string(data), `"v":1,`, `"v":1,"flavour":{"b" :1e400},"x":null,`, 1)
	newer = strings.Replace(newer, `"state":{`, `"state":{"mood":"<good>",`, 1)
	doc, err := backendkit.Decode([]byte(newer))
	require.NoError(t, err)
	doc.Record.Owner = "another"
	again, err := backendkit.Encode(doc)
	require.NoError(t, err)
	for _, kept := range []string{`"flavour":{"b" :1e400}`, `"x":null`, `"mood":"<good>"`, `"owner":"another"`} {
		assert.Contains(t, string(again), kept)
	}
	twice, err := backendkit.Decode(again)
	require.NoError(t, err)
	assert.Equal(t, doc, twice)
}

func TestWhatIsNoDocumentIsAnError(t *testing.T) {
	good, err := backendkit.Encode(record(fullRecord()))
	require.NoError(t, err)
	for name, tt := range map[string]struct{ from, to, want string }{
		"not JSON":           {string(good), `{"v":1`, "no JSON"},
		"empty":              {string(good), ``, "no JSON"},
		"another thing":      {string(good), `[1]`, "no JSON"},
		"no version":         {`"v":1,`, ``, "format 0"},
		"a newer format":     {`"v":1,`, `"v":2,`, "format 2"},
		"a newer form":       {`"v":1,`, `"v":2,"revision":{},`, "format 2"},
		"a name that is bad": {`"service":"api.v2"`, `"service":"a/b"`, "service"},
		"no generation":      {`"generation":"18446744073709551615-R4nd0m"`, `"generation":""`, "generation"},
		"a bad generation":   {`"generation":"18446744073709551615-R4nd0m"`, `"generation":"x"`, "generation"},
		"a state of text":    {`"state":{`, `"state":"up","estate":{`, "state"},
		"a bad time":         {`"updated_at":"2031`, `"updated_at":"yesterday`, "time"},
		"a bad body":         {`"body":`, `"body_base64":"%%%","nobody":`, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(string(good), tt.from, tt.to, 1)
			require.NotEqual(t, string(good), bad)
			_, err := backendkit.Decode([]byte(bad))
			require.ErrorContains(t, err, tt.want)
			_, newer := errors.AsType[*backendkit.FormatError](err)
			assert.Equal(t, tt.want == "format 2", newer, "nothing else is somebody's who knows better")
		})
	}
	_, err = backendkit.DecodeFor(core.Key{Service: "api.v2", ID: "other"}, good)
	require.ErrorContains(t, err, "api.v2/other")
	_, err = backendkit.DecodeFor(fullRecord().Key, good)
	require.NoError(t, err)
	_, err = backendkit.Encode(backendkit.Document{})
	require.ErrorIs(t, err, ports.ErrInvalid)
}

func FuzzDecode(f *testing.F) {
	good, err := backendkit.Encode(record(fullRecord()))
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"v":1,"service":"a","id":"b","generation":"1-x","cause":"expired"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := backendkit.Decode(data)
		if err != nil {
			return
		}
		again, err := backendkit.Encode(doc)
		require.NoError(t, err)
		twice, err := backendkit.Decode(again)
		require.NoError(t, err, "%s", again)
		if doc.Record != nil {
			assert.Equal(t, string(doc.Record.Body), string(twice.Record.Body))
		}
		assert.Len(t, twice.Unknown, len(doc.Unknown))
	})
}

func FuzzEscape(f *testing.F) {
	f.Add("a.b-c", ".")
	f.Add("...", ".-")
	f.Fuzz(func(t *testing.T, name, not string) {
		if core.ValidateName("name", name) != nil || strings.ContainsAny(not, "=0123456789ABCDEF") {
			return
		}
		escaped := backendkit.Escape(name, not)
		assert.False(t, strings.ContainsAny(escaped, not), escaped)
		back, ok := backendkit.Unescape(escaped)
		assert.True(t, ok)
		assert.Equal(t, name, back)
	})
}

func TestOnlyWhatWasEscapedIsUnescaped(t *testing.T) {
	assert.Equal(t, "a=2Eb", backendkit.Escape("a.b", "."))
	assert.Equal(t, "a.b", backendkit.Escape("a.b", "_"))
	for _, bad := range []string{"=", "a=2", "=2e", "=GG", "a== "} {
		_, ok := backendkit.Unescape(bad)
		assert.False(t, ok, bad)
	}
}
