// Package hoststate keeps the journal of a host in a file, so that a restart shorter than a
// session's TTL goes unseen: which sessions the host has in the store, and what it keeps alive
// under them.
//
// There is one file for each backend, namespace and HTTP address, in a folder of the user.
// It is locked while its host lives. It holds JSON lines (format.go) that are appended as
// things change, by one goroutine, which makes them safe in groups (journal.go); a file whose
// lines mostly are out of date is written anew. Nothing in it is a secret: of a lease it has
// the hash that the store has too.
package hoststate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Options say whose state it is and where it is kept.
type Options struct {
	Dir       string // made where it is missing
	Backend   string
	Namespace string
	Address   string // where the host's HTTP API listens
	Logger    *slog.Logger
}

// DefaultDir is the folder prism in the user's folder for state: $XDG_STATE_HOME or
// ~/.local/state, on macOS ~/Library/Application Support, on Windows %LocalAppData%. An error
// wraps core.ErrInvalid and names server.data_dir.
func DefaultDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "prism"), nil
	}
	if dir := os.Getenv("LocalAppData"); runtime.GOOS == "windows" && dir != "" {
		return filepath.Join(dir, "prism"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", core.Invalid(option, "", "this user has no home folder ("+err.Error()+"): name a folder")
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "prism"), nil
	}
	return filepath.Join(home, ".local", "state", "prism"), nil
}

// option is what people set, for sentences.
const option = "server.data_dir"

// Open takes over the state of a host, which is nobody else's until Close. A file that cannot
// be read is put aside, with a word in the log, and the state is empty then. Errors wrap
// core.ErrInvalid (the folder cannot be used) or core.ErrConflict (another host has it).
func Open(o Options) (*Journal, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, unusable(o.Dir, "be made", err)
	}
	path := filepath.Join(o.Dir, o.fileName())
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	switch {
	case err != nil:
		return nil, unusable(o.Dir, "be written to", err)
	case !locked:
		return nil, fmt.Errorf("%w: %s: another host keeps its state for the backend %s, the namespace %s and the address %s in %s; "+
			"stop it, or give this host another address or another %s", core.ErrConflict, option, o.Backend, o.Namespace, o.Address, o.Dir, option)
	}
	j := &Journal{opt: o, path: path, lock: lock, kick: make(chan struct{}, 1)}
	j.left, err = o.read(path)
	if err != nil {
		j.putAside(err)
	}
	j.live = newLive(j.left)
	if err := j.rewrite(); err != nil {
		return nil, errors.Join(unusable(o.Dir, "be written to", err), lock.Close())
	}
	j.begin()
	return j, nil
}

func unusable(dir, what string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return &core.FieldError{Field: option, Allowed: fmt.Sprintf("the folder %s cannot %s (%v); name one that this user may write to", dir, what, err)}
}

// fileName is readable, and differs where the address differs.
func (o Options) fileName() string {
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, o.Backend+"-"+o.Namespace+"-"+o.Address)
	sum := sha256.Sum256([]byte(o.Backend + "\x00" + o.Namespace + "\x00" + o.Address))
	return readable[:min(len(readable), 100)] + "-" + hex.EncodeToString(sum[:4]) + ".state"
}

// putAside keeps a file that cannot be read for people to look at.
func (j *Journal) putAside(why error) {
	aside := j.path + ".unreadable-" + time.Now().UTC().Format("20060102T150405.000")
	kept := "it was put aside as " + aside
	if err := os.Rename(j.path, aside); err != nil {
		kept = "it could not be put aside: " + err.Error()
	}
	j.opt.Logger.Error("the state of an earlier run cannot be read; this host starts without it, and instances without heartbeats run out",
		slog.String("file", j.path), slog.Any("error", why), slog.String("kept", kept))
}

// Recall implements ports.Journal.
func (j *Journal) Recall() ports.Recalled { return j.left }
