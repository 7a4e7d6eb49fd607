//go:build unix

package main

// signals_unix.go: the signals that are this system's own.

import (
	"os"
	"syscall"
)

// reloadSignals make a host read its configuration again.
var reloadSignals = []os.Signal{syscall.SIGHUP}

// passedSignals reach the command of "prism run".
var passedSignals = []os.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
