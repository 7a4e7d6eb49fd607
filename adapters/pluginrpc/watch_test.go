package pluginrpc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func cursor(n uint64) core.Revision { return core.Revision{Epoch: "e", N: n} }

// watching is a fake that serves one watcher.
func watching(w ports.Watcher) *fake {
	return &fake{watch: func(context.Context, ports.WatchRequest) (ports.Watcher, error) { return w, nil }}
}

func TestWatchRequestAndEventsCross(t *testing.T) {
	events := []ports.WatchEvent{
		{Kind: ports.WatchReset, Reason: "no cursor"},
		{Kind: ports.WatchPut, Record: new(testRecord("a"))},
		{Kind: ports.WatchDelete, Tombstone: new(testTombstone())},
		{Kind: ports.WatchSkipped, Key: testKey, Reason: "not JSON"},
		{Kind: ports.WatchSynced, Cursor: cursor(7)},
		{Kind: ports.WatchBookmark, Cursor: cursor(8)},
		{Kind: ports.WatchSynced},
	}
	w := scriptOf(io.EOF, events...)
	var req ports.WatchRequest
	b := openFake(t, &fake{watch: func(_ context.Context, r ports.WatchRequest) (ports.Watcher, error) {
		req = r
		return w, nil
	}})
	asked := ports.WatchRequest{Services: []string{"a", "b"}, Cursor: cursor(3)}
	got, err := b.Watch(t.Context(), asked)
	require.NoError(t, err)
	assert.Equal(t, asked, req, "Watch returns once the backend has accepted")
	assert.Equal(t, events, drain(t, got))
	wait(t, w.closed, "the server closes the backend's watcher")
	_, err = got.Next(t.Context())
	require.ErrorIs(t, err, io.EOF, "a dead watcher stays dead")
	require.NoError(t, got.Close())
	require.NoError(t, got.Close())
}

func TestWatchErrors(t *testing.T) {
	synced := ports.WatchEvent{Kind: ports.WatchSynced, Cursor: cursor(1)}
	for name, c := range map[string]struct {
		end    error
		events []ports.WatchEvent
		follow bool
		want   error
	}{
		"the backend's own error":         {fmt.Errorf("leader lost: %w", ports.ErrUnavailable), []ports.WatchEvent{synced}, true, ports.ErrUnavailable},
		"closed":                          {ports.ErrClosed, nil, true, ports.ErrClosed},
		"a list that is complete":         {io.EOF, []ports.WatchEvent{synced}, false, io.EOF},
		"a list that is not complete":     {io.EOF, nil, false, ports.ErrUnavailable},
		"a following watch just ends":     {io.EOF, []ports.WatchEvent{synced}, true, ports.ErrUnavailable},
		"an event of an unknown kind":     {nil, []ports.WatchEvent{{Kind: 99}}, true, ports.ErrUnavailable},
		"a put without a record":          {nil, []ports.WatchEvent{{Kind: ports.WatchPut}}, true, ports.ErrUnavailable},
		"a delete that says not of what":  {nil, []ports.WatchEvent{{Kind: ports.WatchDelete}}, true, ports.ErrUnavailable},
		"an error that wraps no sentinel": {fmt.Errorf("oops"), nil, true, ports.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			script := scriptOf(c.end, c.events...)
			if c.end == nil {
				script.next = func(ctx context.Context) (ports.WatchEvent, error) {
					if len(c.events) == 0 {
						<-ctx.Done()
						return ports.WatchEvent{}, ctx.Err()
					}
					e := c.events[0]
					c.events = nil
					return e, nil
				}
			}
			w, err := openFake(t, watching(script)).Watch(t.Context(), ports.WatchRequest{Follow: c.follow})
			require.NoError(t, err)
			for err == nil {
				_, err = w.Next(t.Context())
			}
			require.ErrorIs(t, err, c.want)
			if c.want != io.EOF { //nolint:errorlint // The table holds sentinels.
				require.NotErrorIs(t, err, io.EOF)
			}
			wait(t, script.closed, "the server closes the backend's watcher")
		})
	}
	b := openFake(t, &fake{watch: func(context.Context, ports.WatchRequest) (ports.Watcher, error) {
		return nil, fmt.Errorf("no right to read: %w", ports.ErrPermission)
	}})
	_, err := b.Watch(t.Context(), ports.WatchRequest{})
	require.ErrorIs(t, err, ports.ErrPermission)
}

