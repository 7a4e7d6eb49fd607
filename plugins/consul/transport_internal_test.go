package consul

// transport_internal_test.go: which failures are a reason to ask at another address, and how many
// connections a burst takes.

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/tools/stores"
)

func TestWhoGivesUpAsksAtTheSameAddressAgain(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	to, err := url.Parse(store.URL())
	require.NoError(t, err)
	asked := make(chan string, 10) // by what is asked
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	client, way := clientOf(t, Options{URL: front.URL + "," + store.URL()})
	put := &api.KVPair{Key: "prism/latest", Value: []byte("x")}
	_, err = client.KV().Put(put, nil)
	require.NoError(t, err)
	require.Equal(t, "/v1/kv/prism/latest", <-asked)
	at, _, err := client.KV().Get(put.Key, nil)
	require.NoError(t, err)
	<-asked
	// follow waits for the next write, which does not come.
	follow := func(ctx context.Context) error {
		q := (&api.QueryOptions{WaitIndex: at.ModifyIndex, WaitTime: time.Minute}).WithContext(ctx)
		_, _, err := client.KV().Get(put.Key, q)
		return err
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan error, 1)
	go func() { gone <- follow(ctx) }()
	<-asked
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	assert.Zero(t, way.at.Load(), "who has enough says nothing against the address")

	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, follow(ctx), context.DeadlineExceeded)
	assert.Equal(t, uint32(1), way.at.Load(), "one that does not answer in time may be away")
}

func TestABurstWaitsItsTurn(t *testing.T) {
	t.Parallel()
	arrived, answer := make(chan string), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.RawQuery
		<-answer
	}))
	t.Cleanup(server.Close)
	_, way := clientOf(t, Options{URL: server.URL})
	ask := func(ctx context.Context, query string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/kv/k?"+query, http.NoBody)
		require.NoError(t, err)
		resp, err := way.RoundTrip(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	const burst = 3 * maxAtOnce
	done := make(chan error, burst+1)
	for range burst {
		go func() { done <- ask(t.Context(), "") }()
	}
	for range maxAtOnce {
		<-arrived
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, ask(ctx, ""), context.Canceled, "nobody waits for longer than he wants to")
	go func() { done <- ask(t.Context(), "index=7") }()
	assert.Equal(t, "index=7", <-arrived, "who waits for a change takes nobody's turn, and the rest of the burst waits")
	close(answer)
	for range burst - maxAtOnce {
		<-arrived
	}
	for range burst + 1 {
		require.NoError(t, <-done)
	}
}
