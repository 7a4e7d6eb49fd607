package stores

// process_linux.go: the kernel ends a server when the one that started it has died.

import "syscall"

// attributes puts a server in a group of its own, so that Ctrl-C at the terminal reaches only
// the program that owns it, and binds its life to that program.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
