package consul

// deadlines.go: when which session runs out, by this process's monotonic clock. A timer
// starts as a renewal is seen, which is never before it was made.

import (
	"time"

	"github.com/marketprism/prism/ports"
)

// observed is a session as a sweeper sees it.
type observed struct {
	id      ports.SessionID
	index   uint64
	ttl     time.Duration
	closing bool
}

// deadlines is not safe for concurrent use.
type deadlines struct {
	timers map[place]*timer
}

// place tells a session that is open from one of the same id that is closing.
type place struct {
	id      ports.SessionID
	closing bool
}

type timer struct {
	observed
	since time.Time
}

func newDeadlines() *deadlines { return &deadlines{timers: make(map[place]*timer)} }

// observe takes in all sessions that there are: the timer of each that has moved starts anew,
// and so do all of them after a gap, in which renewals cannot have been seen, or made.
func (d *deadlines) observe(now time.Time, all []observed, gap bool) {
	seen := make(map[place]bool, len(all))
	for _, o := range all {
		p := place{o.id, o.closing}
		seen[p] = true
		if t, known := d.timers[p]; known && t.index == o.index && !gap {
			continue
		}
		d.timers[p] = &timer{observed: o, since: now}
	}
	for p := range d.timers {
		if !seen[p] {
			delete(d.timers, p)
		}
	}
}

// due returns the sessions that ran out at least a lag ago.
func (d *deadlines) due(now time.Time, lag time.Duration) []observed {
	var due []observed
	for _, t := range d.timers {
		if !now.Before(t.since.Add(t.ttl + lag)) {
			due = append(due, t.observed)
		}
	}
	return due
}

// next is when the next session will be due; false when there is none.
func (d *deadlines) next(lag time.Duration) (time.Time, bool) {
	var next time.Time
	for _, t := range d.timers {
		if at := t.since.Add(t.ttl + lag); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, !next.IsZero()
}

// drop forgets a session that was dealt with, until it is seen again.
func (d *deadlines) drop(o observed) { delete(d.timers, place{o.id, o.closing}) }
