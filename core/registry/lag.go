package registry

// lag.go: how far the watch is behind the store, measured on this process's own writes, whose
// revisions and times of acknowledgement are known here: no clock of another machine is read.

import (
	"time"

	"github.com/marketprism/prism/core"
)

// lag measures one write at a time; guarded by the registry's lock.
type lag struct {
	shown  core.Revision // the newest that the watch has shown
	wanted core.Revision // of the write that is being waited for; zero: none is
	since  time.Time     // when that write was acknowledged
	last   time.Duration
}

// acknowledged begins a measurement, unless one is under way.
func (l *lag) acknowledged(rev core.Revision, now time.Time) {
	switch {
	case !l.wanted.IsZero() && l.wanted.Epoch == rev.Epoch:
	case l.shown.Epoch == rev.Epoch && l.shown.N >= rev.N:
		l.last, l.wanted = 0, core.Revision{} // the watch was faster than the answer
	default:
		l.wanted, l.since = rev, now
	}
}

// sees notes how far the watch has come.
func (l *lag) sees(rev core.Revision, now time.Time) {
	if l.shown.Epoch != rev.Epoch || rev.N > l.shown.N {
		l.shown = rev
	}
	if !l.wanted.IsZero() && (l.wanted.Epoch != l.shown.Epoch || l.shown.N >= l.wanted.N) {
		l.last, l.wanted = now.Sub(l.since), core.Revision{}
	}
}

// value is the latest measurement, or the one under way where it is longer already.
func (l *lag) value(now time.Time) time.Duration {
	if l.wanted.IsZero() {
		return l.last
	}
	return max(l.last, now.Sub(l.since))
}
