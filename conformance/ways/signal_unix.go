//go:build unix

package ways

// signal_unix.go: processes are halted, woken and killed by signals.

import (
	"errors"
	"fmt"
	"syscall"
)

const canHalt = true

func halt(pid int) error { return signal(pid, syscall.SIGSTOP) }
func wake(pid int) error { return signal(pid, syscall.SIGCONT) }
func kill(pid int) error { return signal(pid, syscall.SIGKILL) }

func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s to the plugin: %w", sig, err)
	}
	return nil
}
