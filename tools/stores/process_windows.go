package stores

// process_windows.go: Windows can only end a process.

import (
	"errors"
	"net"
	"os"
	"syscall"
)

func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func interrupt(p *os.Process) error { return p.Kill() }
func pause(*os.Process) error       { return errors.ErrUnsupported }
func resume(*os.Process) error      { return errors.ErrUnsupported }
func halted(int) (bool, error)      { return true, nil }

// stopListening has nothing to do: listeners are not inherited.
func stopListening(net.Listener) {}
