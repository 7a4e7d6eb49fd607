package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// wire is the host's end of event streams; each connection is a pipe.
type wire struct {
	opened chan *http.Request
	pipes  chan *io.PipeWriter
	fail   atomic.Pointer[error]
}

func newWire() *wire {
	return &wire{opened: make(chan *http.Request, 100), pipes: make(chan *io.PipeWriter, 100)}
}

func (w *wire) answer(req *http.Request, _ string) (*http.Response, error) {
	w.opened <- req
	if err := w.fail.Load(); err != nil {
		return refuse(*err)
	}
	r, pw := io.Pipe()
	context.AfterFunc(req.Context(), func() { _ = pw.CloseWithError(req.Context().Err()) })
	w.pipes <- pw
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: r}, nil
}

func say(t *testing.T, to io.Writer, format string, args ...any) {
	t.Helper()
	_, err := fmt.Fprintf(to, format, args...)
	require.NoError(t, err)
}

const eventJSON = `{"type":"service_registered","service":"api","id":%q,"cursor":"c"}`

func TestFollowResumesWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, _ := newClient(t, w.answer, hostA, hostB)
		sub, err := c.Follow(t.Context(), discovery.SubscribeOptions{After: "c0", Service: "api", Types: []core.EventType{core.EventRegistered}})
		require.NoError(t, err)
		defer sub.Close()
		first := <-w.opened
		assert.Equal(t, "text/event-stream", first.Header.Get("Accept"))
		assert.Empty(t, first.Header.Get("Last-Event-ID"))
		assert.Equal(t, "after=c0&service=api&type=service_registered", first.URL.RawQuery)

		pipe := <-w.pipes
		say(t, pipe, "retry: 1000\n\n: still here\n\nid: c1\nevent: service_registered\ndata: "+eventJSON+"\n\n", "a")
		item, err := sub.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "a", item.Event.ID)
		say(t, pipe, "event: service_registered\ndata: {\"half")
		require.NoError(t, pipe.Close())

		again := <-w.opened
		assert.Equal(t, "c1", again.Header.Get("Last-Event-ID"))
		pipe = <-w.pipes
		say(t, pipe, "event: reset\ndata: {}\n\nevent: lagged\ndata: {\"missed\":7}\n\nid: c2\nevent: service_registered\ndata: "+eventJSON+"\n\n", "b")
		item, err = sub.Next(t.Context())
		require.NoError(t, err)
		assert.True(t, item.Reset)
		item, err = sub.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 7, item.Lagged)
		item, err = sub.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "b", item.Event.ID)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = sub.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		sub.Close()
		_, err = sub.Next(t.Context())
		require.ErrorIs(t, err, core.ErrClosed)
	})
}

func TestFollowResumesThoughNothingHappenedYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, _ := newClient(t, w.answer)
		sub, err := c.Follow(t.Context(), discovery.SubscribeOptions{})
		require.NoError(t, err)
		defer sub.Close()
		<-w.opened
		pipe := <-w.pipes
		say(t, pipe, "retry: 1000\nid: c0\n\n")
		require.NoError(t, pipe.Close())
		assert.Equal(t, "c0", (<-w.opened).Header.Get("Last-Event-ID"))
	})
}

func TestASilentHostIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, _ := newClient(t, w.answer)
		watch, err := c.Watch(t.Context(), "api", "web")
		require.NoError(t, err)
		defer watch.Close()
		assert.Equal(t, "service=api&service=web", (<-w.opened).URL.RawQuery)
		pipe := <-w.pipes
		for range 10 {
			say(t, pipe, ": still here\n\n")
			pass(15 * time.Second)
		}
		synctest.Wait()
		assert.Empty(t, w.opened, "comments are signs of life")
		pass(45 * time.Second)
		assert.NotEmpty(t, w.opened)
	})
}

func TestASlowReaderIsNotTakenForASilentHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, _ := newClient(t, w.answer)
		watch, err := c.Watch(t.Context())
		require.NoError(t, err)
		defer watch.Close()
		<-w.opened
		pipe := <-w.pipes
		go func() {
			for range 1000 {
				if _, err := io.WriteString(pipe, "event: synced\ndata: {}\n\n"); err != nil {
					return
				}
			}
		}()
		pass(time.Hour)
		for range 1000 {
			item, err := watch.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, discovery.WatchSynced, item.Kind)
		}
		assert.Empty(t, w.opened)
	})
}

func TestWatchGivesWhatTheHostSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, _ := newClient(t, w.answer)
		watch, err := c.Watch(t.Context())
		require.NoError(t, err)
		defer watch.Close()
		<-w.opened
		pipe := <-w.pipes
		in, _, err := spec.Resolve(core.StandardDefaults())
		require.NoError(t, err)
		doc, err := in.MarshalJSON()
		require.NoError(t, err)
		say(t, pipe, "event: reset\ndata: {}\n\nevent: put\ndata: {\"instance\":%s}\n\nevent: synced\ndata: {}\n\n"+
			"event: something-new\ndata: {}\n\nevent: delete\ndata: {\"service\":\"api\",\"id\":\"api-1\",\"instance\":%s}\n\n", doc, doc)
		for _, want := range []discovery.WatchItem{
			{Kind: discovery.WatchReset},
			{Kind: discovery.WatchPut, Key: in.Key()},
			{Kind: discovery.WatchSynced},
			{Kind: discovery.WatchDelete, Key: in.Key()},
		} {
			item, err := watch.Next(t.Context())
			require.NoError(t, err)
			if want.Key.ID != "" {
				assert.True(t, item.Instance.SameDescription(in))
			}
			item.Instance = core.Instance{}
			assert.Equal(t, want, item)
		}
	})
}

func TestAStreamThatCannotGoOnSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, _ := newClient(t, w.answer)
		watch, err := c.Watch(t.Context())
		require.NoError(t, err)
		defer watch.Close()
		<-w.opened
		w.fail.Store(new(core.ErrUnavailable))
		require.NoError(t, (<-w.pipes).Close())
		pass(time.Minute)
		tries := len(w.opened)
		assert.Greater(t, tries, 5, "an outage is outlasted")
		assert.Less(t, tries, 40, "with growing delays")
		w.fail.Store(new(core.ErrPermission))
		_, err = watch.Next(t.Context())
		require.ErrorIs(t, err, core.ErrPermission)
		_, err = c.Watch(t.Context())
		require.ErrorIs(t, err, core.ErrPermission, "what is wrong from the start is said at once")
	})
}

func TestAStreamOutlastsAHostThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, _ := newClient(t, w.answer)
		watch, err := c.Watch(t.Context())
		require.NoError(t, err)
		defer watch.Close()
		w.fail.Store(new(errors.New("a panic, say"))) // of no known kind: 500, internal
		require.NoError(t, (<-w.pipes).Close())
		pass(time.Minute)
		w.fail.Store(nil)
		pass(20 * time.Second) // more than a pause between tries
		require.NotEmpty(t, w.pipes)
		say(t, <-w.pipes, "event: synced\ndata: {}\n\n")
		item, err := watch.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, discovery.WatchSynced, item.Kind)
	})
}

func TestCloseEndsANextThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, _ := newClient(t, w.answer)
		watch, err := c.Watch(t.Context())
		require.NoError(t, err)
		errs := make(chan error, 1)
		go func() {
			_, err := watch.Next(t.Context())
			errs <- err
		}()
		synctest.Wait()
		c.Close()
		require.ErrorIs(t, <-errs, core.ErrClosed)
		watch.Close()
	})
}

func TestOpeningAStreamEndsWithItsContext(t *testing.T) {
	c, _ := newClient(t, func(req *http.Request, _ string) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.Watch(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
