package client_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token = "the-secret-token"
	hostA = "http://a.test:8640"
	hostB = "http://b.test:8640"
)

// hosts is a network of hosts without a network: each request is answered by a function, so
// that tests can run in a synctest bubble.
type hosts struct {
	mu     sync.Mutex
	answer func(req *http.Request, body string) (*http.Response, error)
	seen   []string // "METHOD URL"
	log    bytes.Buffer
}

func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
	}
	h.mu.Lock()
	h.seen = append(h.seen, req.Method+" "+req.URL.String())
	answer := h.answer
	h.mu.Unlock()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return answer(req, string(body))
}

// requests gives the requests so far and forgets them.
func (h *hosts) requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.seen
	h.seen = nil
	return out
}

func (h *hosts) answerWith(f func(req *http.Request, body string) (*http.Response, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = f
}

// Write is where the client's log goes.
func (h *hosts) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(b)
}

func (h *hosts) logged() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

func newClient(t *testing.T, answer func(req *http.Request, body string) (*http.Response, error), addresses ...string) (*client.Client, *hosts) {
	t.Helper()
	if len(addresses) == 0 {
		addresses = []string{hostA}
	}
	h := &hosts{answer: answer}
	c, err := client.New(client.Config{
		Addresses: addresses, Token: token, HTTPClient: &http.Client{Transport: h},
		Logger: slog.New(slog.NewTextHandler(h, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, h
}

func respond(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {contentType}},
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

func ok(v any) (*http.Response, error) {
	b, err := json.Marshal(v)
	return respond(http.StatusOK, "application/json", string(b)), err
}

func refuse(err error) (*http.Response, error) {
	d := problem.From(err, nil)
	b, _ := json.Marshal(d)
	return respond(d.Status, problem.ContentType, string(b)), nil
}

// registered is the answer to a registration.
func registered(t *testing.T, spec core.Spec, lease string) any {
	t.Helper()
	in, _, err := spec.Resolve(core.StandardDefaults())
	require.NoError(t, err)
	return map[string]any{"instance": in, "lease": map[string]any{"id": lease}, "warnings": []string{"be warned"}}
}
