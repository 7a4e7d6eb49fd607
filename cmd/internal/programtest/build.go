// Package programtest runs the program as people do, for tests: it builds it and its plugins,
// starts it, waits for what it says, and ends it by its own process id.
package programtest

// build.go: the program and its plugins, as executables.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const module = "github.com/marketprism/prism"

// Binaries are executables in folders of their own.
type Binaries struct {
	Program string // the executable
	Plugins string // the folder of prism-backend-NAME
}

// Build builds the program into dir, and the plugins of backends into its folder plugins, where
// the program finds them by itself. It needs the workspace.
func Build(ctx context.Context, dir string, backends ...string) (Binaries, error) {
	b := Binaries{Program: filepath.Join(dir, "prism"), Plugins: filepath.Join(dir, "plugins")}
	if err := GoBuild(ctx, dir, module+"/cmd/prism"); err != nil {
		return b, err
	}
	packages := make([]string, len(backends))
	for i, name := range backends {
		packages[i] = module + "/plugins/" + name + "/cmd/prism-backend-" + name
	}
	return b, GoBuild(ctx, b.Plugins, packages...)
}

// GoBuild builds packages into dir, which it makes.
func GoBuild(ctx context.Context, dir string, packages ...string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v: %w: %s", packages, err, out)
	}
	return nil
}
