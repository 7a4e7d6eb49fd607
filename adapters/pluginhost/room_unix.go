//go:build unix

package pluginhost

// room_unix.go: whose the runtime folder is.

import (
	"errors"
	"os"
	"syscall"
)

// checkOurs refuses a folder that somebody else owns or may write to: in a shared folder for
// temporary files anybody could have made it first.
func checkOurs(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("it must be a folder, not a link or a file")
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Getuid() {
		return errors.New("it belongs to another user; name one of your own")
	}
	if info.Mode().Perm()&0o022 != 0 {
		return errors.New("others may write to it; run `chmod 700` on it or name another")
	}
	return nil
}
