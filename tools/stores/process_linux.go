package stores

// process_linux.go: the kernel ends a server when the one that started it has died.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// attributes puts a server in a group of its own, so that Ctrl-C at the terminal reaches only
// the program that owns it, and binds its life to that program.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// halted reports whether all threads of a process have stopped: a signal returns before that,
// and a thread that still runs may answer.
func halted(pid int) (bool, error) {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false, err
	}
	for _, file := range stats {
		stat, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return false, err
		}
		// The state follows the name, which is in brackets and may hold some.
		if i := bytes.LastIndexByte(stat, ')'); !bytes.HasPrefix(stat[i+1:], []byte(" T")) {
			return false, nil
		}
	}
	return len(stats) > 0, nil
}
