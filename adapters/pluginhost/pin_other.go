//go:build !linux

package pluginhost

// pin_other.go: systems that cannot execute an open file.

import (
	"os"
	"os/exec"

	"github.com/marketprism/prism/ports"
)

// pinnedCommand makes cmd execute f's path, provided that it still leads to f.
func pinnedCommand(cmd *exec.Cmd, f *os.File, _ string) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(f.Name())
	if err != nil || !os.SameFile(opened, there) {
		return fileError(ports.ErrPermission, "%s was replaced while it was being verified; start again", f.Name())
	}
	cmd.Path = f.Name()
	cmd.Args = []string{f.Name()}
	return nil
}
