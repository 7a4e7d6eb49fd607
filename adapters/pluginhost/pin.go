package pluginhost

// pin.go: a plugin pinned by SHA-256. Between the check of a path and its execution another
// file may be put there, so what is executed must be what was hashed: on Linux the very
// open file; elsewhere the path, compared with the open file just before.

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/marketprism/prism/ports"
)

// Digest returns the SHA-256 of a binary as hex digits, as Launch.SHA256 takes it.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fileError(ports.ErrInvalid, "%v", err)
	}
	defer func() { _ = f.Close() }()
	sum, err := digest(f)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum), nil
}

func digest(f *os.File) ([]byte, error) {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, fileError(ports.ErrInvalid, "%s cannot be read: %v", f.Name(), err)
	}
	return h.Sum(nil), nil
}

// openPinned opens path and hashes what it opened. The caller executes that file (pinnedCommand)
// and closes it. A file that was written to meanwhile is refused too.
func openPinned(path, want string) (*os.File, error) {
	wanted, err := hex.DecodeString(want)
	if err != nil {
		return nil, fmt.Errorf("plugin.sha256: %w: %w", err, ports.ErrInvalid)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(ports.ErrInvalid, "%v", err)
	}
	got, err := digest(f)
	if err == nil && subtle.ConstantTimeCompare(got, wanted) != 1 {
		err = fmt.Errorf("plugin.sha256: %s has the digest %x, not %x: it is not the file that was pinned and is not run; "+
			"if it was replaced on purpose, pin the new digest: %w", path, got, wanted, ports.ErrPermission)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
