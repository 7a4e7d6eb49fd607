package httpapi

// events.go: the history of domain events, and following it.

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

type eventsInput struct {
	After       string   `query:"after" doc:"A cursor: what came after it, ascending. Without it the newest events, or when following only new ones."`
	LastEventID string   `header:"Last-Event-ID" doc:"For streams; as after, and stronger."`
	Service     string   `query:"service" doc:"Only events of this service."`
	Type        []string `query:"type,explode" nullable:"false" doc:"Only events of these types."`
	Limit       int      `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many to give at most; not for streams."`
	Accept      string   `header:"Accept" hidden:"true"`
}

type eventList struct {
	Events     []shownEvent `json:"events" nullable:"false" doc:"Ascending."`
	NextCursor string       `json:"next_cursor" doc:"To go on from, as after."`
	Reset      bool         `json:"reset" doc:"The cursor was too old, or of another life of the host: events are missing before the first one."`
}

// streamReset and streamLagged are what a stream says of itself.
type (
	streamReset struct {
		Reason string `json:"reason" doc:"For people."`
	}
	streamLagged struct {
		Missed int `json:"missed" doc:"How many events this stream missed here, as it was too slow."`
	}
)

func (a *API) addEvents() {
	names := make([]any, 0, len(core.EventTypes()))
	for _, t := range core.EventTypes() {
		names = append(names, string(t))
	}
	add(a, huma.Operation{
		OperationID: "listEvents", Method: http.MethodGet, Path: "/v1/events", Tags: []string{tagEvents},
		Summary: "Show what happened, or follow what happens",
		Description: "With Accept: text/event-stream it follows, and Last-Event-ID resumes: a cursor that is too old, or of another life of the host, " +
			"gives the event reset first. A quiet stream carries a comment every 15 seconds, with an id to resume at.",
		Responses: map[string]*huma.Response{"200": {Content: map[string]*huma.MediaType{
			"application/json": {Schema: a.schema(eventList{})},
			eventStream: a.streamed("Events as they happen.",
				payload{names, "What happened; the SSE event has the name of its type.", event{}},
				payload{[]any{"reset"}, "Events are missing here: look at the state anew.", streamReset{}},
				payload{[]any{"lagged"}, "This stream was too slow.", streamLagged{}}),
		}}},
	}, nil, a.events)
}

func (a *API) events(_ context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	types, err := readTypes(in.Service, in.Type)
	if err != nil {
		return nil, err
	}
	if wantsStream(in.Accept) {
		after, start := in.After, ""
		if in.LastEventID != "" {
			after = in.LastEventID
		}
		if after == "" { // new events only: name the place where they begin
			if _, start, _, err = a.client.Events(discovery.HistoryQuery{Limit: 1}); err != nil {
				return nil, err
			}
			after = start
		}
		sub, err := a.client.Subscribe(discovery.SubscribeOptions{After: after, Service: in.Service, Types: types})
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			defer sub.Close()
			a.follow(hctx, start, func(ctx context.Context, s *stream) error { return feedEvents(ctx, s, sub) })
		}}, nil
	}
	list, next, reset, err := a.client.Events(discovery.HistoryQuery{After: in.After, Service: in.Service, Types: types, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	body := eventList{Events: make([]shownEvent, len(list)), NextCursor: next, Reset: reset}
	for i := range list {
		body.Events[i] = shownEvent{list[i]}
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		w.Header()["Content-Type"] = jsonType
		_ = json.NewEncoder(w).Encode(body) // a peer that is gone cannot be told
	}}, nil
}

// readTypes reads what selects events; types may be repeated or separated by commas.
func readTypes(service string, list []string) (types []discovery.EventType, err error) {
	if service != "" {
		if err := core.ValidateName("service", service); err != nil {
			return nil, err
		}
	}
	for name := range strings.SplitSeq(strings.Join(list, ","), ",") {
		if name == "" {
			continue
		}
		t, err := core.ParseEventType("type", name)
		if err != nil {
			return nil, err
		}
		types = append(types, t)
	}
	return types, nil
}

func feedEvents(ctx context.Context, s *stream, sub *discovery.Subscription) error {
	s.position = sub.Cursor
	for {
		item, err := next(ctx, s, sub.Next)
		if err != nil {
			return err
		}
		switch {
		case item.Reset:
			err = s.send("reset", sub.Cursor(), streamReset{Reason: "the cursor is too old, or of another life of the host; look at the state anew"}, true)
		case item.Lagged > 0:
			err = s.send("lagged", sub.Cursor(), streamLagged{Missed: item.Lagged}, true)
		default:
			err = s.send(string(item.Event.Type), item.Event.Cursor, item.Event, true)
		}
		if err != nil {
			return err
		}
	}
}
