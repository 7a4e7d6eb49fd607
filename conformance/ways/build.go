package ways

// build.go: the binary that Launched runs, built once for all tests of a package.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Build compiles the program of a package ("./cmd/prism-backend-toy", seen from the folder
// of the test) into a new folder, and returns its path and what removes the folder. For TestMain.
func Build(pkg string) (binary string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "prism-plugin-")
	if err != nil {
		return "", nil, fmt.Errorf("build %s: %w", pkg, err)
	}
	remove = func() { _ = os.RemoveAll(dir) } // it is under the system's own folder for such files
	binary = filepath.Join(dir, filepath.Base(pkg))
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", binary, pkg).CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return binary, remove, nil
}
