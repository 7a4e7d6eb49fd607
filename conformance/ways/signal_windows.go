package ways

// signal_windows.go: processes can be killed, not halted.

import (
	"errors"
	"os"
)

const canHalt = false

func halt(int) error { return errors.ErrUnsupported }
func wake(int) error { return nil }

func kill(pid int) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil //nolint:nilerr // it has ended
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
