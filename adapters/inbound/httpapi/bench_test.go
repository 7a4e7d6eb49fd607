package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
)

// BenchmarkListInstances compares the list of ten instances with a handler that writes the
// same bytes and does nothing else, without a network: what the handler itself costs and
// allocates. Over a network, and against its aim, BenchmarkHTTPList of the module bench
// measures it.
func BenchmarkListInstances(b *testing.B) {
	backend, err := memory.Open(b.Context(), memory.Options{})
	require.NoError(b, err)
	client, err := discovery.Open(b.Context(), backend)
	require.NoError(b, err)
	defer func() { require.NoError(b, client.Close(context.WithoutCancel(b.Context()))) }()
	for i := range 10 {
		_, err := client.RegisterInstance(b.Context(), discovery.RegisterRequest{Spec: core.Spec{
			Service: "api", ID: fmt.Sprintf("api-%d", i), Host: "10.0.0.7", Port: 8080 + i,
			Tags: []string{"gateway", "public"}, Metadata: core.MustMetadata(map[string]any{"team": "core"}),
		}})
		require.NoError(b, err)
	}
	api, err := httpapi.New(httpapi.Options{Client: client})
	require.NoError(b, err)
	defer api.Close()
	rec := httptest.NewRecorder()
	api.ServeHTTP(rec, httptest.NewRequestWithContext(b.Context(), http.MethodGet, list, http.NoBody))
	body := rec.Body.Bytes()
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
	for _, h := range []struct {
		name    string
		handler http.Handler
	}{{"bare", bare}, {"api", api}} {
		b.Run(h.name, func(b *testing.B) { benchHandler(b, h.handler, len(body)) })
	}
}

func benchHandler(b *testing.B, h http.Handler, size int) {
	b.Helper()
	req := httptest.NewRequestWithContext(b.Context(), http.MethodGet, list, http.NoBody)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	w := &nowhere{header: http.Header{}}
	for b.Loop() {
		h.ServeHTTP(w, req)
	}
}

// nowhere is a ResponseWriter that costs nothing.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w *nowhere) WriteHeader(int)             {}
