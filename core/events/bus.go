// Package events carries the domain's events: a bounded history with cursors, and
// subscriptions that cannot hold up the publisher.
//
// The history is a ring that the publisher writes and everybody else reads without a lock, each
// subscriber at a position of its own. So a subscriber costs no buffer, and one that is
// too slow is simply overtaken: it is told how many events it missed and goes on.
package events

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/core"
)

// DefaultHistory is how many events are kept when Options do not say.
const DefaultHistory = 4096

// Options of a Bus; the zero value is good.
type Options struct {
	// History is how many events are kept for replay; 0 means DefaultHistory.
	History int
	// Life tells the cursors of this Bus from those of any other; "" means a random one.
	Life string
	// Now is the clock that stamps events; nil means time.Now.
	Now func() time.Time
	// Logger hears of handlers that panic or lag; nil means nobody.
	Logger *slog.Logger
}

// Bus publishes events. It is safe for concurrent use.
type Bus struct {
	life   string
	now    func() time.Time
	logger *slog.Logger

	// ring[n%len] holds event n, once it is published and until it is overtaken by n+len.
	ring []atomic.Pointer[entry]
	// last is the number of the newest event; the first is 1.
	last atomic.Uint64
	// news is closed and replaced after something was published.
	news atomic.Pointer[chan struct{}]

	signal chan struct{} // tells the goroutine that wakes subscribers; holds one
	done   chan struct{} // closed by Close
	tasks  sync.WaitGroup

	mu     sync.Mutex // guards closed, and orders publishers
	closed bool
}

type entry struct {
	n     uint64
	event core.Event
}

// New returns a Bus. Close ends what it starts.
func New(o Options) *Bus {
	if o.History <= 0 {
		o.History = DefaultHistory
	}
	if o.Life == "" {
		o.Life = rand.Text()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bus{
		life: o.Life, now: o.Now, logger: o.Logger, ring: make([]atomic.Pointer[entry], o.History),
		signal: make(chan struct{}, 1), done: make(chan struct{}),
	}
	b.news.Store(new(make(chan struct{})))
	b.tasks.Go(b.wake)
	return b
}

// Publish stamps an event with its cursor and time, adds it to the history and returns it as
// it was stamped. It costs the same whoever listens and never blocks on them. After Close it
// does nothing and returns the event unchanged.
func (b *Bus) Publish(e core.Event) core.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return e
	}
	n := b.last.Load() + 1
	e.Cursor, e.Time = b.cursor(n), b.now()
	b.ring[n%uint64(len(b.ring))].Store(&entry{n: n, event: e})
	b.last.Store(n)
	select {
	case b.signal <- struct{}{}:
	default: // those that wait are about to be woken anyway
	}
	return e
}

// Close ends the Bus: nothing is published any more, subscribers get what is left and then
// core.ErrClosed. It waits until the handlers have had what is left, or ctx ends; the error then
// says so and the handlers end by themselves. A second Close waits likewise. A
// handler that calls Close waits for itself, so it should give a ctx that ends.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.done)
	}
	b.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		b.tasks.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the event bus: a handler is still at work: %w", ctx.Err())
	}
}

// wake lets all subscribers that wait look for news. It does so beside the publisher, and
// once for all that was published in the meantime, as it costs time for each that waits.
func (b *Bus) wake() {
	for {
		select {
		case <-b.signal:
			close(*b.news.Swap(new(make(chan struct{}))))
		case <-b.done:
			return
		}
	}
}

// oldest is the number of the oldest event that is kept, or would be.
func (b *Bus) oldest(last uint64) uint64 {
	if kept := uint64(len(b.ring)); last > kept {
		return last - kept + 1
	}
	return 1
}

// at returns event n, or nil when it has been overtaken.
func (b *Bus) at(n uint64) *core.Event {
	if e := b.ring[n%uint64(len(b.ring))].Load(); e != nil && e.n == n {
		return &e.event
	}
	return nil
}

// overtaken returns the oldest event that is kept after event n, which is not any more. The
// one that overtook it is in the ring just before it counts as the last.
func (b *Bus) overtaken(n uint64) uint64 { return max(b.oldest(b.last.Load()), n+1) }

// cursor names event n. Cursors are opaque to users, who see them in the order of n.
func (b *Bus) cursor(n uint64) string { return b.life + "-" + strconv.FormatUint(n, 10) }

// position returns the number of the first event after a cursor. When that cannot be told, as
// the cursor is too old, of another life or none at all, it is the oldest that is kept, and
// reset is true.
func (b *Bus) position(cursor string) (next uint64, reset bool) {
	last := b.last.Load()
	oldest := b.oldest(last)
	digits, ours := strings.CutPrefix(cursor, b.life+"-")
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ours || err != nil || n > last || n+1 < oldest {
		return oldest, true
	}
	return n + 1, false
}

// selection is what a reader wants to see.
type selection struct {
	service string
	types   []core.EventType
}

func newSelection(service string, types []core.EventType) (selection, error) {
	for _, t := range types {
		if _, err := core.ParseEventType("type", string(t)); err != nil {
			return selection{}, err
		}
	}
	return selection{service: service, types: slices.Clone(types)}, nil
}

func (s selection) has(e *core.Event) bool {
	return (s.service == "" || s.service == e.Service) && (len(s.types) == 0 || slices.Contains(s.types, e.Type))
}
