package pluginhost

// room_windows.go: whose the runtime folder is.

import (
	"errors"
	"os"
)

// checkOurs leaves rights to the folder's inherited access list; plugins talk over
// loopback TCP on Windows, secured by AutoMTLS, and keep no sockets here.
func checkOurs(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("it must be a folder, not a link or a file")
	}
	return nil
}
