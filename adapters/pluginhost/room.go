package pluginhost

// room.go: the folder that holds the sockets of one host's plugin. It is private (0700),
// its path is short, it is locked while its host lives, and whoever comes next removes the
// rooms that dead hosts left behind.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/gofrs/flock"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	roomPrefix = "h"
	lockName   = "lock"
	// maxSocketPath is what a Unix socket's address holds on the stingiest system, less the
	// terminating zero.
	maxSocketPath = 103
	// socketTail is the longest that follows the runtime dir: a room and a socket in it.
	socketTail = len("/h4294967295/plugin4294967295")
)

// roomForm is what os.MkdirTemp makes of roomPrefix.
var roomForm = regexp.MustCompile("^" + roomPrefix + "[0-9]+$")

// room is one locked folder.
type room struct {
	dir  string
	lock *flock.Flock
}

// openRoom makes a room in runtimeDir (or in the default one) and sweeps out those of dead
// hosts. It waits for other hosts that do the same, until ctx ends.
func openRoom(ctx context.Context, runtimeDir string) (*room, error) {
	base, err := runtimeFolder(runtimeDir)
	if err != nil {
		return nil, err
	}
	gate := flock.New(filepath.Join(base, lockName))
	if _, err := gate.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return nil, fmt.Errorf("runtime folder %s: another process holds its lock: %w: %w", base, err, ports.ErrUnavailable)
	}
	defer func() { _ = gate.Close() }()
	sweep(base)
	dir, err := os.MkdirTemp(base, roomPrefix)
	if err != nil {
		return nil, fmt.Errorf("runtime folder: %w: %w", err, ports.ErrInvalid)
	}
	lock := flock.New(filepath.Join(dir, lockName))
	if ok, err := lock.TryLock(); err != nil || !ok {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("runtime folder %s cannot be locked: %w: %w", dir, errors.Join(err), ports.ErrInvalid)
	}
	return &room{dir: dir, lock: lock}, nil
}

// runtimeFolder makes the folder of rooms and checks that it is short and that nobody else
// writes to it.
func runtimeFolder(dir string) (string, error) {
	if dir == "" {
		dir = defaultRuntimeFolder()
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", core.Invalid("runtime_dir", dir, err.Error())
	}
	if len(dir)+socketTail > maxSocketPath {
		return "", core.Invalid("runtime_dir", dir,
			fmt.Sprintf("sockets are made in it, and their paths have a limit: use at most %d bytes", maxSocketPath-socketTail))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", core.Invalid("runtime_dir", dir, "it cannot be made: "+err.Error())
	}
	if err := checkOurs(dir); err != nil {
		return "", core.Invalid("runtime_dir", dir, err.Error())
	}
	return dir, nil
}

// defaultRuntimeFolder passes over an XDG_RUNTIME_DIR that is not this user's: su(1) leaves the
// variable as it was, and the folder goes when its user logs out.
func defaultRuntimeFolder() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && checkOurs(dir) == nil {
		return filepath.Join(dir, "prism")
	}
	name := "prism"
	if uid := os.Getuid(); uid >= 0 { // On Windows the folder is the user's own.
		name += "-" + strconv.Itoa(uid)
	}
	return filepath.Join(os.TempDir(), name)
}

// sweep removes rooms whose lock nobody holds: a lock ends with its process. The caller
// holds the gate, so no room is between its making and its locking. The folder may be one that
// others use too: what has no lock goes only when it is empty.
func sweep(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !roomForm.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(base, e.Name())
		name := filepath.Join(dir, lockName)
		if _, err := os.Lstat(name); err != nil {
			_ = os.Remove(dir)
			continue
		}
		lock := flock.New(name)
		if ok, err := lock.TryLock(); ok && err == nil {
			_ = os.RemoveAll(dir)
		}
		_ = lock.Close()
	}
}

// gone reports whether somebody removed the room: it lies where others clean up.
func (r *room) gone() bool {
	_, err := os.Lstat(r.dir)
	return errors.Is(err, os.ErrNotExist)
}

// clear removes what a dead process left in the room.
func (r *room) clear() {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.Name() != lockName {
			_ = os.RemoveAll(filepath.Join(r.dir, e.Name()))
		}
	}
}

// close removes the room.
func (r *room) close() {
	_ = os.RemoveAll(r.dir)
	_ = r.lock.Close()
}
