package client

// transport.go: one call: which host is asked, what is tried again elsewhere, and how errors
// come back.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
)

// request is one call, for whichever host.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any // encoded as JSON; nil for none
	// repeatable: carrying it out twice does no harm, so it may be tried elsewhere even when one
	// host may have got it.
	repeatable bool
	// lasting: no deadline of the Client's own.
	lasting bool
}

// call asks a host and decodes its answer; out nil drops it.
func (c *Client) call(ctx context.Context, req request, out any) error {
	if !req.lasting {
		var cancel context.CancelFunc
		ctx, cancel = c.bounded(ctx)
		defer cancel()
	}
	res, err := c.send(ctx, req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out != nil {
		if err := json.NewDecoder(res.Body).Decode(out); err != nil {
			return fmt.Errorf("%w: %s %s: the answer cannot be read: %w", core.ErrUnavailable, req.method, req.path, err)
		}
	}
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection is used again
	return nil
}

// send asks the hosts in turn, beginning with the one that answered last, until one answers. The
// next one is asked when the request never went out, or may be repeated. An answer that is an
// error comes back as a *problem.Error. The caller closes the body.
func (c *Client) send(ctx context.Context, req request) (*http.Response, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, core.ErrClosed
	}
	var body []byte
	if req.body != nil {
		var err error
		if body, err = json.Marshal(req.body); err != nil {
			return nil, fmt.Errorf("%w: %s %s: %w", core.ErrInvalid, req.method, req.path, err)
		}
	}
	first := c.preferred.Load()
	var failures error
	for i := range len(c.addresses) {
		at := (int(first) + i) % len(c.addresses)
		res, sent, err := c.try(ctx, c.addresses[at], req, body)
		if err == nil {
			c.preferred.Store(int32(at)) //nolint:gosec // an index of a short list
			return res, nil
		}
		if _, answered := errors.AsType[*problem.Error](err); answered {
			if !req.repeatable || !errors.Is(err, core.ErrUnavailable) {
				c.preferred.Store(int32(at)) //nolint:gosec // an index of a short list
				return nil, err
			}
		}
		failures = errors.Join(failures, err)
		if ctx.Err() != nil || sent && !req.repeatable {
			break
		}
	}
	if d, answered := errors.AsType[*problem.Error](failures); answered {
		return nil, d // it says more than that a host cannot be reached
	}
	return nil, unreachable(ctx, req, failures)
}

// try asks one host. Sent is true when it may have got the request.
func (c *Client) try(ctx context.Context, base string, req request, body []byte) (res *http.Response, sent bool, err error) {
	target := base + req.path
	if len(req.query) > 0 {
		target += "?" + req.query.Encode()
	}
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	var in io.Reader = http.NoBody
	if body != nil {
		in = bytes.NewReader(body)
	}
	hr, err := http.NewRequestWithContext(ctx, req.method, target, in)
	if err != nil {
		return nil, false, err
	}
	maps.Copy(hr.Header, req.header)
	if body != nil {
		hr.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		hr.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err = c.http.Do(hr)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // the method and the path are named already
		}
		return nil, wrote.Load(), fmt.Errorf("%s: %w", base, err)
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		defer res.Body.Close()
		return nil, true, readProblem(base, res)
	}
	return res, true, nil
}

// readProblem reads an error. What is no problem document comes from something that is not a
// host, such as a proxy.
func readProblem(base string, res *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	d := &problem.Error{}
	if err == nil && kind == problem.ContentType && json.Unmarshal(raw, d) == nil && d.Code != "" {
		return d
	}
	err = fmt.Errorf("%s answered %s, which is not Prism's; is this the address of a host?", base, res.Status)
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: %w", core.ErrUnauthenticated, err)
	case res.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %w", core.ErrPermission, err)
	case res.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %w", core.ErrUnavailable, err)
	default:
		return fmt.Errorf("%w: %w", core.ErrUnsupported, err)
	}
}

// instancePath is the path of an instance, or of something below it.
func instancePath(key core.Key, below string) string {
	return servicePath(key.Service, "/instances/"+url.PathEscape(key.ID)+below)
}

func servicePath(service, below string) string {
	return "/v1/services/" + url.PathEscape(service) + below
}
