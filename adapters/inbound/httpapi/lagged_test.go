package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// pipes is a listener whose connections hold nothing: a write waits until it is read.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours, nil
}

func TestASlowReaderIsToldWhatItMissed(t *testing.T) {
	facade := newFacade(t, discovery.WithHistory(4))
	api, err := httpapi.New(httpapi.Options{Client: facade})
	require.NoError(t, err)
	ln := &pipes{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- api.Serve(ctx, ln) }()
	transport := &http.Transport{DialContext: ln.dial}
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-served)
		transport.CloseIdleConnections()
	})
	h := &host{t: t, url: "http://localhost", http: &http.Client{Transport: transport}}
	receive := h.open("/v1/events")

	for i := range 20 { // nobody reads: the stream is stuck at the first, and the history moves on
		_, err := facade.RegisterInstance(t.Context(), discovery.RegisterRequest{
			Spec: core.Spec{Service: "api", ID: fmt.Sprintf("i%02d", i), Host: "h", Port: 1, Check: &core.Check{Type: core.CheckNone}},
		})
		require.NoError(t, err)
	}
	seen, missed := 0, 0
	for last := ""; last != "i19"; {
		e := receive()
		switch e.name {
		case "service_registered":
			seen++
			var event core.Event
			require.NoError(t, json.Unmarshal([]byte(e.data), &event))
			last = event.ID
		case "lagged":
			var n int
			_, err := fmt.Sscanf(e.data, `{"missed":%d}`, &n)
			require.NoError(t, err)
			missed += n
		default:
			t.Fatalf("got %+v", e)
		}
	}
	assert.Equal(t, 20, seen+missed, "each event is seen or counted")
	assert.Positive(t, missed)
}
