package httpapi_test

// faults_test.go: faults of the module that Prism replaces, as a client over HTTP would meet
// them; others stand beside what they are about.

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// away is a backend whose store has never answered.
type away struct{ ports.Backend }

func (away) Watch(context.Context, ports.WatchRequest) (ports.Watcher, error) {
	return nil, fmt.Errorf("%w: nobody there", ports.ErrUnavailable)
}

// Fault 13: an outage looked like "no instances".
func TestFault13StoreThatNeverAnsweredIsNoEmptyRegistry(t *testing.T) {
	backend, err := memory.Open(t.Context(), memory.Options{})
	require.NoError(t, err)
	client, err := discovery.Open(t.Context(), away{backend}, discovery.WithoutWaiting())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close(context.WithoutCancel(t.Context()))) })
	api, err := httpapi.New(httpapi.Options{Client: client})
	require.NoError(t, err)
	srv := httptest.NewServer(api)
	t.Cleanup(func() {
		api.Close()
		srv.Close()
	})
	h := &host{t: t, api: api, client: client, url: srv.URL, http: srv.Client()}
	for _, path := range []string{
		"/v1/services/api/pick", "/v1/services/api/explain", api1, "/readyz", "/v1/services", list, list + "?limit=1", "/v1/prometheus/sd",
	} {
		got := h.call("GET", path, "")
		assert.Equal(t, 503, got.status, "%s: %s", path, got.raw)
		assert.NotContains(t, got.raw, "backend unavailable: backend unavailable", path)
	}
}

// Fault 21: weight, region, datacenter, health URL and initial status could not be set at
// registration.
func TestFault21EverythingCanBeSetAtRegistration(t *testing.T) {
	h := newHost(t)
	h.want(201, "PUT", api1, `{"host":"10.0.0.7","port":8080,"weight":0,"region":"eu","zone":"eu-1","datacenter":"dc9",`+
		`"health_check_url":"http://10.0.0.7:9/alive","status":"maintenance","version":"2","scheme":"https"}`)
	got := h.want(200, "GET", api1, "").body
	for field, want := range map[string]any{
		"weight": 0.0, "region": "eu", "zone": "eu-1", "datacenter": "dc9", "health_check_url": "http://10.0.0.7:9/alive",
		"status": "maintenance", "version": "2", "scheme": "https", "base_url": "https://10.0.0.7:8080",
	} {
		assert.Equal(t, want, got[field], field)
	}
}

// Fault 27: only http URLs; IPv6 unbracketed.
func TestFault27SchemesAndIPv6(t *testing.T) {
	h := newHost(t)
	h.want(201, "PUT", api1, `{"host":"fd00::7","port":50051,"scheme":"grpc","check":{"type":"none"},"endpoints":[{"name":"metrics","port":9}]}`)
	assert.Equal(t, "grpc://[fd00::7]:50051", h.want(200, "GET", "/v1/services/api/pick", "").body["url"])
	assert.Equal(t, "http://[fd00::7]:9", h.want(200, "GET", "/v1/services/api/pick?endpoint=metrics", "").body["url"])
}