// counter gives puts numbered from 1 without an end, and says how many were read.
func counter(read *atomic.Int64, body []byte) *script {
	return newScript(func(ctx context.Context) (ports.WatchEvent, error) {
		if err := ctx.Err(); err != nil {
			return ports.WatchEvent{}, err
		}
		n := read.Add(1)
		return ports.WatchEvent{Kind: ports.WatchPut, Record: &ports.Record{
			Key: core.Key{Service: "s", ID: strconv.FormatInt(n, 10)}, Body: body, Revision: cursor(uint64(n)), //nolint:gosec // positive
		}}, nil
	})
}

func TestWatchKeepsOrder(t *testing.T) {
	var read atomic.Int64
	script := counter(&read, bytes.Repeat([]byte("x"), 5_000))
	w, err := openFake(t, watching(script)).Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	for i := range uint64(5000) {
		e, err := w.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, cursor(i+1), e.Record.Revision)
	}
	require.NoError(t, w.Close())
	wait(t, script.closed, "the server closes the backend's watcher")
}

// TestSlowReaderHoldsTheBackendBack blocks the connection and counts what is gathered meanwhile.
func TestSlowReaderHoldsTheBackendBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read atomic.Int64
		script := counter(&read, bytes.Repeat([]byte("x"), 64<<10))
		srv := pluginrpc.NewServer(watching(script).plugin())
		_, err := srv.Open(t.Context(), &backendv1.OpenRequest{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		s := &stuckStream{ctx: ctx, release: make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- srv.Watch(&backendv1.WatchRequest{Follow: true}, s) }()

		synctest.Wait() // The first message is on its way and does not arrive.
		assert.EqualValues(t, 5, read.Load(), "256 KiB, and the one that waits for room")
		s.release <- struct{}{}
		synctest.Wait() // Now the first four events are on their way.
		assert.EqualValues(t, 9, read.Load())

		cancel()
		close(s.release)
		require.Equal(t, codes.Canceled, status.Code(<-ended))
		<-script.closed
	})
}

// stuckStream sends nothing until it is released.
type stuckStream struct {
	grpc.ServerStream

	ctx     context.Context
	release chan struct{}
}

func (s *stuckStream) Context() context.Context { return s.ctx }

func (s *stuckStream) Send(*backendv1.WatchResponse) error {
	<-s.release
	return nil
}

func TestClosingTheWatcherEndsTheServers(t *testing.T) {
	began := make(chan struct{})
	script := newScript(nil)
	script.next = func(ctx context.Context) (ports.WatchEvent, error) {
		close(began)
		<-ctx.Done()
		return ports.WatchEvent{}, ctx.Err()
	}
	w, err := openFake(t, watching(script)).Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	wait(t, began, "the backend is being read")
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(t.Context())
		ended <- err
	}()
	require.NoError(t, w.Close())
	require.ErrorIs(t, <-ended, ports.ErrClosed)
	wait(t, script.closed, "the server closes the backend's watcher")
	_, err = w.Next(t.Context())
	require.ErrorIs(t, err, ports.ErrClosed)
}

func TestContextOfNextEndsTheStream(t *testing.T) {
	script := newScript(func(ctx context.Context) (ports.WatchEvent, error) {
		<-ctx.Done()
		return ports.WatchEvent{}, ctx.Err()
	})
	w, err := openFake(t, watching(script)).Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = w.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	wait(t, script.closed, "the server closes the backend's watcher")
}

