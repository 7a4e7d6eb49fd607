package health

// scheduler.go: when which instance is checked.

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// DefaultConcurrency is how many checks run at once when Options do not say.
const DefaultConcurrency = 64

const (
	soon         = 100 * time.Millisecond // within which a first check comes
	fastest      = time.Second            // between two checks while a matter is unsettled
	lateness     = time.Second            // after which a check that waits for a free slot is late
	probeGrace   = time.Second            // that a Prober may need beyond the check's timeout
	lateLogEvery = time.Minute
)

// Options of a Scheduler. Prober and Report are needed.
type Options struct {
	Prober ports.Prober
	// Report takes the result of a check of an instance as it was tracked when the check began,
	// and says whether the matter is settled (see Decide). It is called from many goroutines, for
	// one instance by one at a time, and not for one that is no longer tracked. It takes one
	// of the slots until it returns; ctx ends with Close.
	Report func(ctx context.Context, in core.Instance, r ports.ProbeResult) (settled bool)
	// Concurrency is how many checks run at once; 0 means DefaultConcurrency.
	Concurrency int
	// Logger hears of checks that cannot be made or are late; nil means nobody.
	Logger *slog.Logger
	// Observe, when not nil, is told of each check that was made, for metrics.
	Observe func(in core.Instance, r ports.ProbeResult)
}

// Scheduler checks the instances that it is told to track: each about every
// Check.Interval (±10 %, so that the checks of a fleet do not fall into step), sooner while a
// matter is unsettled, never twice at the same time. When more checks are due than slots are free,
// the longest due comes first; nothing is dropped, what is late is counted. It is safe for
// concurrent use.
type Scheduler struct {
	opts  Options
	ctx   context.Context // ends with Close
	end   context.CancelFunc
	wake  chan struct{} // tells the loop that the queue or the slots changed; holds one
	tasks sync.WaitGroup

	mu         sync.Mutex // guards what follows
	entries    map[core.Key]*entry
	queue      queue
	busy       int // slots in use
	late       uint64
	lateLogged time.Time
}

// NewScheduler starts a Scheduler. Close ends it.
func NewScheduler(o Options) *Scheduler {
	o.Concurrency = cmp.Or(max(o.Concurrency, 0), DefaultConcurrency)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(core.Instance, ports.ProbeResult) {}
	}
	s := &Scheduler{opts: o, wake: make(chan struct{}, 1), entries: map[core.Key]*entry{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.tasks.Go(s.loop)
	return s
}

// Close ends all checks and waits for them. A second Close waits likewise.
func (s *Scheduler) Close() {
	s.end()
	s.tasks.Wait()
}

// Complete fills in what a record that somebody else wrote may lack of its check, as Track does.
func Complete(in core.Instance) core.Instance {
	in.Check.Interval = max(in.Check.Interval, fastest)
	in.Check.Timeout = cmp.Or(max(in.Check.Timeout, 0), in.Check.Interval)
	return in
}

// Track adds an instance, or updates what is known of it. A new registration, and one about
// which nothing is decided, is checked at once; one that is adopted with a decided state at
// some time within its interval; an update, and the return of an instance within one TTL after
// Untrack, keep the time of the next check. An instance without a check is not tracked.
func (s *Scheduler) Track(in core.Instance) {
	in = Complete(in)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[in.Key()]
	switch {
	case in.Check.Type == core.CheckNone:
		s.lose(e, now)
		return
	case e == nil:
		e = &entry{in: in, due: now.Add(firstDelay(in)), place: nowhere}
		s.entries[in.Key()] = e
	default:
		isNew, wasLost := e.in.Generation != in.Generation, e.lost
		e.in, e.lost = in, false
		switch {
		case isNew, wasLost && e.due.Before(now):
			e.due = now.Add(rand.N(soon))
		case e.due.Sub(now) > in.Check.Interval+in.Check.Interval/10: // it became shorter
			e.due = now.Add(rand.N(in.Check.Interval))
		}
	}
	s.place(e)
}

// Untrack ends the checks of an instance that this process does not hold any more. The time
// of the next check is remembered for one TTL: an instance whose heartbeats go round several
// hosts is then checked as often as any other.
func (s *Scheduler) Untrack(key core.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil && !e.lost {
		s.lose(e, time.Now().Add(e.in.TTL))
	}
}

// Stats is how much a Scheduler has to do.
type Stats struct {
	Tracked int    // instances
	Running int    // checks
	Late    uint64 // checks so far that waited more than 1 s for a free slot
}

// Stats counts.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Running: s.busy, Late: s.late}
	for _, e := range s.entries {
		if !e.lost {
			st.Tracked++
		}
	}
	return st
}

