//go:build unix

package stores

// signals_unix.go: what a process can be told.

import (
	"os"
	"syscall"
)

// interrupt asks a process to end. One that is paused hears it when it is resumed.
func interrupt(p *os.Process) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Signal(syscall.SIGCONT)
}

func pause(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
