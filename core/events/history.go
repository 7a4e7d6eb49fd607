package events

// history.go: looking back.

import (
	"slices"

	"github.com/marketprism/prism/core"
)

// Bounds of HistoryQuery.Limit.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// HistoryQuery says which past events to give.
type HistoryQuery struct {
	// After is a cursor: the first events after it are given. "" means the newest.
	After string
	// Service limits the events to those of one service; "" means all, and the backend's.
	Service string
	// Types limits the events to these; none means all. An unknown one is core.ErrInvalid.
	Types []core.EventType
	// Limit is how many to give at most, 1 to MaxLimit; 0 means DefaultLimit.
	Limit int
}

// History gives past events in the order in which they happened, and the cursor to go on
// from, as After of another query or of a subscription: it is never "", and nothing lies between
// what was given and what comes after it. Reset means that After is too old, or of another
// life of the host: events are missing before the first one given, which is the oldest kept.
// The error wraps core.ErrInvalid. It works after Close as well.
func (b *Bus) History(q HistoryQuery) (events []core.Event, next string, reset bool, err error) {
	wants, err := newSelection(q.Service, q.Types)
	if err != nil {
		return nil, "", false, err
	}
	if q.Limit < 0 || q.Limit > MaxLimit {
		return nil, "", false, core.Invalid("limit", q.Limit, "use 1–1,000")
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if q.After == "" {
		events, next = b.newest(wants, q.Limit)
		return events, next, false, nil
	}
	events, next, reset = b.following(q.After, wants, q.Limit)
	return events, next, reset, nil
}

func (b *Bus) newest(wants selection, limit int) (events []core.Event, next string) {
	last := b.last.Load()
	for n := last; n > 0 && len(events) < limit; n-- {
		e := b.at(n)
		if e == nil {
			break
		}
		if wants.has(e) {
			events = append(events, *e)
		}
	}
	slices.Reverse(events)
	return events, b.cursor(last)
}

func (b *Bus) following(after string, wants selection, limit int) (events []core.Event, next string, reset bool) {
	n, reset := b.position(after)
	last := b.last.Load()
	for ; n <= last && len(events) < limit; n++ {
		e := b.at(n)
		if e == nil { // while we looked: begin again after the gap
			events, reset = nil, true
			n = b.overtaken(n) - 1
			last = b.last.Load()
			continue
		}
		if wants.has(e) {
			events = append(events, *e)
		}
	}
	return events, b.cursor(n - 1), reset
}
