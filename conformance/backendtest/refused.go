package backendtest

// refused.go: what is refused is refused with one sentence, in time, and without a secret.

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/ports"
)

// tooLong is more than Open takes, on a machine that does other things too.
const tooLong = 15 * time.Second

// Refused asks that open fails in time, and as Said does; with a nil sentinel, that it does not
// fail. Secrets in the options hold the word "secret".
func Refused[O any, B ports.Backend](t *testing.T, open func(context.Context, O) (B, error), o O, sentinel error, words ...string) {
	t.Helper()
	began := time.Now()
	b, err := open(Within(t), o)
	if err == nil {
		require.NoError(t, b.Close())
	}
	if sentinel == nil {
		require.NoError(t, err)
		return
	}
	Said(t, err, sentinel, words...)
	assert.Less(t, time.Since(began), tooLong)
}

// Said asks of an error that it is one sentence with these words, of one sentinel of package
// ports, and that it repeats nothing with "secret" in it, nor what gRPC says of itself.
func Said(t *testing.T, err, sentinel error, words ...string) {
	t.Helper()
	require.ErrorIs(t, err, sentinel)
	for _, other := range []error{ports.ErrInvalid, ports.ErrUnavailable, ports.ErrPermission, ports.ErrUnsupported, ports.ErrTooLarge, ports.ErrClosed} {
		if other != sentinel { //nolint:errorlint // The sentinels themselves.
			require.NotErrorIs(t, err, other)
		}
	}
	for _, word := range words {
		assert.Contains(t, err.Error(), word)
	}
	for _, never := range []string{"secret", "rpc error", "\n"} {
		assert.NotContains(t, err.Error(), never)
	}
}

// Nowhere is an address, HOST:PORT, where nothing listens.
func Nowhere(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().String()
}

// InPlaceOf listens as a server that speaks for itself on each connection, until that or the test
// ends, and returns its address, HOST:PORT.
func InPlaceOf(t *testing.T, speak func(conn net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }() // the other end is gone
				speak(conn)
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		serving.Wait()
	})
	return l.Addr().String()
}

// Schema asks that every option is documented and is a JSON field of options, a struct, and the
// other way round; and that these are secret, in the order of the schema.
func Schema(t *testing.T, schema []ports.Option, options any, secrets ...string) {
	t.Helper()
	var secret []string
	names := make(map[string]bool)
	for _, o := range schema {
		names[o.Name] = true
		assert.NotEmpty(t, o.Doc, o.Name)
		if o.Secret {
			secret = append(secret, o.Name)
		}
	}
	assert.Equal(t, secrets, secret)
	text, err := json.Marshal(options)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	for field := range fields {
		assert.True(t, names[field], "the field %s is in the schema", field)
	}
	assert.Len(t, fields, len(names))
}
