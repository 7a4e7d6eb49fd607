package pluginhost

// logs_internal_test.go: from bytes to masked, paced lines.

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLines(t *testing.T) {
	var got []string
	l := &lines{limit: 8, emit: func(line []byte) { got = append(got, string(line)) }}
	for _, chunk := range []string{"one\ntw", "o\r\n\n", "exactly8\n", "far too long", " for it\nnext", "\n12345", "6789", "\nend"} {
		n, err := l.Write([]byte(chunk))
		require.NoError(t, err)
		assert.Equal(t, len(chunk), n)
	}
	l.flush()
	l.flush()
	assert.Equal(t, []string{"one", "two", "", "exactly8", "far too ", "next", "12345678", "end"}, got)
	assert.LessOrEqual(t, cap(l.pending), 64, "it keeps no more than a line")
}

func TestSinkPaces(t *testing.T) {
	now := time.Now()
	s := newLogSink(slog.New(slog.DiscardHandler), nil)
	s.filled = now
	allowed := func() (n int) {
		for range 5000 {
			if s.allow(now) {
				n++
			}
		}
		return n
	}
	assert.Equal(t, logBurst, allowed())
	now = now.Add(time.Second)
	assert.Equal(t, logRate, allowed())
	now = now.Add(time.Hour)
	assert.Equal(t, logBurst, allowed(), "no more than a burst is saved up")
}

func TestSinkReportsWhatItLeftOut(t *testing.T) {
	var out bytes.Buffer
	var reports []int
	s := newLogSink(slog.New(slog.NewTextHandler(&out, nil)), func(n int) { reports = append(reports, n) })
	s.tokens, s.filled = 2, time.Now().Add(time.Hour) // The clock stands still, as it were.
	log := &processLog{sink: s, life: t.Context()}
	for range 10 {
		log.line("stderr", []byte("hello"))
	}
	log.line("stderr", []byte("panic: at the disco")) // Dying words are never left out.
	log.line("stderr", nil)
	s.report()
	s.report()
	assert.Equal(t, []int{8}, reports)
	assert.Equal(t, 2, strings.Count(out.String(), "hello"))
	assert.Contains(t, out.String(), `level=ERROR msg="panic: at the disco"`)
	assert.Equal(t, `"panic: at the disco"`, log.lastWords())
}

func TestLastWords(t *testing.T) {
	log := &processLog{sink: newLogSink(slog.New(slog.DiscardHandler), nil), life: t.Context()}
	assert.Empty(t, log.lastWords())
	for i := range 2 * tailLength {
		log.line("stderr", bytes.Repeat([]byte{'a' + byte(i)}, 2))
	}
	log.line("stderr", []byte(`{"@level":"error","@message":"no","error":"why"}`))
	log.line("stderr", []byte(`{"@level":"debug","@message":"of no use"}`))
	log.line("stderr", nil)
	assert.Equal(t, `"hh / ii / jj / kk / ll / no: why"`, log.lastWords())
	log.line("stderr", bytes.Repeat([]byte("ä"), maxLine))
	assert.Less(t, len(log.lastWords()), 2*longestWords)
}

func TestMask(t *testing.T) {
	options := []byte(`{
		"password": "p@ss \"word\"", "pin": "0123-4567", "url": "redis://u:sw%20ord@h:1,redis://v:other@h",
		"auth": {"token": "to-ken", "user": "somebody"}, "keys": ["first-key", "second-key"], "short_token": "abc",
		"number_secret": 987654321, "comma_url": "nats://u:com,ma@h", "bad_url": "nats://u:b#d pass@h", "token_file": "/run/token", "private_key": "-----BEGIN\nMIIEvQIB\n-----END", "namespace": "prism"
	}`)
	m := newMasker(options, []string{"pin", "keys"})
	for _, secret := range []string{
		`p@ss "word"`, `p@ss \"word\"`, `p%40ss+%22word%22`, `p%40ss%20%22word%22`, "0123-4567", "sw%20ord", "sw ord", "other", "to-ken",
		"first-key", "second-key", "b#d pass", "com,ma", "987654321", "MIIEvQIB",
	} {
		assert.Equal(t, "x *** y", m.text("x "+secret+" y"), secret)
	}
	for _, harmless := range []string{"somebody", "/run/token", "abc", "prism", "redis://u@h:1"} {
		assert.Equal(t, harmless, m.text(harmless))
	}
	assert.Nil(t, newMasker([]byte(`{"namespace":"prism"}`), nil))
	assert.Nil(t, newMasker(nil, nil))
	assert.Equal(t, "text", (*masker)(nil).text("text"))
}

func TestGreeting(t *testing.T) {
	for line, want := range map[string]string{
		"1|1|unix|/tmp/x|grpc|cert":                 "1|1|unix|/tmp/x|grpc|cert\n",
		"loading 101|1|tcp|127.0.0.1:1|grpc|":       "1|1|tcp|127.0.0.1:1|grpc|\n",
		"1|1|pigeon|coop|grpc|":                     "",
		"|unix|":                                    "",
		"1|2|unix|/tmp/1|1|unix|odd but first|grpc": "1|2|unix|/tmp/1|1|unix|odd but first|grpc\n",
	} {
		g := greeting{found: make(chan struct{})}
		assert.Equal(t, want != "", g.offer([]byte(line)), line)
		assert.False(t, g.offer([]byte("1|7|unix|/second|grpc|")) && want != "", "only the first counts")
		g.end()
		var got bytes.Buffer
		_, err := got.ReadFrom(&g)
		require.NoError(t, err)
		if want != "" {
			assert.Equal(t, want, got.String())
		}
	}
}

func TestEnvironment(t *testing.T) {
	host := []string{
		"PATH=/bin", "LC_ALL=C", "https_proxy=http://p", "CONSUL_HTTP_TOKEN=t", "PLUGIN_MIN_PORT=1", "MINE=1", "PATHS=no", "=weird",
	}
	env, err := environment(host, []string{"MINE", "ABSENT", "YOURS=2"})
	require.NoError(t, err)
	assert.Equal(t, []string{"PATH=/bin", "LC_ALL=C", "https_proxy=http://p", "MINE=1", "YOURS=2"}, env)
	for _, bad := range []string{"PLUGIN_X", "plugin_x=1", "=x", ""} {
		_, err := environment(host, []string{bad})
		require.Error(t, err, bad)
	}
}
