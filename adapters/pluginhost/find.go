package pluginhost

// find.go: where the binaries of plugins are.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// binaryPrefix begins the file name of every backend plugin.
	binaryPrefix = "prism-backend-"
	// dirVariable names the environment variable that holds more folders of plugins.
	dirVariable = "PRISM_PLUGIN_DIR"
)

// Found is one plugin binary.
type Found struct {
	Name string // "etcd"
	Path string
	// Shadowed: another binary of this name is found before this one.
	Shadowed bool
	// Problem says why the file cannot be run; empty when nothing speaks against it.
	Problem string
}

// Find returns the absolute path of the plugin's binary, prism-backend-NAME (with .exe on
// Windows). The file, when one is given, is the answer or an error; else the folders in dirs,
// those in PRISM_PLUGIN_DIR, and plugins/ beside the executable are looked at in this order.
// Errors: ports.ErrInvalid for a bad name or a file that cannot be run, ports.ErrNotFound
// when no folder has it, with the places that were looked at and how to build it.
func Find(name, file string, dirs []string) (string, error) {
	if file != "" {
		path, err := filepath.Abs(file)
		if err != nil {
			return "", core.Invalid("plugin.file", file, "it must be a path to a plugin's binary: "+err.Error())
		}
		return path, checkBinary(path)
	}
	if !nameForm.MatchString(name) {
		return "", badName(name)
	}
	var looked []string
	for _, dir := range searchDirs(dirs) {
		path := filepath.Join(dir, binaryPrefix+name+executableSuffix())
		err := checkBinary(path)
		if err == nil {
			return path, nil
		}
		if errors.Is(err, ports.ErrNotFound) {
			looked = append(looked, dir)
		} else {
			looked = append(looked, err.Error())
		}
	}
	return "", notFound(name, looked)
}

func notFound(name string, looked []string) error {
	where := "no folder of plugins is set"
	if len(looked) > 0 {
		where = "looked in " + strings.Join(looked, ", ")
	}
	binary := binaryPrefix + name
	return fmt.Errorf("plugin %q is not here (%s): build it, for example with `go build -o plugins/%s ./plugins/%s/cmd/%s`, "+
		"or name its folder in plugin.dirs or %s: %w",
		name, where, binary, name, binary, dirVariable, ports.ErrNotFound)
}

// List returns every plugin binary in the folders that Find looks at, in that order. Folders
// that do not exist are passed over.
func List(dirs []string) []Found {
	var all []Found
	seen := map[string]bool{}
	for _, dir := range searchDirs(dirs) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			name, ok := backendName(entry.Name())
			if !ok {
				continue
			}
			f := Found{Name: name, Path: filepath.Join(dir, entry.Name())}
			if err := checkBinary(f.Path); err != nil {
				f.Problem = err.Error()
			} else {
				f.Shadowed = seen[name]
				seen[name] = true
			}
			all = append(all, f)
		}
	}
	return all
}

// backendName returns NAME of prism-backend-NAME(.exe).
func backendName(file string) (string, bool) {
	name, ok := strings.CutPrefix(file, binaryPrefix)
	if !ok {
		return "", false
	}
	if suffix := executableSuffix(); suffix != "" {
		if name, ok = strings.CutSuffix(name, suffix); !ok {
			return "", false
		}
	}
	return name, nameForm.MatchString(name)
}

// searchDirs returns the folders to look in, absolute and each once.
func searchDirs(dirs []string) []string {
	candidates := append([]string(nil), dirs...)
	candidates = append(candidates, filepath.SplitList(os.Getenv(dirVariable))...)
	if exe, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Join(filepath.Dir(exe), "plugins"))
		if target, err := filepath.EvalSymlinks(exe); err == nil {
			candidates = append(candidates, filepath.Join(filepath.Dir(target), "plugins"))
		}
	}
	var out []string
	seen := map[string]bool{}
	for _, dir := range candidates {
		abs, err := filepath.Abs(dir)
		if dir == "" || err != nil || seen[abs] {
			continue
		}
		seen[abs] = true
		out = append(out, abs)
	}
	return out
}

// checkBinary says in one sentence why path cannot be a plugin's binary.
func checkBinary(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fileError(ports.ErrNotFound, "there is no file %s", path)
	case err != nil:
		return fileError(ports.ErrInvalid, "%v", err)
	case info.IsDir():
		return fileError(ports.ErrInvalid, "%s is a folder; name the binary in it, or put the folder into plugin.dirs", path)
	case !info.Mode().IsRegular():
		return fileError(ports.ErrInvalid, "%s is not a regular file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o111 == 0:
		return fileError(ports.ErrInvalid, "%s is not executable; run `chmod +x` on it", path)
	}
	return nil
}

// fileError is about the plugin's binary.
func fileError(kind error, format string, args ...any) error {
	return &core.FieldError{Field: "plugin.file", Allowed: fmt.Sprintf(format, args...), Kind: kind}
}

func executableSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}
