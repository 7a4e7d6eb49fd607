package pluginhost

// restart.go: when the next process is started after one that ended. The first restart is
// at once; after that there is backoff, which a stable process resets. A breaker opens
// after a row of processes that died before they were of any use; it does not give up, but
// tries seldom and says so.

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// stableAfter is how long a process must live for its end to be the first of a row.
	stableAfter = time.Minute
	// breakAfter is how many processes in a row may die before they served one call.
	breakAfter = 5
	// brokenPause is the time between attempts while the breaker is open.
	brokenPause = time.Minute

	// With a jitter of half, pauses lie between 250 ms and 30 s.
	firstPause  = 500 * time.Millisecond
	longestWait = 20 * time.Second
)

// restarts decides on pauses. One goroutine uses it.
type restarts struct {
	backoff backoff.ExponentialBackOff
	row     int // ends since the last stable process
	useless int // of these, in a row, those that died before they served one call
}

func newRestarts() *restarts {
	return &restarts{backoff: backoff.ExponentialBackOff{
		InitialInterval: firstPause, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: longestWait,
	}}
}

// ended takes note of the end of a process, or of an attempt that gave none.
func (r *restarts) ended(lived time.Duration, useless bool) {
	if lived >= stableAfter {
		r.row, r.useless = 0, 0
		r.backoff.Reset()
		useless = false
	}
	r.row++
	if useless {
		r.useless++
	} else {
		r.useless = 0
	}
}

// next returns how long to wait before the next attempt, and whether the breaker is open.
func (r *restarts) next() (pause time.Duration, broken bool) {
	switch {
	case r.useless >= breakAfter:
		return brokenPause, true
	case r.row <= 1:
		return 0, false
	}
	return r.backoff.NextBackOff(), false
}
