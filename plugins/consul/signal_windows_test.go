package consul_test

import "os"

// kill ends a plugin without giving it time to leave its seat.
func kill(pid int) error {
	if pid == 0 {
		return errNoProcess
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Kill()
}
