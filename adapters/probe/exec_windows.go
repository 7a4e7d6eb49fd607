package probe

// exec_windows.go: ending a command and all that it started.

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// killTogether has a command killed together with its descendants when its context ends.
func killTogether(cmd *exec.Cmd) {
	cmd.Cancel = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		taskkill := filepath.Join(os.Getenv("SystemRoot"), "System32", "taskkill.exe")
		tree := exec.CommandContext(ctx, taskkill, "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run()
		if err := cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
			return errors.Join(tree, err)
		}
		return tree
	}
}
