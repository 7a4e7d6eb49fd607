package client

// stream.go: an event stream that stays open: when it breaks, it is opened again, at the next
// host where one cannot be reached, from where it was.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
)

const (
	// quiet is how long a host may say nothing before it counts as gone: it sends a comment
	// every 15 s.
	quiet = 45 * time.Second
	// impatience is how long a host may say nothing at first while there are others to ask.
	impatience = 10 * time.Second
	// maxEvent is the greatest event that is read; an instance has at most 64 KiB of metadata.
	maxEvent  = 1 << 20
	minDelay  = 100 * time.Millisecond
	maxDelay  = 10 * time.Second
	queueSize = 64
)

// stream is an open event stream. One goroutine reads it and hands over events; when nobody
// takes them, reading stops, and it is the host that notices.
type stream struct {
	c      *Client
	path   string
	query  url.Values
	events chan sse.Event // closed at the end
	err    error          // why it ended; read after events was closed
	ended  chan struct{}  // closed when the goroutine is gone

	ctx    context.Context // the stream's life
	cancel context.CancelFunc

	lastID string // of the goroutine
}

// openStream opens a stream; the error is that of the first attempt.
func (c *Client) openStream(ctx context.Context, path string, query url.Values) (*stream, error) {
	s := &stream{c: c, path: path, query: query, events: make(chan sse.Event, queueSize), ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := c.adopt(s); err != nil {
		s.cancel()
		return nil, err
	}
	stop := context.AfterFunc(ctx, s.cancel) // ctx is only about opening
	body, err := s.connect(ctx)
	if !stop() && err == nil {
		_ = body.Close()
		err = ctx.Err()
	}
	if err != nil {
		s.cancel()
		close(s.ended)
		c.forget(s)
		if ctx.Err() != nil {
			err = fmt.Errorf("GET %s: %w", path, ctx.Err())
		}
		return nil, err
	}
	go s.run(body)
	return s, nil
}

// close ends the stream and waits for its goroutine.
func (s *stream) close() {
	s.c.forget(s)
	s.abandon()
}

// abandon implements closer.
func (s *stream) abandon() {
	s.cancel()
	<-s.ended
}

// next gives the next event. Errors: ctx's, core.ErrClosed, or why the stream cannot go on.
func (s *stream) next(ctx context.Context) (sse.Event, error) {
	select {
	case e, ok := <-s.events:
		if !ok {
			return sse.Event{}, s.err
		}
		return e, nil
	case <-ctx.Done():
		return sse.Event{}, ctx.Err()
	}
}

// connect opens a connection. Each host gets its part of the time that opening leaves.
func (s *stream) connect(opening context.Context) (io.ReadCloser, error) {
	req := request{method: http.MethodGet, path: s.path, query: s.query, repeatable: true, header: http.Header{}, patience: quiet}
	if hosts := len(s.c.addresses); hosts > 1 {
		req.patience = impatience
		if deadline, has := opening.Deadline(); has {
			req.patience = min(req.patience, max(1, time.Until(deadline)/time.Duration(hosts)))
		}
	}
	req.header.Set("Accept", "text/event-stream")
	if s.lastID != "" {
		req.header.Set("Last-Event-ID", s.lastID)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	res, at, err := s.c.send(ctx, req)
	if err != nil {
		cancel()
		return nil, err
	}
	silence := time.AfterFunc(quiet, func() {
		s.c.leave(at)
		cancel()
	})
	silence.Stop() // until something is read
	return &watched{ReadCloser: res.Body, silence: silence, cancel: cancel}, nil
}

// watched is a body that is cut off when nothing comes for too long.
type watched struct {
	io.ReadCloser
	silence *time.Timer
	cancel  context.CancelFunc
}

// Read implements io.Reader. The clock runs only while something waits.
func (w *watched) Read(p []byte) (int, error) {
	w.silence.Reset(quiet)
	defer w.silence.Stop()
	return w.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (w *watched) Close() error {
	w.cancel()
	return w.ReadCloser.Close()
}

// run reads the stream and opens it again until it is closed or cannot go on.
func (s *stream) run(body io.ReadCloser) {
	defer close(s.ended)
	defer close(s.events)
	delay := minDelay
	for {
		if body != nil {
			if s.read(body) {
				delay = minDelay
			}
		}
		if !s.pause(delay) {
			s.err = core.ErrClosed
			return
		}
		delay = min(2*delay, maxDelay)
		var err error
		if body, err = s.connect(s.ctx); err == nil {
			continue
		}
		body = nil
		if s.ctx.Err() == nil && permanent(err) {
			s.err = err
			return
		}
		s.c.logger.Debug("an event stream cannot be opened again yet", slog.String("path", s.path), slog.Any("error", err))
	}
}

// read hands over what a connection gives, and reports whether it gave anything.
func (s *stream) read(body io.ReadCloser) (some bool) {
	defer body.Close()
	for e, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: maxEvent}) {
		if err != nil {
			s.c.logger.Debug("an event stream broke", slog.String("path", s.path), slog.Any("error", err))
			return some
		}
		some = true
		if e.LastEventID != "" { // a new connection begins without one
			s.lastID = e.LastEventID
		}
		if e.Type == "" {
			continue // it only told where to resume
		}
		select {
		case s.events <- e:
		case <-s.ctx.Done():
			return some
		}
	}
	return some
}

// pause waits about delay, and reports whether the stream still lives.
func (s *stream) pause(delay time.Duration) bool { return sleep(s.ctx, jitter(delay)) }

// sleep waits; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter spreads a time over 75 % to 125 % of it.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1) //nolint:gosec // spreading load is no secret
}

// permanent reports whether trying again cannot help.
func permanent(err error) bool {
	d, answered := errors.AsType[*problem.Error](err)
	if !answered {
		return isAny(err, core.ErrUnauthenticated, core.ErrPermission, core.ErrClosed)
	}
	return !failing(d) && d.Code != problem.CodeRateLimited
}
