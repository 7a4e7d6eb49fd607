package health

// queue.go: the instances in the order in which something is due.

import (
	"time"

	"github.com/marketprism/prism/core"
)

// entry is what a Scheduler knows of an instance.
type entry struct {
	in      core.Instance
	due     time.Time // of the next check
	began   time.Time // of the check that is under way, or zero
	lost    bool      // not tracked any more
	until   time.Time // when it is forgotten, if lost
	trouble string    // why no check could be made, when it was last tried

	at    time.Time // due or until
	place int       // in the queue, or nowhere
}

const nowhere = -1

// queue is a heap.Interface by entry.at.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e := x.(*entry) //nolint:errcheck // only this package pushes
	e.place = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.place = nowhere
	return e
}
