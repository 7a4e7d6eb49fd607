package consul

// turnedaway_internal_test.go: an agent that takes few connections from one address.

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/tools/stores"
)

func TestWhatAnAgentTurnsAwayIsSentAgain(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true, Connections: 4})
	client, _ := clientOf(t, Options{URL: store.URL()})
	const burst = 4 * maxAtOnce
	failed := make([]error, burst)
	var all sync.WaitGroup
	for i := range burst {
		all.Go(func() {
			_, failed[i] = client.KV().Put(&api.KVPair{Key: fmt.Sprintf("burst/%d", i), Value: []byte("x")}, nil)
		})
	}
	all.Wait()
	for _, err := range failed {
		require.NoError(t, err)
	}
	keys, _, err := client.KV().Keys("burst/", "", nil)
	require.NoError(t, err)
	assert.Len(t, keys, burst)
}

// Over TLS an agent that has no time for the handshake of somebody whom it turns away hangs up.
func TestWhomAnAgentHangsUpOnConnectsAgain(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "true") }))
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew && connections.Add(1) <= 3 {
			if raw, ok := conn.(*tls.Conn); assert.True(t, ok) {
				assert.NoError(t, raw.NetConn().Close())
			}
		}
	}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	client, _ := clientOf(t, Options{URL: server.URL, TLS: backendkit.TLS{CAFile: ca}})
	_, err := client.KV().Put(&api.KVPair{Key: "k", Value: []byte("x")}, nil)
	require.NoError(t, err)
	assert.Equal(t, int32(4), connections.Load())
}

// clientOf makes the client that a backend would have.
func clientOf(t *testing.T, o Options) (*api.Client, *transport) {
	t.Helper()
	urls, err := o.complete()
	require.NoError(t, err)
	client, way, err := newClient(o, urls)
	require.NoError(t, err)
	t.Cleanup(way.next.CloseIdleConnections)
	return client, way
}

func TestWhoIsAlwaysTurnedAwayIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		way := wayThrough(func(req *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(req.Body)
			bodies = append(bodies, string(body))
			return &http.Response{StatusCode: http.StatusTooManyRequests, Body: io.NopCloser(strings.NewReader("too many\n"))}, err
		})
		put := func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://127.0.0.1:1/v1/kv/k", strings.NewReader("value"))
			require.NoError(t, err)
			_, err = way.RoundTrip(req) //nolint:bodyclose // There is none.
			return err
		}

		began := time.Now()
		var se *statusError
		require.ErrorAs(t, put(t.Context()), &se)
		assert.Equal(t, statusError{code: http.StatusTooManyRequests, body: "too many"}, *se)
		assert.GreaterOrEqual(t, time.Since(began), insistFor)
		assert.Less(t, time.Since(began), insistFor+2*longestWait)
		assert.Greater(t, len(bodies), 5)
		for _, body := range bodies {
			assert.Equal(t, "value", body)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		require.ErrorAs(t, put(ctx), &se, "whoever has waited for long enough is told why")
		assert.Equal(t, time.Second, time.Since(began))
	})
}

// The answer's connection is in use until then.
func TestAPlaceIsFreeWhenTheAnswerIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		way := wayThrough(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("true"))}, nil
		})
		ask := func(ctx context.Context) (*http.Response, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:1/v1/kv/k", http.NoBody)
			require.NoError(t, err)
			return way.RoundTrip(req)
		}
		first, err := ask(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = ask(ctx) //nolint:bodyclose // There is none.
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, first.Body.Close())
		require.NoError(t, first.Body.Close(), "a second time frees nobody else's place")
		second, err := ask(t.Context())
		require.NoError(t, err)
		require.Len(t, way.slots, 1)
		require.NoError(t, second.Body.Close())
		require.Empty(t, way.slots)
	})
}

// wayThrough has one place, and f for a network.
func wayThrough(f roundTrip) *transport {
	next := new(http.Transport)
	next.RegisterProtocol("http", f)
	return &transport{next: next, urls: []*url.URL{{Scheme: "http", Host: "127.0.0.1:1"}}, slots: make(chan struct{}, 1)}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
