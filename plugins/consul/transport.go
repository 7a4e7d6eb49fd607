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
			DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig:     tls,
			TLSHandshakeTimeout: dialTimeout,
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
// *statusError.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !req.URL.Query().Has("index") {
		select {
		case t.slots <- struct{}{}:
			defer func() { <-t.slots }()
		case <-req.Context().Done():
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return nil, req.Context().Err()
		}
	}
	for try := range t.urls {
		at := t.at.Load()
		out, err := t.address(req, t.urls[int(at)%len(t.urls)], try > 0)
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
		case resp.StatusCode >= 500:
			t.at.CompareAndSwap(at, at+1) // another server may know the leader
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
