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
	"time"

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
	// patience is how long each host may take to begin its answer, for what is to last; when ctx
	// ends before that, the host is not to blame. 0 is a share of the time that ctx leaves.
	patience time.Duration
}

// call asks a host and decodes its answer; out nil drops it.
func (c *Client) call(ctx context.Context, req request, out any) error {
	_, err := c.ask(ctx, req, out)
	return err
}

// ask is call, and tells which host answered.
func (c *Client) ask(ctx context.Context, req request, out any) (at int, err error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	res, at, err := c.send(ctx, req)
	if err != nil {
		return at, err
	}
	defer res.Body.Close()
	if out != nil {
		if err := json.NewDecoder(res.Body).Decode(out); err != nil {
			if !errors.Is(ctx.Err(), context.Canceled) {
				c.leave(at)
			}
			return at, fmt.Errorf("%w: %s %s: the answer cannot be read: %w", core.ErrUnavailable, req.method, req.path, err)
		}
	}
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection is used again
	return at, nil
}

// leave has calls begin at the next host, after this one failed. Of several that saw it fail
// only the first moves on.
func (c *Client) leave(at int) {
	c.preferred.CompareAndSwap(int32(at), int32((at+1)%len(c.addresses))) //nolint:gosec // indices of a short list
}

// send asks the hosts in turn, beginning with the one that failed least recently, until one
// answers, and tells which. The next one is asked when the request never went out, or may be
// repeated. An answer that is an error comes back as a *problem.Error. The caller closes the body.
func (c *Client) send(ctx context.Context, req request) (res *http.Response, at int, err error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, 0, core.ErrClosed
	}
	var body []byte
	if req.body != nil {
		if body, err = json.Marshal(req.body); err != nil {
			return nil, 0, fmt.Errorf("%w: %s %s: %w", core.ErrInvalid, req.method, req.path, err)
		}
	}
	first := int(c.preferred.Load())
	var failures error
	for i := range len(c.addresses) {
		at = (first + i) % len(c.addresses)
		res, sent, err := c.try(ctx, c.addresses[at], req, body, share(ctx, req, len(c.addresses)-i))
		if err == nil {
			return res, at, nil
		}
		if d, answered := errors.AsType[*problem.Error](err); answered && !failing(d) {
			return nil, at, err
		}
		if ctx.Err() == nil || req.patience == 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			c.leave(at) // else it was the caller who gave up
		}
		failures = errors.Join(failures, err)
		if ctx.Err() != nil || sent && !req.repeatable {
			break
		}
	}
	if d, answered := errors.AsType[*problem.Error](failures); answered {
		return nil, at, d // it says more than that a host cannot be reached
	}
	return nil, at, unreachable(ctx, req, failures)
}

// failing reports whether an error is the host's own, so that another may do better.
func failing(d *problem.Error) bool {
	return d.Code == problem.CodeUnavailable || d.Status >= http.StatusInternalServerError && d.Code != problem.CodeNoEligible
}

// share is how long a host may take to begin its answer, so that each of those left gets a
// turn before ctx ends; 0 for all the time that there is.
func share(ctx context.Context, req request, left int) time.Duration {
	deadline, has := ctx.Deadline()
	switch {
	case req.patience > 0:
		return req.patience
	case left == 1 || !has:
		return 0
	}
	return max(1, time.Until(deadline)/time.Duration(left))
}

// try asks one host. Sent is true when it may have got the request. What must not be repeated
// gets all of ctx's time once it went out, since nobody else is asked then.
func (c *Client) try(
	ctx context.Context, base string, req request, body []byte, patience time.Duration,
) (res *http.Response, sent bool, err error) {
	target := base + req.path
	if len(req.query) > 0 {
		target += "?" + req.query.Encode()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer func() {
		if res == nil {
			cancel(nil)
		}
	}()
	var slow error
	relent := func() bool { return true }
	if patience > 0 {
		slow = fmt.Errorf("no answer in %s: %w", patience.Round(time.Millisecond), context.DeadlineExceeded)
		relent = time.AfterFunc(patience, func() { cancel(slow) }).Stop
	}
	defer relent()
	var wrote atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() {
		wrote.Store(true)
		if !req.repeatable {
			relent()
		}
	}})
	var in io.Reader = http.NoBody
	if body != nil {
		in = bytes.NewReader(body)
	}
	hr, err := http.NewRequestWithContext(traced, req.method, target, in)
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
	got, err := c.http.Do(hr)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // the method and the path are named already
		}
		if slow != nil && errors.Is(context.Cause(ctx), slow) {
			err = slow
		}
		return nil, wrote.Load(), fmt.Errorf("%s: %w", base, err)
	}
	if got.StatusCode >= http.StatusMultipleChoices {
		defer got.Body.Close()
		return nil, true, readProblem(base, got)
	}
	got.Body = &answer{ReadCloser: got.Body, cancel: cancel}
	return got, true, nil
}

// answer is a body whose request ends with it.
type answer struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (a *answer) Close() error {
	defer a.cancel(nil)
	return a.ReadCloser.Close()
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
