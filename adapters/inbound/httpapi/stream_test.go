package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core/discovery"
)

// sseEvent is one event of a stream as it came over the wire.
type sseEvent struct{ name, id, data, comment string }

// open opens an event stream; receive gives its events one by one, comments too, and nothing at its end.
func (h *host) open(path string, headers ...string) (receive func() sseEvent) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	h.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+path, http.NoBody)
	require.NoError(h.t, err)
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := h.http.Do(req)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = res.Body.Close() })
	require.Equal(h.t, 200, res.StatusCode)
	require.Equal(h.t, "text/event-stream", res.Header.Get("Content-Type"))
	lines := bufio.NewScanner(res.Body)
	return func() (e sseEvent) {
		for lines.Scan() {
			if lines.Text() == "" { // the end of a block
				if e.name != "" || e.comment != "" {
					return e
				}
				e = sseEvent{}
				continue
			}
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data += value
			case "":
				e.comment = value
			}
		}
		return sseEvent{}
	}
}

func TestWatch(t *testing.T) {
	h := newHost(t)
	h.register("api", "a")
	h.register("other", "x")
	receive := h.open("/v1/watch?service=api&service=web")
	assert.Equal(t, sseEvent{name: "reset", data: "{}"}, receive())
	put := receive()
	assert.Equal(t, "put", put.name)
	assert.Contains(t, put.data, `{"instance":{"namespace":"prism","service":"api","id":"a"`)
	assert.Equal(t, sseEvent{name: "synced", data: "{}"}, receive())

	h.register("web", "b")
	assert.Contains(t, receive().data, `"service":"web","id":"b"`)
	h.want(200, "PUT", list+"/a/status", `{"status":"maintenance"}`)
	assert.Contains(t, receive().data, `"status":"maintenance"`)
	h.want(204, "DELETE", list+"/a", "")
	gone := receive()
	assert.Equal(t, "delete", gone.name)
	assert.Contains(t, gone.data, `{"service":"api","id":"a","instance":{`)

	h.api.Close()
	assert.Equal(t, sseEvent{}, receive(), "a stream ends with the API")
}

func TestEventsAreListed(t *testing.T) {
	h := newHost(t)
	h.register("api", "a")
	h.register("web", "b")
	h.want(204, "DELETE", list+"/a?reason=over", "")
	all := h.want(200, "GET", "/v1/events", "")
	events := dig[[]any](t, all.body, "events")
	require.Len(t, events, 3)
	for i, kind := range []string{"service_registered", "service_registered", "service_deregistered"} {
		assert.Equal(t, kind, dig[string](t, events[i], "type"))
	}
	for _, field := range []string{"cursor", "time", "type", "namespace", "service", "id", "old_status", "new_status", "cause", "actor", "reason"} {
		assert.Contains(t, events[2], field)
	}
	assert.Equal(t, false, all.body["reset"])
	after := h.want(200, "GET", "/v1/events?service=api&after="+dig[string](t, events[0], "cursor"), "")
	assert.Len(t, dig[[]any](t, after.body, "events"), 1)
	newest := h.want(200, "GET", "/v1/events?limit=1&type=service_registered,service_expired&type=service_updated", "")
	assert.Equal(t, "web", dig[string](t, newest.body, "events", 0, "service"))
	none := h.want(200, "GET", "/v1/events?after="+dig[string](t, all.body, "next_cursor"), "")
	assert.Empty(t, dig[[]any](t, none.body, "events"))
	assert.Equal(t, true, h.want(200, "GET", "/v1/events?after=another-life", "").body["reset"])
}

func TestEventsAreFollowedAndResumed(t *testing.T) {
	h := newHost(t)
	live := h.open("/v1/events?service=api")
	h.register("web", "x")
	h.register("api", "a")
	first := live()
	assert.Equal(t, "service_registered", first.name)
	assert.Contains(t, first.data, `"id":"a"`)
	assert.Contains(t, first.data, `"cursor":"`+first.id+`"`)

	h.register("api", "b")
	h.want(204, "DELETE", list+"/a", "")
	for _, again := range []func() sseEvent{
		h.open("/v1/events?service=api&after=stale", "Last-Event-ID", first.id), // what EventSource sends on its return
		h.open("/v1/events?service=api&after=" + first.id),
		live,
	} {
		assert.Contains(t, again().data, `"id":"b"`)
		assert.Equal(t, "service_deregistered", again().name)
	}
	lost := h.open("/v1/events?service=api", "Last-Event-ID", "AAAA-7")
	assert.Equal(t, "reset", lost().name)
	assert.Contains(t, lost().data, `"id":"a"`, "all that is kept follows")
}

func TestQuietStreamsShowThatTheyLive(t *testing.T) {
	h := newHost(t, func(o *httpapi.Options) { o.Heartbeat = 5 * time.Millisecond })
	receive := h.open("/v1/events")
	for range 3 {
		assert.Equal(t, "still here", receive().comment)
	}
	h.register("api", "a")
	for {
		e := receive()
		if e.name != "" {
			assert.Equal(t, "service_registered", e.name)
			return
		}
		require.NotEmpty(t, e.comment)
	}
}

// TestAStreamThatPassesEverythingOverMovesOn: the history may be left behind by events that a
// stream is not about, and then it has missed nothing.
func TestAStreamThatPassesEverythingOverMovesOn(t *testing.T) {
	h := newHostOver(t, newFacade(t, discovery.WithHistory(4)), func(o *httpapi.Options) { o.Heartbeat = 5 * time.Millisecond })
	receive := h.open("/v1/events?service=api")
	var last string
	for i := range 9 {
		h.register("web", fmt.Sprint(i))
		var err error
		_, last, _, err = h.client.Events(discovery.HistoryQuery{Limit: 1})
		require.NoError(t, err)
		for e := receive(); e.id != last; e = receive() {
			require.Equal(t, "still here", e.comment)
		}
	}
	again := h.open("/v1/events?service=api", "Last-Event-ID", last)
	h.register("api", "a")
	for e := again(); ; e = again() {
		if e.comment == "" {
			assert.Equal(t, "service_registered", e.name)
			return
		}
	}
}

func TestHeadOfAStreamEndsAtOnce(t *testing.T) {
	h := newHost(t)
	for _, path := range []string{"/v1/watch", "/v1/events"} {
		got := h.want(200, http.MethodHead, path, "", "Accept", "text/event-stream")
		assert.Equal(t, "text/event-stream", got.header.Get("Content-Type"))
	}
}

// TestNothingIsLostBeforeTheFirstEvent: a stream names where it begins, so that a peer which
// goes before anything happened can resume.
func TestNothingIsLostBeforeTheFirstEvent(t *testing.T) {
	h := newHost(t)
	h.register("api", "earlier")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/v1/events", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Accept", "text/event-stream")
	res, err := h.http.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	var start string
	for start == "" && lines.Scan() {
		if id, found := strings.CutPrefix(lines.Text(), "id: "); found {
			start = id
		}
	}
	cancel()
	h.register("api", "between")
	assert.Contains(t, h.open("/v1/events", "Last-Event-ID", start)().data, `"id":"between"`)
}
