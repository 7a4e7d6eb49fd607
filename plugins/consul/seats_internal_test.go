package consul

// seats_internal_test.go: a seat whose holder does not hear that it has it.

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// deaf is a Consul whose answer to the next write is lost, where that is asked for.
func deaf(t *testing.T, store *stores.Cluster, next *atomic.Bool) *httptest.Server {
	t.Helper()
	to, err := url.Parse(store.URL())
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte(`"cas"`)) && next.CompareAndSwap(true, false) {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestABeatWhoseAnswerIsLostKeepsItsSeat(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	var lost atomic.Bool
	quiet := sweepTimes
	quiet.beat, quiet.stale = time.Hour, time.Hour
	b, err := open(t.Context(), Options{URL: deaf(t, store, &lost).URL}, quiet)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	stands := func() (holders [seatCount]string) {
		for n := range holders {
			pairs, err := b.read(t.Context(), b.keys.seat(n))
			require.NoError(t, err)
			var seat struct{ Holder string }
			if pairs[0].ModifyIndex != 0 {
				require.NoError(t, json.Unmarshal(pairs[0].Value, &seat))
			}
			holders[n] = seat.Holder
		}
		return holders
	}
	require.Eventually(t, func() bool { return stands()[0] != "" }, 30*time.Second, 10*time.Millisecond, "the process itself takes seat 0")
	its := stands()[0]

	s := newSeats(b, quiet.stale)
	keep := func() {
		t.Helper()
		lost.Store(true)
		require.ErrorIs(t, s.keep(t.Context(), time.Now()), ports.ErrUnavailable)
		require.False(t, lost.Load())
	}
	again := func() {
		t.Helper()
		require.NoError(t, s.keep(t.Context(), time.Now()))
	}
	keep() // It has a seat, and does not know.
	again()
	assert.Equal(t, [seatCount]string{its, s.id, ""}, stands())
	assert.Equal(t, 1, s.held)
	keep()
	again()
	assert.Equal(t, [seatCount]string{its, s.id, ""}, stands())
	assert.Equal(t, 1, s.held)
	_, err = b.client.KV().Delete(b.keys.seat(0), nil)
	require.NoError(t, err)
	keep() // It moves up.
	again()
	assert.Equal(t, [seatCount]string{s.id, "", ""}, stands())
	assert.Zero(t, s.held)
	keep()
	s.leave(t.Context())
	assert.Equal(t, [seatCount]string{}, stands())
}
