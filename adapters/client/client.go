// Package client is the Go client of a Prism host over HTTP, for programs that hold no
// credentials of a store. Its methods are those of the facade (package discovery), with its types
// and its errors: errors.Is and errors.As give the same answers.
//
//	c, err := client.New(client.Config{Addresses: []string{"http://127.0.0.1:8640"}})
//	reg, err := c.Register(ctx, discovery.Spec{Service: "api", Host: "10.0.0.7", Port: 8080})
//	defer reg.Close(ctx)
//
// Several addresses, of hosts of the same store, are tried in turn when one cannot be reached, and
// each gets its share of the time that a call has. A host that does not answer, or has no store, is
// asked last from then on. What may have been done already is not tried elsewhere, unless it can be
// done twice without harm.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/core"
)

// DefaultAddress is where a host listens when nobody says otherwise.
const DefaultAddress = "http://127.0.0.1:8640"

// Config of a Client; the zero value asks the host on this machine.
type Config struct {
	// Addresses are URLs of hosts of one store, "http://10.0.0.7:8640"; without a scheme http is
	// meant. Default DefaultAddress.
	Addresses []string
	// Token is sent as a bearer token; "" sends none. It is never logged.
	Token string
	// HTTPClient makes the requests; it must have no Timeout, which would cut streams off. nil
	// means a client of its own, which follows no redirect.
	HTTPClient *http.Client
	// Timeout bounds a call whose context has no deadline; 0 means 30 s. Waits and streams are not
	// bounded, only how long a host says nothing in them.
	Timeout time.Duration
	Logger  *slog.Logger // nil logs nothing
}

// Client asks hosts. It is safe for concurrent use.
type Client struct {
	addresses []string
	token     string
	http      *http.Client
	own       *http.Transport // of http, when nobody gave one
	timeout   time.Duration
	logger    *slog.Logger

	preferred atomic.Int32 // index of the address to begin with: the last one did not fail, or the next after one that did

	mu     sync.Mutex // guards what follows
	closed bool
	open   map[closer]struct{} // streams and registrations that are not closed yet
}

// closer is what Close has to end.
type closer interface{ abandon() }

// New makes a Client. It asks nobody yet. The error is a core.FieldError that names the
// address at fault.
func New(cfg Config) (*Client, error) {
	c := &Client{token: cfg.Token, http: cfg.HTTPClient, timeout: cfg.Timeout, logger: cfg.Logger, open: map[closer]struct{}{}}
	if len(cfg.Addresses) == 0 {
		cfg.Addresses = []string{DefaultAddress}
	}
	for _, a := range cfg.Addresses {
		base, err := parseAddress(a)
		if err != nil {
			return nil, err
		}
		c.addresses = append(c.addresses, base)
	}
	if c.timeout <= 0 {
		c.timeout = 30 * time.Second
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.http == nil {
		c.own = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 16, ForceAttemptHTTP2: true,
		}
		c.http = &http.Client{
			Transport:     c.own,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return c, nil
}

func parseAddress(address string) (string, error) {
	const rule = "use the URL of a host, such as " + DefaultAddress
	raw := strings.TrimSpace(address)
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	switch {
	case strings.Contains(raw, "@"): // first of all, as the other sentences repeat what was given
		return "", &core.FieldError{Field: "address", Allowed: "it holds credentials; use the token instead"}
	case err != nil, u.Hostname() == "", u.Scheme != "http" && u.Scheme != "https", u.RawQuery != "", u.Fragment != "":
		return "", core.Invalid("address", address, rule)
	case !validPort(u.Port()):
		return "", core.Invalid("address", address, "its port is none; use 1–65535")
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// validPort: none at all is the scheme's own.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// Close ends streams and the heartbeats of registrations; what is registered stays so until
// its ttl runs out: close a Registration to deregister it. Calls after Close fail with core.ErrClosed.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = map[closer]struct{}{}
	c.mu.Unlock()
	for o := range open {
		o.abandon()
	}
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// adopt remembers what Close has to end.
func (c *Client) adopt(o closer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return core.ErrClosed
	}
	c.open[o] = struct{}{}
	return nil
}

func (c *Client) forget(o closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, o)
}

// bounded gives a call a deadline when it has none.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// unreachable words the failure to get an answer. The caller's own context is named as the
// cause when it ended.
func unreachable(ctx context.Context, req request, last error) error {
	if err := ctx.Err(); err != nil && !errors.Is(last, err) {
		last = errors.Join(err, last)
	}
	if errors.Is(last, context.Canceled) && ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", req.method, req.path, last)
	}
	return fmt.Errorf("%w: %s %s: %w", core.ErrUnavailable, req.method, req.path, last)
}
