package nats_test

// support_test.go: records, sessions and streams in few words.

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	prismnats "github.com/marketprism/prism/plugins/nats"
	"github.com/marketprism/prism/tools/stores"
)

const namespace = "prism"

// open opens a backend on the store for the time of a test.
func open(t *testing.T, store *stores.Cluster, o prismnats.Options) *prismnats.Backend {
	t.Helper()
	o.URL = url(store)
	b, err := prismnats.Open(backendtest.Within(t), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// raw is JetStream itself, of a server without TLS and login.
func raw(t *testing.T, store *stores.Cluster) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(url(store), nats.Timeout(backendtest.Patience))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	return js
}
