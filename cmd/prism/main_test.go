package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism"
	"github.com/marketprism/prism/adapters/inbound/httpapi"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(binaries.dir) // it is a temporary folder in any case
		os.Exit(code)
	}))
}

// result is how a command line ended.
type result struct {
	code     int
	out, err string
}

// decode reads standard output as JSON.
func (r result) decode(t *testing.T, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(r.out), into), r.out)
}

// invoke carries out a command line in this process.
func invoke(ctx context.Context, stdin string, args ...string) result {
	var out, err bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &out, &err)
	return result{code: code, out: out.String(), err: err.String()}
}

// world is a host in this process, over memory.
type world struct {
	t       *testing.T
	client  *prism.Client
	api     *httpapi.API
	address string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := prism.Open(t.Context(), prism.Config{DrainTimeout: -1, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close(context.Background())) })
	api, err := httpapi.New(httpapi.Options{Client: c})
	require.NoError(t, err)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	t.Cleanup(api.Close) // first, so that no stream holds the server up
	return &world{t: t, client: c, api: api, address: server.URL}
}

// prism carries out a command line against the host.
func (w *world) prism(args ...string) result {
	w.t.Helper()
	return invoke(w.t.Context(), "", append(args, "--address", w.address)...)
}

// must likewise, and the command has to succeed.
func (w *world) must(args ...string) result {
	w.t.Helper()
	r := w.prism(args...)
	require.Zero(w.t, r.code, "%v: %s", args, r.err)
	return r
}

// register registers an instance and returns its lease.
func (w *world) register(service string, args ...string) string {
	w.t.Helper()
	var got struct {
		Lease struct {
			ID string `json:"id"`
		} `json:"lease"`
	}
	w.must(append([]string{"register", service, "--port", "8081", "--check", "none", "-o", "json"}, args...)...).decode(w.t, &got)
	return got.Lease.ID
}
