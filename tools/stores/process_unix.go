//go:build unix && !linux

package stores

// process_unix.go: other Unixes have no signal for the death of a parent.

import "syscall"

// attributes puts a server in a group of its own, so that Ctrl-C at the terminal reaches only
// the program that owns it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// halted cannot be asked here.
func halted(int) (bool, error) { return true, nil }
