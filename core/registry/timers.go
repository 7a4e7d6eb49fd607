package registry

// timers.go: one heap and one goroutine for everything that happens at a time: clients' ttls,
// absences that are waited out, orphans that are looked at again.

import (
	"container/heap"
	"time"

	"github.com/marketprism/prism/core"
)

// orphanDelay is how long a record under a session of ours that nothing here holds is given,
// so that the answer to the write that made it can arrive.
const orphanDelay = 2 * time.Second

type timerKind int

const (
	timerTTL timerKind = iota
	timerLeaving
	timerOrphan
)

type timer struct {
	at   time.Time
	kind timerKind
	key  core.Key
	id   uint64 // of a ttl's timer
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push and Pop implement heap.Interface.
func (h *timerHeap) Push(x any) {
	if t, ok := x.(timer); ok {
		*h = append(*h, t)
	}
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (h *timerHeap) push(t timer) { heap.Push(h, t) }

// timerLoop fires timers. What needs I/O is done outside the lock, in batches.
func (r *Registry) timerLoop() {
	clock := time.NewTimer(0)
	defer clock.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.timerKick:
		case <-clock.C:
		}
		expired, orphans, next := r.fireTimers(time.Now())
		r.expireHeld(expired)
		r.removeOrphans(orphans)
		clock.Reset(next)
	}
}

// fireTimers carries out what is due and returns what needs I/O, and the time to the next.
func (r *Registry) fireTimers(now time.Time) (expired []*holding, orphans []core.Key, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.timers) > 0 && !r.timers[0].at.After(now) {
		t := r.timers[0]
		heap.Pop(&r.timers)
		switch t.kind {
		case timerTTL:
			if h := r.ttlDueLocked(t, now); h != nil {
				expired = append(expired, h)
			}
		case timerLeaving:
			if e := r.entryLocked(t.key); e != nil && e.leaving != nil && !e.leaving.until.After(now) {
				r.leavingDueLocked(e, now)
			}
		case timerOrphan:
			orphans = append(orphans, t.key)
		}
	}
	r.flushLocked()
	next = time.Hour
	if len(r.timers) > 0 {
		next = max(0, r.timers[0].at.Sub(now))
	}
	return expired, orphans, next
}
