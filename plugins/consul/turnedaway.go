package consul

// turnedaway.go: what an agent turns away because an address has too many connections
// (limits.http_max_conns_per_client) or sends too many requests (limits.request_limits). Nothing of
// such a request was done, so it may be sent again.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// insistFor is how long a request that is turned away is sent again: more than a burst lasts, and
	// less than callers wait.
	insistFor = 3 * time.Second
	// firstWait is the pause before a request is sent again; each is twice the one before, up to
	// longestWait.
	firstWait   = 25 * time.Millisecond
	longestWait = 400 * time.Millisecond
)

// insist asks until it is not turned away.
func (t *transport) insist(req *http.Request) (*http.Response, error) {
	ctx, began := req.Context(), time.Now()
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		resp, err := t.ask(req, wait > firstWait)
		if !turnedAway(err) || time.Since(began) >= insistFor || ctx.Err() != nil {
			return resp, err
		}
		if pause(ctx, wait/2+rand.N(wait)); ctx.Err() != nil { //nolint:gosec // Chance, so that not all come back at once.
			return nil, err
		}
	}
}

// errHungUp is a connection that was closed before anything could be asked.
var errHungUp = errors.New("the server closed the connection at once")

// turnedAway tells that nothing of a request was done, and that it may be sent again.
func turnedAway(err error) bool {
	if se, ok := errors.AsType[*statusError](err); ok {
		return se.code == http.StatusTooManyRequests
	}
	op, isOp := errors.AsType[*net.OpError](err)
	return errors.Is(err, errHungUp) || isOp && op.Op == "write" // not all of it was sent
}

func newDialer() *net.Dialer { return &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second} }

// dial connects.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := newDialer().DialContext(ctx, network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // Its kind is looked at.
	}
	return newDeferring(conn), nil
}

// dialTLS connects, and proves to each other who speaks. Consul gives somebody whom it turns away 10 ms
// for that, before it closes the connection.
func dialTLS(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := newDialer().DialContext(ctx, network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // Its kind is looked at.
	}
	if config.ServerName == "" {
		config = config.Clone()
		if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, errors.Join(fmt.Errorf("address %q: %w", address, err), raw.Close())
		}
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // It is of no use any more.
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			return nil, fmt.Errorf("%w: %w", errHungUp, err)
		}
		return nil, err //nolint:wrapcheck // Its kind is looked at.
	}
	return newDeferring(conn), nil
}

// deferring is a connection whose reader gets nothing before something was written. Consul answers
// whom it turns away when he connects, and what comes before a request net/http takes for no answer.
type deferring struct {
	net.Conn

	speak  func() // says that something is written, or that it is closed
	spoken <-chan struct{}
}

func newDeferring(conn net.Conn) *deferring {
	spoken := make(chan struct{})
	return &deferring{Conn: conn, spoken: spoken, speak: sync.OnceFunc(func() { close(spoken) })}
}

// Read implements net.Conn. An end is told at once, and where nothing was written, that nothing was done.
func (d *deferring) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	select {
	case <-d.spoken:
		return n, err //nolint:wrapcheck // It is the connection's own.
	default:
	}
	if n == 0 && err != nil {
		return 0, fmt.Errorf("%w: %w", errHungUp, err)
	}
	<-d.spoken
	return n, err //nolint:wrapcheck // It is the connection's own.
}

// Write implements net.Conn.
func (d *deferring) Write(p []byte) (int, error) {
	d.speak()
	return d.Conn.Write(p) //nolint:wrapcheck // It is the connection's own.
}

// Close implements net.Conn.
func (d *deferring) Close() error {
	d.speak()
	return d.Conn.Close() //nolint:wrapcheck // It is the connection's own.
}