func TestContextOfWatchBoundsOnlyItsStart(t *testing.T) {
	started := make(chan struct{}, 2)
	release, cancelled := make(chan struct{}), make(chan struct{})
	b := openFake(t, &fake{watch: func(ctx context.Context, _ ports.WatchRequest) (ports.Watcher, error) {
		started <- struct{}{}
		select {
		case <-release:
			return newScript(func(ctx context.Context) (ports.WatchEvent, error) {
				select {
				case <-cancelled:
					return ports.WatchEvent{Kind: ports.WatchSynced, Cursor: cursor(1)}, nil
				case <-ctx.Done():
					return ports.WatchEvent{}, ctx.Err()
				}
			}), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	_, err := b.Watch(ctx, ports.WatchRequest{})
	require.ErrorIs(t, err, context.Canceled, "the store has not accepted yet")

	close(release)
	ctx, cancel = context.WithCancel(t.Context())
	w, err := b.Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	cancel()
	close(cancelled)
	e, err := w.Next(t.Context())
	require.NoError(t, err)
	assert.Equal(t, ports.WatchSynced, e.Kind)
	require.NoError(t, w.Close())
}

func TestClosingTheBackendEndsItsWatches(t *testing.T) {
	script := newScript(func(ctx context.Context) (ports.WatchEvent, error) {
		<-ctx.Done()
		return ports.WatchEvent{}, ctx.Err()
	})
	f := watching(script)
	release := make(chan struct{})
	f.close = func() error { <-release; return nil }
	b := openFake(t, f)
	w, err := b.Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(t.Context())
		ended <- err
		close(release) // The watch ends though the remote Close has not.
	}()
	require.NoError(t, b.Close())
	require.ErrorIs(t, <-ended, ports.ErrClosed)
}

func TestWatchOfALostPluginIsUnavailable(t *testing.T) {
	script := newScript(func(ctx context.Context) (ports.WatchEvent, error) {
		<-ctx.Done()
		return ports.WatchEvent{}, ctx.Err()
	})
	client, cut := connect(t, watching(script).plugin())
	b, err := client.Open(t.Context(), nil)
	require.NoError(t, err)
	w, err := b.Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	cut()
	_, err = w.Next(t.Context())
	require.ErrorIs(t, err, ports.ErrUnavailable)
}

func TestWatchEventTooLargeToSendIsSkipped(t *testing.T) {
	huge := testRecord("huge")
	huge.Body = bytes.Repeat([]byte("x"), 1<<20)
	w, err := openFake(t, watching(scriptOf(io.EOF,
		ports.WatchEvent{Kind: ports.WatchPut, Record: &huge}, ports.WatchEvent{Kind: ports.WatchSynced, Cursor: cursor(1)},
	))).Watch(t.Context(), ports.WatchRequest{})
	require.NoError(t, err)
	events := drain(t, w)
	require.Len(t, events, 2)
	assert.Equal(t, ports.WatchSkipped, events[0].Kind)
	assert.Equal(t, huge.Key, events[0].Key)
	assert.Contains(t, events[0].Reason, "bytes")
}

// TestWatchMessagesAreBatchedAndBounded looks at the messages themselves.
func TestWatchMessagesAreBatchedAndBounded(t *testing.T) {
	const total = 3000
	left := total
	body := bytes.Repeat([]byte("x"), 5000)
	script := newScript(nil)
	script.next = func(context.Context) (ports.WatchEvent, error) {
		if left == 0 {
			return ports.WatchEvent{}, io.EOF
		}
		left--
		return ports.WatchEvent{Kind: ports.WatchPut, Record: &ports.Record{Key: testKey, Body: body}}, nil
	}
	srv := pluginrpc.NewServer(watching(script).plugin())
	_, err := srv.Open(t.Context(), &backendv1.OpenRequest{})
	require.NoError(t, err)
	s := &slowStream{ctx: t.Context()}
	require.NoError(t, srv.Watch(&backendv1.WatchRequest{}, s))
	assert.Equal(t, total, s.events)
	assert.Zero(t, s.first, "the first message says only that the store has accepted")
	assert.Less(t, s.messages, total/10, "%d events took %d messages", total, s.messages)
	assert.Less(t, s.largest, 1<<20)
}

// slowStream counts what is sent, and is slow, so that events gather.
type slowStream struct {
	grpc.ServerStream

	ctx                              context.Context
	messages, events, largest, first int
}

func (s *slowStream) Context() context.Context { return s.ctx }

func (s *slowStream) Send(m *backendv1.WatchResponse) error {
	size := 0
	for _, e := range m.GetEvents() {
		size += len(e.GetPut().GetBody())
	}
	if s.messages == 0 {
		s.first = len(m.GetEvents())
	}
	s.messages++
	s.events += len(m.GetEvents())
	s.largest = max(s.largest, size)
	<-time.After(time.Millisecond)
	return nil
}
