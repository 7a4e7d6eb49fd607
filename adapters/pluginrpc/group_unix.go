//go:build unix

package pluginrpc

// group_unix.go: what a plugin leaves behind when its host has died.

import "syscall"

// endGroup kills the process group that this process leads, itself included: a descendant that
// holds on would otherwise outlive a host that can no longer see to it. A process that leads no
// group shares one with others, and does nothing.
func endGroup() {
	if pid := syscall.Getpid(); syscall.Getpgrp() == pid {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}
