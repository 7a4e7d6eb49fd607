package events

// handler.go: functions that are called for events, for those who do not want to loop.

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/marketprism/prism/core"
)

// Handle calls handle for each new event of the types (none means all), in order and one at a
// time, in a goroutine of its own that Close waits for. A handler that is too slow misses
// events, one that panics goes on with the next; both are logged. Remove ends it after the call
// in hand, if any; it does not wait, so that a handler may remove itself. The error wraps
// core.ErrInvalid for an unknown type, or core.ErrClosed.
func (b *Bus) Handle(types []core.EventType, handle func(core.Event)) (remove func(), err error) {
	sub, err := b.Subscribe(SubscribeOptions{Types: types})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, core.ErrClosed
	}
	b.tasks.Go(func() { b.feed(sub, handle) })
	return sub.Close, nil
}

func (b *Bus) feed(sub *Subscription, handle func(core.Event)) {
	for {
		item, err := sub.Next(context.Background()) // Close of the subscription or the bus ends it
		switch {
		case err != nil:
			return
		case item.Lagged > 0:
			b.logger.Warn("an event handler is too slow and missed events", slog.Int("missed", item.Lagged))
		default:
			b.call(handle, item.Event)
		}
	}
}

func (b *Bus) call(handle func(core.Event), e core.Event) {
	defer func() {
		if p := recover(); p != nil {
			b.logger.Error("an event handler panicked", slog.String("panic", fmt.Sprint(p)), slog.String("event", string(e.Type)),
				slog.String("cursor", e.Cursor), slog.String("stack", string(debug.Stack())))
		}
	}()
	handle(e)
}
