//go:build unix

package pluginhost

// group_unix.go: a process and its descendants as a process group.
//
// The group stays in its host's session on purpose. When a host dies whose plugin is
// stopped, the group is orphaned, and the kernel then continues it (POSIX: SIGHUP and
// SIGCONT to an orphaned group with stopped members), so that it sees the end of its input.

import (
	"os"
	"syscall"
)

// group is a process group; the zero value is none.
type group struct{ id int }

func groupAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// joinGroup returns the group that p leads.
func joinGroup(p *os.Process) group { return group{id: p.Pid} }

// kill ends every member at once.
func (g group) kill() {
	if g.id > 1 {
		_ = syscall.Kill(-g.id, syscall.SIGKILL)
	}
}

func (g group) close() {}
