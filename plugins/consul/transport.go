package consul

// transport.go: the way to Consul: which of its addresses, what every request carries, and
// what its HTTP answers mean.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	dialTimeout = 3 * time.Second
	// idleConnections are few: an agent takes 200 connections from one address, and many
	// programs may share that.
	idleConnections = 4
	idleTime        = 20 * time.Second
	// maxAtOnce bounds the requests of a process that are on their way, but for those that wait for a
	// change. Beyond that a burst waits its turn here: Consul would turn it away, with a status of 429.
	maxAtOnce = 64
)

// transport sends requests to the first address that takes them. It is what alone decides on
// token, namespace and partition, as the client would fill them in from the environment.
type transport struct {
	next *http.Transport
	urls []*url.URL
	at   atomic.Uint32 // index into urls, modulo their number

	slots chan struct{} // holds one for each request on its way

	token, username, password, namespace, partition string
}

// statusError is an answer of Consul's that is no result.
type statusError struct {
	code int
	body string
}

// Error implements error.
func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.code, e.body) }

// newClient makes the API client, which connects when it is used.
func newClient(o Options, urls []*url.URL) (*api.Client, *transport, error) {
	tls, err := o.Config()
	if err != nil {
		return nil, nil, err
	}
	t := &transport{
		next: &http.Transport{
			DialContext: dial,
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return dialTLS(ctx, network, address, tls)
			},
			MaxIdleConnsPerHost: idleConnections,
			IdleConnTimeout:     idleTime,
		},
		urls: urls, slots: make(chan struct{}, maxAtOnce), token: o.Token, username: o.Username, password: o.Password, namespace: o.ConsulNamespace, partition: o.Partition,
	}
	client, err := api.NewClient(&api.Config{
		Address: urls[0].Host, Scheme: urls[0].Scheme, Datacenter: o.Datacenter, HttpClient: &http.Client{Transport: t},
		Token: "set by the transport", // Else the client would look for one in the environment.
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make the client: %w", err)
	}
	return client, t, nil
}

// RoundTrip implements http.RoundTripper. Answers other than results and conflicts become a
// *statusError. What Consul turns away is tried again for a while.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	release, err := t.turn(req)
	if err != nil {
		return nil, err
	}
	resp, err := t.insist(req)
	if err != nil {
		release()
		return nil, err
	}
	resp.Body = &openBody{resp.Body, release}
	return resp, nil
}

// turn waits until a request may be sent. Its place is free again when release is called.
func (t *transport) turn(req *http.Request) (release func(), err error) {
	if req.URL.Query().Has("index") {
		return func() {}, nil
	}
	select {
	case t.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-t.slots }), nil
	case <-req.Context().Done():
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, req.Context().Err()
	}
}

// openBody is a body whose connection is in use until it is closed.
type openBody struct {
	io.ReadCloser

	release func()
}

// Close implements io.Closer.
func (o *openBody) Close() error {
	defer o.release()
	return o.ReadCloser.Close() //nolint:wrapcheck // It is the body's own.
}

// ask sends a request to the first address that takes it, beginning with the one that did last.
func (t *transport) ask(req *http.Request, again bool) (*http.Response, error) {
	for try := range t.urls {
		at := t.at.Load()
		out, err := t.address(req, t.urls[int(at)%len(t.urls)], again || try > 0)
		if err != nil {
			return nil, err
		}
		resp, err := t.next.RoundTrip(out)
		if err != nil {
			// Whoever cancels, such as the reader that closes a watch, says nothing of the address.
			if !errors.Is(req.Context().Err(), context.Canceled) {
				t.at.CompareAndSwap(at, at+1)
			}
			op, isOp := errors.AsType[*net.OpError](err)
			if isOp && op.Op == "dial" && try+1 < len(t.urls) && req.Context().Err() == nil {
				continue // nothing was sent
			}
			return nil, err
		}
		switch {
		case resp.StatusCode < 300, resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusConflict:
			return resp, nil
		case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests:
			t.at.CompareAndSwap(at, at+1) // another server may know the leader, or have room
		}
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // What came of it is shown.
		_ = resp.Body.Close()
		return nil, &statusError{code: resp.StatusCode, body: strings.TrimSpace(string(body))}
	}
	return nil, errors.New("no address is left")
}

// address is the request as one of the addresses gets it.
func (t *transport) address(req *http.Request, u *url.URL, again bool) (*http.Request, error) {
	out := req.Clone(req.Context())
	if again && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	out.URL.Scheme, out.URL.Host, out.Host = u.Scheme, u.Host, u.Host
	out.URL.Path = strings.TrimSuffix(u.Path, "/") + req.URL.Path
	query := out.URL.Query()
	for name, value := range map[string]string{"ns": t.namespace, "partition": t.partition} {
		if query.Del(name); value != "" {
			query.Set(name, value)
		}
	}
	out.URL.RawQuery = query.Encode()
	if out.Header.Del("X-Consul-Token"); t.token != "" {
		out.Header.Set("X-Consul-Token", t.token)
	}
	if out.Header.Del("Authorization"); t.username != "" {
		out.SetBasicAuth(t.username, t.password)
	}
	return out, nil
}

// where names the addresses, without credentials.
func (t *transport) where() string {
	names := make([]string, len(t.urls))
	for i, u := range t.urls {
		names[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(names, ", ")
}
