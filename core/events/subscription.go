package events

// subscription.go: following the events, one at a time.

import (
	"context"
	"sync"

	"github.com/marketprism/prism/core"
)

// SubscribeOptions say what to follow.
type SubscribeOptions struct {
	// After is the cursor of the last event that the subscriber knows; what came after it is
	// replayed from the history first, without a gap. "" follows new events only.
	After string
	// Types limits the events to these; none means all. An unknown one is core.ErrInvalid.
	Types []core.EventType
	// Service limits the events to those of one service; "" means all, and the backend's.
	Service string
}

// Item is what Next gives: exactly one of a Reset, a Lagged and an Event.
type Item struct {
	Event core.Event
	// Reset comes first when After is too old, or of another life of the host: events are
	// missing here, and the subscriber should look at the state anew. All events that are kept
	// follow, the oldest first.
	Reset bool
	// Lagged, when not 0, is how many events, selected or not, this subscriber missed here
	// because it was too slow.
	Lagged int
}

// Subscription follows events. Next is called by one goroutine at a time.
type Subscription struct {
	bus    *Bus
	wants  selection
	next   uint64 // the number of the event to look at next
	reset  bool   // a Reset is due
	closed chan struct{}
	once   sync.Once
}

// Subscribe begins to follow: no event that is published after it returns is left out. It
// costs nothing but what it is asked for, so nothing leaks when it is not closed. The error wraps
// core.ErrInvalid or core.ErrClosed.
func (b *Bus) Subscribe(o SubscribeOptions) (*Subscription, error) {
	wants, err := newSelection(o.Service, o.Types)
	if err != nil {
		return nil, err
	}
	select {
	case <-b.done:
		return nil, core.ErrClosed
	default:
	}
	s := &Subscription{bus: b, wants: wants, next: b.last.Load() + 1, closed: make(chan struct{})}
	if o.After != "" {
		s.next, s.reset = b.position(o.After)
	}
	return s, nil
}

// Next waits for the next item. The error is the context's, or core.ErrClosed after Close, and
// after the Bus was closed and all that it had was given.
func (s *Subscription) Next(ctx context.Context) (Item, error) {
	for {
		news := *s.bus.news.Load() // before looking, so that nothing can slip in between
		item, ok, err := s.look(ctx)
		if ok || err != nil {
			return item, err
		}
		select {
		case <-news:
			continue
		case <-ctx.Done():
			return Item{}, ctx.Err()
		case <-s.closed:
			return Item{}, core.ErrClosed
		case <-s.bus.done:
		}
		// Nothing is published after done, but something may have been since the look above.
		if item, ok, err := s.look(ctx); ok || err != nil {
			return item, err
		}
		return Item{}, core.ErrClosed
	}
}

// look returns the next item that is there already, if any.
func (s *Subscription) look(ctx context.Context) (item Item, ok bool, err error) {
	select {
	case <-s.closed:
		return Item{}, false, core.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return Item{}, false, err
	}
	if s.reset {
		s.reset = false
		return Item{Reset: true}, true, nil
	}
	last := s.bus.last.Load()
	for s.next <= last {
		e := s.bus.at(s.next)
		if e == nil {
			missed := s.bus.overtaken(s.next) - s.next
			s.next += missed
			return Item{Lagged: int(missed)}, true, nil
		}
		s.next++
		if s.wants.has(e) {
			return Item{Event: *e}, true, nil
		}
	}
	return Item{}, false, nil
}

// Cursor is where another subscription goes on as After: behind what Next gave last, and behind
// what was passed over since as it was not selected. Only the goroutine that calls Next may ask.
func (s *Subscription) Cursor() string { return s.bus.cursor(s.next - 1) }

// Close ends the subscription and a Next that waits. It may be called from any goroutine,
// and more than once.
func (s *Subscription) Close() { s.once.Do(func() { close(s.closed) }) }
