package bench_test

// http_test.go: the answer that clients poll, beside a handler that has it ready.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
)

const listPath = "/v1/services/api/instances"

// BenchmarkHTTPList compares the list of ten instances over HTTP with a bare net/http handler
// that writes the same bytes, on a server with the same limits. Two clients ask at the same
// time, each over one connection that stays open. They cost little, as they share the machine
// with the server and would otherwise hide what it costs. The aim is 0.7 of the bare handler's
// requests a second: requests-ratio.
func BenchmarkHTTPList(b *testing.B) {
	api := tenInstances(b)
	rec := httptest.NewRecorder()
	api.ServeHTTP(rec, httptest.NewRequestWithContext(b.Context(), http.MethodGet, listPath, http.NoBody))
	require.Equal(b, http.StatusOK, rec.Code)
	body := rec.Body.Bytes()
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set("Etag", rec.Header().Get("Etag"))
		_, _ = w.Write(body) // a client that is gone shows at its own end
	})
	ofAPI := connect(b, func(ctx context.Context, ln net.Listener) error { return api.Serve(ctx, ln) })
	ofBare := connect(b, func(ctx context.Context, ln net.Listener) error {
		srv := &http.Server{Handler: bare, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
		stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
		defer stop()
		_ = srv.Serve(ln)
		return nil
	})
	prism, peer := compare(b, 5, timed(b, ofAPI), timed(b, ofBare))
	b.ReportMetric(float64(peer)/float64(prism), "requests-ratio")
}

// tenInstances makes the API of a host that knows ten instances.
func tenInstances(b *testing.B) *httpapi.API {
	b.Helper()
	backend, err := memory.Open(b.Context(), memory.Options{Namespace: "bench"})
	require.NoError(b, err)
	client, err := discovery.Open(b.Context(), backend, discovery.WithDrainTimeout(0))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, client.Close(context.Background())) })
	for i := range 10 {
		_, err := client.RegisterInstance(b.Context(), discovery.RegisterRequest{Spec: core.Spec{
			Service: "api", ID: fmt.Sprintf("api-%d", i), Host: "10.0.0.7", Port: 8080 + i,
			Tags: []string{"gateway", "public"}, Metadata: core.MustMetadata(map[string]any{"team": "core"}),
		}})
		require.NoError(b, err)
	}
	api, err := httpapi.New(httpapi.Options{Client: client})
	require.NoError(b, err)
	return api
}

// Each round is so many requests by each of so many clients.
const clients, requests = 2, 200

// connect serves on a loopback port and returns a function that carries out one round.
func connect(b *testing.B, run func(context.Context, net.Listener) error) func() error {
	b.Helper()
	ln, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	require.NoError(b, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, ln) }()
	b.Cleanup(func() {
		stop()
		require.NoError(b, <-ended)
	})
	ask := []byte("GET " + listPath + " HTTP/1.1\r\nHost: " + ln.Addr().String() + "\r\n\r\n")
	var conns [clients]net.Conn
	for i := range conns {
		conns[i], err = (&net.Dialer{}).DialContext(b.Context(), "tcp", ln.Addr().String())
		require.NoError(b, err)
		b.Cleanup(func() { _ = conns[i].Close() })
	}
	return func() error {
		var errs [clients]error
		var wg sync.WaitGroup
		for i, conn := range conns {
			wg.Go(func() {
				from := bufio.NewReader(conn)
				for range requests {
					if _, errs[i] = conn.Write(ask); errs[i] != nil {
						return
					}
					if errs[i] = readAnswer(from); errs[i] != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// readAnswer reads an answer that has the status 200 and says how long it is.
func readAnswer(from *bufio.Reader) error {
	length := 0
	for n := 0; ; n++ {
		line, err := from.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if n == 0 && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("the server says %s", line)
		}
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if length < 1000 {
		return fmt.Errorf("an answer of %d bytes cannot hold ten instances", length)
	}
	_, err := io.CopyN(io.Discard, from, int64(length))
	return err
}
