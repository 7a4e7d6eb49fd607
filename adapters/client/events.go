package client

// events.go: watching instances, and following events.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/tmaxmax/go-sse"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// Watch follows instances; see discovery.Watch. One goroutine calls Next.
type Watch struct{ stream *stream }

// Watch follows the named services, or all where none is named: reset, every instance as a
// put, synced, then changes. After a gap, such as a connection that broke, there is another reset and
// snapshot: what that does not hold is gone. It lasts until Close; ctx is only about opening it.
func (c *Client) Watch(ctx context.Context, services ...string) (*Watch, error) {
	query := url.Values{}
	for _, s := range services {
		query.Add("service", s)
	}
	s, err := c.openStream(ctx, "/v1/watch", query)
	if err != nil {
		return nil, err
	}
	return &Watch{stream: s}, nil
}

// Next blocks for the next item. Errors: the context's, core.ErrClosed after Close, or why the
// watch cannot go on.
func (w *Watch) Next(ctx context.Context) (discovery.WatchItem, error) {
	for {
		e, err := w.stream.next(ctx)
		if err != nil {
			return discovery.WatchItem{}, err
		}
		var data struct {
			Service  string        `json:"service"`
			ID       string        `json:"id"`
			Instance core.Instance `json:"instance"`
		}
		item := discovery.WatchItem{Kind: discovery.WatchKind(e.Type)}
		switch item.Kind {
		case discovery.WatchReset, discovery.WatchSynced:
			return item, nil
		case discovery.WatchPut, discovery.WatchDelete:
			if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
				return item, unreadable(e, err)
			}
			item.Instance, item.Key = data.Instance, core.Key{Service: data.Service, ID: data.ID}
			if item.Kind == discovery.WatchPut {
				item.Key = data.Instance.Key()
			}
			return item, nil
		}
	}
}

// Close ends the watch and a Next that waits.
func (w *Watch) Close() { w.stream.close() }

// Subscription follows events; see discovery.Subscription. One goroutine calls Next.
type Subscription struct{ stream *stream }

// Follow follows events: new ones, or all after a cursor. A connection that broke is resumed
// where it was. It lasts until Close; ctx is only about opening it.
func (c *Client) Follow(ctx context.Context, o discovery.SubscribeOptions) (*Subscription, error) {
	s, err := c.openStream(ctx, "/v1/events", eventQuery(o.After, o.Service, o.Types))
	if err != nil {
		return nil, err
	}
	return &Subscription{stream: s}, nil
}

// Next blocks for the next item: an event, a reset (events are missing here), or how many
// events were missed because this subscriber was too slow. Errors: the context's, core.ErrClosed
// after Close, or why the subscription cannot go on.
func (s *Subscription) Next(ctx context.Context) (item discovery.EventItem, err error) {
	e, err := s.stream.next(ctx)
	if err != nil {
		return item, err
	}
	switch e.Type {
	case "reset":
		item.Reset = true
	case "lagged":
		var data struct {
			Missed int `json:"missed"`
		}
		err = json.Unmarshal([]byte(e.Data), &data)
		item.Lagged = data.Missed
	default:
		err = json.Unmarshal([]byte(e.Data), &item.Event)
	}
	if err != nil {
		return item, unreadable(e, err)
	}
	return item, nil
}

// Close ends the subscription and a Next that waits.
func (s *Subscription) Close() { s.stream.close() }

// Events gives past events in the order in which they happened, and the cursor to go on from;
// see discovery.Client.Events.
func (c *Client) Events(ctx context.Context, q discovery.HistoryQuery) (events []core.Event, next string, reset bool, err error) {
	query := eventQuery(q.After, q.Service, q.Types)
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	var out struct {
		Events     []core.Event `json:"events"`
		NextCursor string       `json:"next_cursor"`
		Reset      bool         `json:"reset"`
	}
	if err := c.call(ctx, get("/v1/events", query), &out); err != nil {
		return nil, "", false, err
	}
	return out.Events, out.NextCursor, out.Reset, nil
}

func eventQuery(after, service string, types []core.EventType) url.Values {
	query := url.Values{}
	if after != "" {
		query.Set("after", after)
	}
	if service != "" {
		query.Set("service", service)
	}
	for _, t := range types {
		query.Add("type", string(t))
	}
	return query
}

func unreadable(e sse.Event, err error) error {
	return fmt.Errorf("%w: the event %q cannot be read: %w", core.ErrUnsupported, e.Type, err)
}
