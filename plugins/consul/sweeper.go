package consul

// sweeper.go: ends the sessions that nobody renews. Consul's own sessions are no clock for
// that: their shortest TTL is 10 s, and they are let go twice as late.

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// times are the sweepers' intervals.
type times struct {
	beat  time.Duration // of who holds a seat
	stale time.Duration // without a beat a seat is free
	check time.Duration // of who holds none
	lag   time.Duration // of seat 1 behind seat 0, and 2 behind 1
	look  time.Duration // at the least, between two lists of all sessions
	wait  time.Duration // for something to move
	gap   time.Duration // without a list everybody gets a whole TTL more
	help  time.Duration // until a session that somebody else closes is closed by us
	tick  time.Duration // of the clock by which things are forgotten
}

var sweepTimes = times{
	beat: time.Second, stale: 3500 * time.Millisecond, check: 10 * time.Second, lag: 300 * time.Millisecond,
	look: 250 * time.Millisecond, wait: time.Second, gap: 3 * time.Second, help: 3 * time.Second, tick: 10 * time.Minute,
}

// atOnce is how many sessions one process ends at the same time.
const atOnce = 16

// sweeper belongs to the goroutine of run.
type sweeper struct {
	b         *Backend
	times     times
	seats     *seats
	deadlines *deadlines
	lastLook  time.Time
	working   sync.WaitGroup // what run started and waits for
	places    chan struct{}  // of sessions that are being ended
	freed     chan struct{}  // of capacity 1: a place has become free
}

func newSweeper(b *Backend, t times) *sweeper {
	return &sweeper{b: b, times: t, seats: newSeats(b, t.stale), deadlines: newDeadlines(), places: make(chan struct{}, atOnce), freed: make(chan struct{}, 1)}
}

// look is all sessions at a time.
type look struct {
	all []observed
	at  time.Time
	gap bool
}

// run works until its context ends. It watches the sessions from the start, also without a
// seat: should all three be those of dead processes, its timers are warm when that shows.
func (s *sweeper) run(ctx context.Context) {
	looks := make(chan look)
	stopWatching := s.startWatching(ctx, looks)
	defer func() {
		stopWatching()
		s.working.Wait()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
		defer cancel()
		s.seats.leave(last)
	}()
	seat := time.NewTimer(0)
	defer seat.Stop()
	tick := time.NewTicker(s.times.tick)
	defer tick.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	watches, began := true, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-looks:
			s.lastLook = l.at
			s.deadlines.observe(l.at, l.all, l.gap)
		case <-due.C:
			s.act(ctx, time.Now())
		case <-s.freed:
			s.act(ctx, time.Now())
		case <-tick.C:
			if s.seats.held == 0 {
				s.startTidying(ctx)
			}
		case <-seat.C:
			had := s.seats.held
			s.keepSeat(ctx)
			if had != 0 && s.seats.held == 0 {
				tick.Reset(s.times.tick) // The one before may have ticked just now.
			}
			seat.Reset(s.nextSeatCheck(began))
			switch needed := s.seats.held >= 0 || time.Since(began) < 2*s.times.stale; {
			case needed && !watches:
				stopWatching = s.startWatching(ctx, looks)
				watches = true
			case !needed && watches:
				stopWatching()
				s.deadlines = newDeadlines()
				watches = false
			}
		}
		due.Reset(s.untilDue(time.Now()))
	}
}

// startWatching lets looks come until it is stopped.
func (s *sweeper) startWatching(ctx context.Context, to chan<- look) (stop context.CancelFunc) {
	ctx, stop = context.WithCancel(ctx)
	s.working.Go(func() { s.watch(ctx, to) })
	return stop
}

func (s *sweeper) keepSeat(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, s.times.beat)
	defer cancel()
	if err := s.seats.keep(bounded, time.Now()); err != nil && ctx.Err() == nil {
		s.b.log.DebugContext(ctx, "the sweeper's seat could not be kept", "error", err)
	}
}

// nextSeatCheck is short while we hold a seat, or are new and may find that nobody lives.
func (s *sweeper) nextSeatCheck(began time.Time) time.Duration {
	if s.seats.held >= 0 || time.Since(began) < 2*s.times.stale {
		return s.times.beat
	}
	return s.times.check
}

