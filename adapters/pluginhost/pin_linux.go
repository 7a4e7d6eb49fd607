package pluginhost

// pin_linux.go: executes an open file.

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// pinnedDescriptor is the descriptor under which the child finds its own binary: the first
// after standard error.
const pinnedDescriptor = 3

// pinnedCommand makes cmd execute f, whatever is now at its path. The child gets f as a
// descriptor, which also lets scripts be pinned; a link of the binary's name in dir points to
// it, so that process lists show that name.
func pinnedCommand(cmd *exec.Cmd, f *os.File, dir string) error {
	link := filepath.Join(dir, filepath.Base(f.Name()))
	if err := os.Symlink("/proc/self/fd/"+strconv.Itoa(pinnedDescriptor), link); err != nil {
		return err
	}
	cmd.Path = link
	cmd.Args = []string{f.Name()}
	cmd.ExtraFiles = []*os.File{f}
	return nil
}
