package stores

// binary.go: where a server's binary comes from. A variable of the environment wins; else the
// pinned one, built once per pin and version of Go into the user's cache directory.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// goPackages are the programs that ../servers pins.
var goPackages = map[Kind]string{
	Consul: "github.com/hashicorp/consul",
	Etcd:   "go.etcd.io/etcd/server/v3",
	NATS:   "github.com/nats-io/nats-server/v2",
}

// Variable names the variable of the environment that overrides the binary of a store.
func Variable(kind Kind) string { return "PRISM_" + strings.ToUpper(string(kind)) + "_BIN" }

// Binary returns the path of a store's server, which it builds first if it has to. Many
// processes may ask at once: one builds and the others wait.
func Binary(ctx context.Context, kind Kind) (string, error) {
	if given := os.Getenv(Variable(kind)); given != "" {
		found, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("%s: %s is %q, which cannot be run: %w", kind, Variable(kind), given, err)
		}
		return found, nil
	}
	if kind == Redis {
		found, err := exec.LookPath("redis-server")
		if err != nil {
			return "", fmt.Errorf("redis-server is missing: run `apt-get install redis-server` or what your system has for it, or let %s name one: %w", Variable(kind), err)
		}
		return found, nil
	}
	if goPackages[kind] == "" {
		return "", fmt.Errorf("store %q is not known: it is one of %q", kind, Kinds())
	}
	pins, err := pinsDir()
	if err != nil {
		return "", fmt.Errorf("%s: %w", kind, err)
	}
	dir, err := cacheDir(pins)
	if err != nil {
		return "", fmt.Errorf("%s: %w", kind, err)
	}
	binary := filepath.Join(dir, string(kind)+exe())
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := build(ctx, kind, pins, binary); err != nil {
		return "", fmt.Errorf("build %s: %w", kind, err)
	}
	return binary, nil
}

// ownWords are what the servers answer to --version: "Valkey server v=8.0.1 sha=…", "Consul v1.22.7".
var ownWords = regexp.MustCompile(`(?m)^([A-Za-z-]+)(?: server)?(?: Version)?:? v?=?(\d+\.\S+)`)

// Version asks the store's binary which server it is: "Valkey 8.0.1".
func (c *Cluster) Version(ctx context.Context) (string, error) {
	said, err := exec.CommandContext(ctx, c.binary, "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w\n%s", c.binary, err, said)
	}
	words := ownWords.FindSubmatch(said)
	if words == nil {
		return "", fmt.Errorf("%s --version says %q, which names no version", c.binary, said)
	}
	return fmt.Sprintf("%s %s", words[1], words[2]), nil
}

// build makes a binary under a lock and moves it into place whole.
func build(ctx context.Context, kind Kind, pins, binary string) (err error) {
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return err
	}
	lock := flock.New(binary + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return fmt.Errorf("wait for another build, lock %s: %w", lock.Path(), err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if _, err := os.Stat(binary); err == nil {
		return nil // Whoever had the lock has built it.
	}
	fmt.Fprintf(os.Stderr, "prism: building %s for tests, once; Consul takes about six minutes on two cores\n", kind)
	out := binary + ".new" // Under the lock it is ours; what a killed build left is overwritten.
	cmd := exec.CommandContext(ctx, "go", "-C", pins, "build", "-ldflags=-s -w", "-o", out, goPackages[kind])
	// What the caller builds for, or with, is not what runs here.
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	cmd.SysProcAttr = attributes() // A build does not outlive who waits for it, and so needs its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s in %s: %w\n%s", goPackages[kind], pins, err, output)
	}
	return os.Rename(out, binary)
}

// cacheDir is named by all that decides what is built.
func cacheDir(pins string) (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for built servers: %w", err)
	}
	versions, err := os.ReadFile(filepath.Join(pins, "go.sum"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Append(versions, runtime.Version(), runtime.GOOS, runtime.GOARCH))
	return filepath.Join(user, "prism", "servers", hex.EncodeToString(sum[:8])), nil
}

// pinsDir finds tools/servers above the working directory, which in a test is its package's.
func pinsDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for from := dir; ; dir = filepath.Dir(dir) {
		pins := filepath.Join(dir, "tools", "servers")
		_, err := os.Stat(filepath.Join(pins, "go.mod"))
		switch {
		case err == nil:
			return pins, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case dir == filepath.Dir(dir):
			return "", fmt.Errorf("tools/servers is not above %s: run within Prism's repository, or name a binary (%s and the like)", from, Variable(Etcd))
		}
	}
}

func exe() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}
