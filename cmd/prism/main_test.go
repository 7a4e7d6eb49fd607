package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/ports"
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
	return newWorldOf(t, c)
}

// newWorldOver is a host over a backend that need not answer.
func newWorldOver(t *testing.T, b ports.Backend) *world {
	t.Helper()
	c, err := discovery.Open(t.Context(), b, discovery.WithoutWaiting(), discovery.WithDrainTimeout(0))
	require.NoError(t, err)
	return newWorldOf(t, c)
}

func newWorldOf(t *testing.T, c *prism.Client) *world {
	t.Helper()
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

// away is a backend whose store does not answer.
type away struct{}

var errAway = fmt.Errorf("%w: the store has gone fishing", ports.ErrUnavailable)

func (away) Info() ports.Info             { return ports.Info{Name: "away"} }
func (away) Close() error                 { return nil }
func (away) Health(context.Context) error { return errAway }

func (away) OpenSession(context.Context, ports.SessionSpec) (ports.Session, error) {
	return ports.Session{}, errAway
}

func (away) RenewSessions(context.Context, []ports.SessionID) ([]ports.RenewResult, error) {
	return nil, errAway
}

func (away) CloseSession(context.Context, ports.SessionID) error { return errAway }

func (away) Apply(context.Context, []ports.Mutation) ([]ports.MutationResult, error) {
	return nil, errAway
}

func (away) Get(context.Context, []core.Key) ([]ports.Found, error) { return nil, errAway }

func (away) Watch(context.Context, ports.WatchRequest) (ports.Watcher, error) { return nil, errAway }
