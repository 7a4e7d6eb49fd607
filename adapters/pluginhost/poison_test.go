package pluginhost_test

// poison_test.go: lines that break parsers.

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever a plugin writes is logged, and no line can end the host.
func TestPoisonousLines(t *testing.T) {
	f := newFixture(t, rolePlugin, nil)
	h := f.open(t)
	for line, want := range map[string][]string{
		`{"@level":"info","@message":5}`:                                   {`"msg":"5"`, `"level":"INFO"`},
		`{"@level":7,"@message":"odd level","@timestamp":[]}`:              {`"msg":"odd level"`},
		`{"@level":"warn","@message":"hclog","@module":"m","n":1}`:         {`"level":"WARN","msg":"hclog"`, `"n":"1"`, `"@module":"m"`},
		`{"time":"2026-01-02T03:04:05Z","level":"ERROR","msg":"s","a":{}}`: {`"level":"ERROR","msg":"s"`, `"a":"{}"`},
		`{"no":"log line"}`:                   {`"msg":"{\"no\":\"log line\"}"`},
		`{"@message":`:                        {`"msg":"{\"@message\":"`},
		`[WARN] plain text`:                   {`"level":"WARN","msg":"plain text"`},
		`[1 2] no level`:                      {`"level":"INFO","msg":"[1 2] no level"`},
		"\xff\xfe\x00 not text":               {"not text"},
		"long " + strings.Repeat("l", 20<<10): {"long l"},
	} {
		_, err := order(t.Context(), h, "raw "+strings.ToValidUTF8(line, "?"))
		require.NoError(t, err)
		got := f.log.waitFor(t, append(want, `"plugin":"toy"`, `"from":"stderr"`)...)
		assert.Less(t, len(got), 10<<10)
	}
	require.NoError(t, h.Health(t.Context()))
}
