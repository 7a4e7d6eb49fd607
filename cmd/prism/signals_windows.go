package main

// signals_windows.go: the signals that are this system's own.

import "os"

// reloadSignals make a host read its configuration again; Windows has none.
var reloadSignals []os.Signal

// passedSignals reach the command of "prism run"; Windows has none.
var passedSignals []os.Signal
