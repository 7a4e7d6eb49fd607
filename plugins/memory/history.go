package memory

// history.go: the latest changes, in a ring. A watcher holds a place in it instead of a
// queue of its own, so slow readers cost nothing and are noticed when the ring passes them.

import "github.com/marketprism/prism/ports"

// How much is remembered: whichever bound is met first.
const (
	historyLength = 64 << 10 // changes
	historyBytes  = 64 << 20 // of bodies
)

// change is one write; exactly one of the two is set, and what it points to is immutable.
type change struct {
	record    *ports.Record
	tombstone *ports.Tombstone
}

func (c change) size() int {
	if c.record == nil {
		return 0
	}
	return len(c.record.Body)
}

func (c change) service() string {
	if c.record != nil {
		return c.record.Key.Service
	}
	return c.tombstone.Key.Service
}

func (c change) event() ports.WatchEvent {
	if c.record != nil {
		return ports.WatchEvent{Kind: ports.WatchPut, Record: c.record}
	}
	return ports.WatchEvent{Kind: ports.WatchDelete, Tombstone: c.tombstone}
}

// history holds the changes from revision oldest up to, not including, revision next. It is
// not safe for concurrent use.
type history struct {
	ring         []change // the change of revision n is at n % len(ring)
	oldest, next uint64
	bytes, limit int
}

func newHistory(length, bytes int) history {
	return history{ring: make([]change, length), oldest: 1, next: 1, limit: bytes}
}

// add appends the change of the next revision and lets go of the oldest ones.
func (h *history) add(c change) {
	if h.next-h.oldest == uint64(len(h.ring)) {
		h.forget()
	}
	h.ring[h.next%uint64(len(h.ring))] = c
	h.next++
	h.bytes += c.size()
	for h.bytes > h.limit {
		h.forget()
	}
}

func (h *history) forget() {
	slot := &h.ring[h.oldest%uint64(len(h.ring))]
	h.bytes -= slot.size()
	*slot = change{}
	h.oldest++
}

// at returns the change of a revision between oldest and next.
func (h *history) at(revision uint64) change { return h.ring[revision%uint64(len(h.ring))] }

// follows reports whether every change after a revision is still here.
func (h *history) follows(revision uint64) bool { return revision+1 >= h.oldest && revision < h.next }
