//go:build unix

package consul_test

import "syscall"

// kill ends a plugin without giving it time to leave its seat.
func kill(pid int) error {
	if pid == 0 {
		return errNoProcess
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
