package registry

// absence.go: when the store says that somebody else's instance expired, it may be the store
// that was away rather than the instance. After an outage, and when most of a service expires
// at once, the registry waits before it believes. And what a snapshot does not show any more may
// have expired, or somebody may have removed it: the store is asked.

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/marketprism/prism/core"
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

// absentee is what a snapshot did not show, as the view held it then.
type absentee struct {
	key core.Key
	rev core.Revision
}

// resolveAbsences asks the store why records are gone, and believes it.
func (r *Registry) resolveAbsences(absent []absentee) {
	for batch := range slices.Chunk(absent, ports.MaxBatch) {
		keys := make([]core.Key, len(batch))
		for i, a := range batch {
			keys[i] = a.key
		}
		ctx, cancel := context.WithTimeout(r.ctx, silence)
		found, err := r.backend.Get(ctx, keys)
		cancel()
		certain := err == nil && len(found) == len(batch)
		if !certain {
			found = make([]ports.Found, len(batch))
		}
		certain = certain && r.holdersLive(batch, found)
		r.mu.Lock()
		for i, a := range batch {
			r.absenceLocked(a, found[i], certain)
		}
		r.flushLocked()
		r.mu.Unlock()
	}
}

// holdersLive renews the sessions of what this process holds and the store knows nothing of, not
// even why it is gone. Only while a session lives does that mean that somebody deleted it. False
// when the store does not say; sessions that ended are marked.
func (r *Registry) holdersLive(batch []absentee, found []ports.Found) bool {
	var holders []*session
	r.mu.Lock()
	for i, a := range batch {
		h := r.held[a.key]
		if h != nil && found[i] == (ports.Found{}) && !slices.Contains(holders, h.session) {
			holders = append(holders, h.session)
		}
	}
	r.mu.Unlock()
	return len(holders) == 0 || r.renew(holders)
}

// absenceLocked believes what the store says of a key. Certain is whether it answered.
func (r *Registry) absenceLocked(a absentee, found ports.Found, certain bool) {
	key := a.key
	e := r.entryLocked(key)
	switch {
	case e == nil || e.leaving != nil || e.rec.Revision != a.rev:
		return
	case found.Record != nil:
		r.applyRecordLocked(*found.Record, false)
		return
	}
	t := ports.Tombstone{Key: key, Generation: e.rec.Generation, Cause: core.CauseUnknown}
	if found.Tombstone != nil && found.Tombstone.Generation.Compare(e.rec.Generation) >= 0 {
		t = *found.Tombstone
	}
	if h := r.held[key]; h != nil && h.gen == e.rec.Generation {
		if endOfSession(t) && (h.session.gone || found.Tombstone != nil || !certain) {
			r.recoverLocked(h)
			return
		}
		state := core.HeartbeatDeregistered // the session lives, so somebody deleted it
		if found.Tombstone != nil {
			state = stateAfter(t, h.gen)
		}
		r.releaseLocked(h, state)
	}
	if t.Cause.Expires() {
		r.expireLocked(e, t)
		return
	}
	r.removeLocked(e, t)
}
