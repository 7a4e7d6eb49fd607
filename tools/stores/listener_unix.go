//go:build unix

package stores

// listener_unix.go: a listener that is closed, though a child that is being started still has it.

import (
	"net"
	"syscall"
)

// stopListening refuses connections from now on. Closing alone does so only when the last process has closed
// the listener, and a child has it from its fork until it runs its program.
func stopListening(l net.Listener) {
	if tcp, ok := l.(*net.TCPListener); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				_ = syscall.Shutdown(int(fd), syscall.SHUT_RD) // Where a system has no such thing, the close has to do.
			})
		}
	}
}
