package main

// signals.go: the signals that end a program, and when a second one is meant.

import (
	"os"
	"syscall"
	"time"
)

func ends(s os.Signal) bool { return s == os.Interrupt || s == syscall.SIGTERM }

// sameWish is for how long after the first signal further ones are the same wish: timeout(1)
// sends one to its command and another to the group, and so do terminals and supervisors.
const sameWish = 500 * time.Millisecond

// firstSignal is when a program was told to end.
type firstSignal struct{ at time.Time }

// newFirstSignal is for the signal that has just been taken in.
func newFirstSignal() firstSignal { return firstSignal{at: time.Now()} }

// insisted reports whether a further signal says that the end in good order takes too long.
func (f firstSignal) insisted(s os.Signal) bool { return ends(s) && time.Since(f.at) >= sameWish }