// loop starts the checks that are due.
func (s *Scheduler) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if next, ok := s.startDue(time.Now()); ok {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
	}
}

// startDue starts the checks that are due while there are slots, and says when it has to look
// again; not ok: only when woken.
func (s *Scheduler) startDue(now time.Time) (next time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		e := s.queue[0]
		switch {
		case e.at.After(now):
			return e.at, true
		case e.lost:
			heap.Pop(&s.queue)
			delete(s.entries, e.in.Key())
		case s.busy == s.opts.Concurrency:
			return time.Time{}, false
		default:
			heap.Pop(&s.queue)
			s.countLate(now, now.Sub(e.due))
			e.began = now
			s.busy++
			in := e.in
			s.tasks.Go(func() { s.check(e, in) })
		}
	}
	return time.Time{}, false
}

func (s *Scheduler) countLate(now time.Time, by time.Duration) {
	if by <= lateness {
		return
	}
	s.late++
	if now.Sub(s.lateLogged) >= lateLogEvery {
		s.lateLogged = now
		s.opts.Logger.Warn("health checks are late, as all slots are in use; allow more at once, or longer intervals",
			slog.Duration("late_by", by), slog.Int("slots", s.opts.Concurrency), slog.Uint64("late_so_far", s.late))
	}
}

// check makes one check of an instance and has it queued again.
func (s *Scheduler) check(e *entry, in core.Instance) {
	settled := true
	r, err := s.probe(in)
	switch {
	case s.ctx.Err() != nil, !s.wanted(e):
	case err != nil:
		s.complain(e, in, err)
	default:
		s.complain(e, in, nil)
		s.opts.Observe(in, r)
		settled = s.opts.Report(s.ctx, in, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	interval := e.in.Check.Interval
	switch {
	case e.in.Generation != in.Generation: // registered anew in the meantime
		e.due = time.Now().Add(rand.N(soon))
	case settled:
		e.due = e.began.Add(jitter(interval))
	default:
		e.due = e.began.Add(max(jitter(interval/10), fastest))
	}
	if now := time.Now(); e.due.Before(now) { // it was the check that took so long, and no want of slots
		e.due = now
	}
	e.began = time.Time{}
	s.place(e)
}

// probe asks the Prober, but no longer than it may take.
func (s *Scheduler) probe(in core.Instance) (ports.ProbeResult, error) {
	ctx, cancel := context.WithTimeout(s.ctx, in.Check.Timeout+probeGrace)
	defer cancel()
	r, err := s.opts.Prober.Probe(ctx, in)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ports.ProbeResult{Latency: in.Check.Timeout, Detail: fmt.Sprintf("no answer within %s", in.Check.Timeout)}, nil
	}
	return r, err
}

// wanted reports whether an instance is still tracked.
func (s *Scheduler) wanted(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !e.lost
}

// complain logs that a check cannot be made, once for each reason and instance.
func (s *Scheduler) complain(e *entry, in core.Instance, err error) {
	s.mu.Lock()
	before := e.trouble
	e.trouble = ""
	if err != nil {
		e.trouble = err.Error()
	}
	after := e.trouble
	s.mu.Unlock()
	if after != "" && after != before {
		s.opts.Logger.Warn("a health check cannot be made", slog.String("service", in.Service), slog.String("id", in.ID),
			slog.String("check", string(in.Check.Type)), slog.String("error", after))
	}
}

// lose marks an instance that is not tracked any more, to be forgotten at a time.
func (s *Scheduler) lose(e *entry, until time.Time) {
	if e != nil {
		e.lost, e.until = true, until
		s.place(e)
	}
}

// place puts an entry where it belongs in the queue, unless its check is under way: it is placed
// when that ends.
func (s *Scheduler) place(e *entry) {
	if !e.began.IsZero() {
		return
	}
	e.at = e.due
	if e.lost {
		e.at = e.until
	}
	if e.place == nowhere {
		heap.Push(&s.queue, e)
	} else {
		heap.Fix(&s.queue, e.place)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// firstDelay says when an instance that was not known here is checked.
func firstDelay(in core.Instance) time.Duration {
	st := in.State
	decided := st.Declared != core.DeclaredStarting &&
		(st.Observed == core.ObservedHealthy && st.Streak >= 0 || st.Observed == core.ObservedUnhealthy && st.Streak <= -in.Check.Fall)
	if decided && in.Check.Interval > soon {
		return rand.N(in.Check.Interval)
	}
	return rand.N(soon)
}

// jitter changes a duration by up to a tenth either way.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(max(d/5, 1))
}
