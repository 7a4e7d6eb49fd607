//go:build unix

package probe

// exec_unix.go: ending a command and all that it started.

import (
	"os/exec"
	"syscall"
)

// killTogether gives a command a process group of its own, all of which is killed when its
// context ends.
func killTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
