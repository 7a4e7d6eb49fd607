package httpapi

// stream.go: server-sent events (WHATWG HTML, section 9.2), whatever they carry.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/tmaxmax/go-sse"
)

const (
	eventStream = "text/event-stream"
	// streamWrite bounds the writing of one event: a peer that does not read is cut off and
	// comes back when it wants to.
	streamWrite = 15 * time.Second
	// retryAfter is what browsers wait before they come back.
	retryAfter = time.Second
)

// stream is one open event stream; one goroutine uses it.
type stream struct {
	session *sse.Session
	control *http.ResponseController
	beat    time.Duration
	// position, unless nil, is where a peer resumes that is cut off now.
	position func() string
}

// follow answers a request with a stream until feed, the peer or the API ends it. What is
// wrong with the request must be found before. An id, when there is one, is where a peer resumes
// that goes before it got any event.
func (a *API) follow(hctx huma.Context, id string, feed func(ctx context.Context, s *stream) error) {
	r, w := humago.Unwrap(hctx)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies would hold events back
	h.Set("Content-Type", eventStream)
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	session, err := sse.Upgrade(w, r)
	if err != nil {
		panic(err) // the recorder can flush
	}
	ctx, cancel := a.live(r.Context())
	defer cancel()
	s := &stream{session: session, control: http.NewResponseController(w), beat: a.o.Heartbeat}
	hello := &sse.Message{Retry: retryAfter}
	if id != "" {
		hello.ID = sse.ID(id)
	}
	if err := s.write(hello, true); err != nil {
		return
	}
	if err := feed(ctx, s); err != nil && ctx.Err() == nil {
		a.logger.Debug("an event stream ended", slog.String("path", r.URL.Path), slog.Any("error", err))
	}
}

// send writes one event. Without flush it may wait for the next one.
func (s *stream) send(name, id string, payload any, flush bool) error {
	b, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("encode the event %s: %w", name, err)
	}
	m := &sse.Message{Type: sse.Type(name)}
	if id != "" {
		m.ID = sse.ID(id)
	}
	m.AppendData(string(b))
	return s.write(m, flush)
}

func (s *stream) write(m *sse.Message, flush bool) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(streamWrite)) // a transport without deadlines has none to set
	if err := s.session.Send(m); err != nil {
		return err
	}
	if !flush {
		return nil
	}
	return s.session.Flush()
}

// next waits for what comes next, and meanwhile shows the peer with comments that the stream
// is alive. They carry the position: where all that happens is passed over, it moves on too.
func next[T any](ctx context.Context, s *stream, wait func(context.Context) (T, error)) (T, error) {
	for {
		quiet, cancel := context.WithTimeout(ctx, s.beat)
		v, err := wait(quiet)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return v, err
		}
		m := &sse.Message{}
		if s.position != nil {
			m.ID = sse.ID(s.position())
		}
		m.AppendComment("still here")
		if err := s.write(m, true); err != nil {
			return v, err
		}
	}
}

// wantsStream reports whether an Accept header asks for an event stream.
func wantsStream(accept string) bool { return strings.Contains(accept, eventStream) }

// streamed describes a stream for the OpenAPI document: the payload of each event by name.
// OpenAPI 3.1 has no words of its own for it, so the items of an array stand for the events.
func (a *API) streamed(description string, payloads ...payload) *huma.MediaType {
	items := &huma.Schema{}
	for _, p := range payloads {
		items.OneOf = append(items.OneOf, &huma.Schema{
			Type: huma.TypeObject, Description: p.doc,
			Properties: map[string]*huma.Schema{
				"event": {Type: huma.TypeString, Enum: p.events},
				"id":    {Type: huma.TypeString, Description: "For Last-Event-ID; not on all events."},
				"data":  a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(p.data), true, ""),
			},
			Required: []string{"event", "data"},
		})
	}
	return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeArray, Description: description, Items: items}}
}

// payload is one kind of event of a stream.
type payload struct {
	events []any
	doc    string
	data   any
}