// lag is how much later than its end a session is ended by us.
func (s *sweeper) lag() time.Duration { return time.Duration(max(s.seats.held, 0)) * s.times.lag }

func (s *sweeper) untilDue(now time.Time) time.Duration {
	next, ok := s.deadlines.next(s.lag())
	switch {
	case !ok || s.seats.held < 0 || len(s.places) == cap(s.places): // The last: freed comes before.
		return time.Hour
	case now.Sub(s.lastLook) >= s.times.gap: // The next look will come with a gap, and set all anew.
		return s.times.look
	}
	return max(next.Sub(now), 0)
}

// act ends what is due. What cannot be ended now is seen again, and gets a whole TTL more.
func (s *sweeper) act(ctx context.Context, now time.Time) {
	if s.seats.held < 0 || now.Sub(s.lastLook) >= s.times.gap {
		return
	}
	for part := range slices.Chunk(s.deadlines.due(now, s.lag()), maxOps/3) {
		select {
		case s.places <- struct{}{}:
		default:
			return // All hands are busy; it stays due.
		}
		for _, o := range part {
			s.deadlines.drop(o)
		}
		s.working.Go(func() {
			defer func() {
				<-s.places
				select {
				case s.freed <- struct{}{}:
				default: // run knows already
				}
			}()
			if err := s.end(ctx, part); err != nil && ctx.Err() == nil {
				s.b.log.WarnContext(ctx, "sessions could not be ended; another try comes later", "sessions", len(part), "error", err)
			}
		})
	}
}

// end ends sessions that were not renewed since they were observed, and goes on with those that
// somebody else has begun to end.
func (s *sweeper) end(ctx context.Context, all []observed) error {
	bounded, cancel := context.WithTimeout(ctx, 10*s.times.gap)
	defer cancel()
	var due, closing []observed
	var notes []string
	for _, o := range all {
		if o.closing {
			closing, notes = append(closing, o), append(notes, s.b.keys.closing(o.id))
		} else {
			due = append(due, o)
		}
	}
	pairs, err := s.b.read(bounded, notes...)
	if err != nil {
		return err
	}
	var ends []ending
	for i, pair := range pairs {
		if pair.ModifyIndex != 0 {
			ends = append(ends, ending{closing[i].id, readClosing(pair.Value).Cause})
		}
	}
	begun, err := s.b.beginEnds(bounded, due, core.CauseExpired)
	if ends = append(ends, begun...); len(ends) > 0 {
		err = errors.Join(err, s.b.finishEnds(bounded, ends))
	}
	return err
}

// watch lists all sessions whenever one has moved.
func (s *sweeper) watch(ctx context.Context, to chan<- look) {
	after, last, gap := uint64(0), time.Now(), true
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, s.times.wait+s.times.gap)
		pairs, index, err := s.b.listAfter(bounded, s.b.keys.sessions(), after, s.times.wait)
		cancel()
		now := time.Now()
		switch {
		case err != nil:
			after, gap = 0, true
		case index < after: // Consul was restored from a backup.
			after, gap = 0, true
			continue
		default:
			gap = gap || now.Sub(last) >= s.times.gap
			select {
			case to <- look{all: s.observe(pairs), at: now, gap: gap}:
			case <-ctx.Done():
				return
			}
			after, last, gap = index, now, false
		}
		pause(ctx, s.times.look)
	}
}

// observe reads what stands under the prefix of the sessions.
func (s *sweeper) observe(pairs api.KVPairs) []observed {
	var all []observed
	for _, pair := range pairs {
		kind, id, ok := strings.Cut(strings.TrimPrefix(pair.Key, s.b.keys.sessions()), "/")
		o := observed{id: ports.SessionID(id), index: pair.ModifyIndex}
		switch {
		case !ok || core.ValidateName("session", id) != nil:
			continue // sessions/format, or somebody else's
		case kind == "open":
			o.ttl = readSessionDocument(pair.Value).ttl()
		case kind == "closing":
			o.closing, o.ttl = true, s.times.help
		default:
			continue
		}
		all = append(all, o)
	}
	return all
}

// pause waits, less when the context ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
