package consul

// transport_internal_test.go: which failures are a reason to ask at another address.

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
	o := Options{URL: front.URL + "," + store.URL()}
	urls, err := o.complete()
	require.NoError(t, err)
	client, way, err := newClient(o, urls)
	require.NoError(t, err)
	t.Cleanup(way.next.CloseIdleConnections)
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
