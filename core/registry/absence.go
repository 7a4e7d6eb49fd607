package registry

// absence.go: when the store says that somebody else's instance expired, it may be the store
// that was away rather than the instance. After an outage, and when most of a service expires
// at once, the registry waits before it believes.

import (
	"log/slog"
	"time"

	"github.com/marketprism/prism/ports"
)

const (
	protectWindow   = 30 * time.Second // expiries of one service within this belong together
	protectHold     = 60 * time.Second // how long suspects are kept
	protectMinimum  = 4                // smaller services are never protected
	protectDebounce = 250 * time.Millisecond
	// leavingAgain is how soon an absence is looked at again that came due while the store is away.
	leavingAgain = time.Second
)

// leaving is an absence that is not believed yet.
type leaving struct {
	until time.Time
	why   leavingWhy
	tomb  ports.Tombstone
}

type leavingWhy int

const (
	afterOutage    leavingWhy = iota // hosts need time to assert what they hold
	burstForming                     // is it one instance, or most of the service?
	burstProtected                   // it was most of the service
)

// expiry remembers one expiry for the protect threshold.
type expiry struct {
	at      time.Time
	removed bool // no longer among the entries
}

// expireLocked decides what to do about the expiry of an instance that nobody here holds.
func (r *Registry) expireLocked(e *entry, t ports.Tombstone) {
	now := time.Now()
	if now.Before(r.link.holdUntil) {
		r.leaveLocked(e, t, afterOutage, r.link.holdUntil)
		return
	}
	s := r.serviceLocked(e.rec.Key.Service)
	s.forgetExpiries(now)
	if r.opt.ProtectThreshold <= 0 || s.population() < protectMinimum {
		r.removeLocked(e, t)
		return
	}
	s.expiries = append(s.expiries, expiry{at: now})
	r.suspectLocked(e, t, burstForming, now.Add(protectDebounce))
}

func (s *service) forgetExpiries(now time.Time) {
	for len(s.expiries) > 0 && now.Sub(s.expiries[0].at) > protectWindow {
		s.expiries = s.expiries[1:]
	}
}

// population counts the instances there are, and those that expired just now.
func (s *service) population() int {
	n := len(s.entries)
	for _, x := range s.expiries {
		if x.removed {
			n++
		}
	}
	return n
}

func (r *Registry) leaveLocked(e *entry, t ports.Tombstone, why leavingWhy, until time.Time) {
	e.leaving = &leaving{until: until, why: why, tomb: t}
	r.timers.push(timer{at: until, kind: timerLeaving, key: e.rec.Key})
	kick(r.timerKick)
}

// suspectLocked keeps an expired instance, ranked after healthy ones.
func (r *Registry) suspectLocked(e *entry, t ports.Tombstone, why leavingWhy, until time.Time) {
	r.leaveLocked(e, t, why, until)
	if !e.in.Suspect {
		in := *e.in
		in.Suspect = true
		e.in = &in
		r.dirty[in.Service] = r.serviceLocked(in.Service)
	}
}

// leavingDueLocked decides on an absence whose time of waiting is over. While the store is away
// nobody could have shown that the instance lives, so none is believed.
func (r *Registry) leavingDueLocked(e *entry, now time.Time) {
	l := e.leaving
	if !r.link.connected {
		r.leaveLocked(e, l.tomb, l.why, now.Add(leavingAgain))
		return
	}
	s := r.serviceLocked(e.rec.Key.Service)
	switch l.why {
	case afterOutage:
		e.leaving = nil
		r.expireLocked(e, l.tomb)
	case burstForming:
		s.forgetExpiries(now)
		if float64(len(s.expiries)) > r.opt.ProtectThreshold*float64(s.population()) {
			r.log.Warn("most of a service expired at once; its instances are kept as suspect",
				slog.String("service", s.name), slog.Int("expired", len(s.expiries)), slog.Int("of", s.population()))
			r.suspectLocked(e, l.tomb, burstProtected, now.Add(protectHold))
			return
		}
		for i := range s.expiries {
			if !s.expiries[i].removed {
				s.expiries[i].removed = true
				break
			}
		}
		r.removeLocked(e, l.tomb)
	case burstProtected:
		r.removeLocked(e, l.tomb)
	}
}
