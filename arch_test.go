package prism_test

// arch_test.go: the rooms of this repository, and what each may import. Dependencies point one
// way: core ← ports ← core/* ← adapters/* ← the root package and adapters/inbound/* ← cmd.
//
// A package that stands in no room fails the test, and so does a room, an allowance, a ban or
// an exemption that nothing in the repository matches any more: a table that may rot guards
// nothing.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const modulePath = "github.com/marketprism/prism"

// A room is a package, or with "/..." a tree of packages, below the module path.
type room struct {
	path string
	// uses lists the rooms that it may import, by the same notation; a room may always use its
	// own tree. inTests lists those that its tests may use besides.
	uses, inTests []string
}

var rooms = []room{
	{path: "core"},
	{path: "ports", uses: []string{"core"}},

	// The core's rooms know the model, the ports and, where said, each other.
	{path: "core/balance", uses: []string{"core"}},
	{path: "core/events", uses: []string{"core"}},
	{path: "core/health", uses: []string{"core", "ports"}},
	{path: "core/registry", uses: []string{"core", "ports", "core/health"}, inTests: []string{"plugins/memory"}},
	{
		path:    "core/discovery",
		uses:    []string{"core", "ports", "core/balance", "core/events", "core/health", "core/registry"},
		inTests: []string{"plugins/memory"},
	},

	// Adapters know the core and, where said, each other; never a backend.
	{path: "adapters/backendkit", uses: []string{"core", "ports"}},
	{path: "adapters/pluginrpc/...", uses: []string{"core", "ports"}, inTests: []string{"conformance", "plugins/memory", "adapters/telemetry"}},
	{path: "adapters/pluginhost", uses: []string{"core", "ports", "adapters/pluginrpc/..."}, inTests: []string{"conformance", "plugins/memory"}},
	{path: "adapters/hoststate", uses: []string{"core", "ports", "adapters/backendkit"}},
	{path: "adapters/probe", uses: []string{"core", "ports"}},
	{path: "adapters/telemetry", uses: []string{"core", "ports", "core/discovery"}, inTests: []string{"plugins/memory"}},
	{path: "adapters/config", uses: []string{"core", "ports", "adapters/pluginrpc"}},
	{path: "adapters/client/...", uses: []string{"core", "ports", "core/discovery"}},

	// The host's ways in translate and call the facade.
	{path: "adapters/inbound/httpapi", uses: []string{"core", "ports", "core/discovery", "adapters/client/problem"}, inTests: []string{"plugins/memory", "adapters/client/..."}},
	{path: "adapters/inbound/grpcapi/...", uses: []string{"core", "ports", "core/discovery"}, inTests: []string{"plugins/memory"}},

	// A backend sees what a third party's could see.
	{path: "plugins/memory", uses: []string{"core", "ports", "adapters/backendkit"}, inTests: []string{"conformance", "conformance/backendtest", "conformance/ways", "adapters/pluginrpc"}},
	{path: "plugins/memory/cmd/prism-backend-memory", uses: []string{"ports", "adapters/pluginrpc", "plugins/memory"}},
	{
		path: "plugins/etcd", uses: []string{"core", "ports", "adapters/backendkit", "adapters/pluginrpc"},
		inTests: []string{"conformance", "conformance/backendtest", "conformance/ways", "tools/stores"},
	},
	{path: "plugins/etcd/cmd/prism-backend-etcd", uses: []string{"adapters/pluginrpc", "plugins/etcd"}},
	{
		path: "plugins/nats", uses: []string{"core", "ports", "adapters/backendkit", "adapters/pluginrpc"},
		inTests: []string{"conformance", "conformance/backendtest", "conformance/ways", "tools/stores"},
	},
	{path: "plugins/nats/cmd/prism-backend-nats", uses: []string{"adapters/pluginrpc", "plugins/nats"}},
	{
		path: "plugins/consul", uses: []string{"core", "ports", "adapters/backendkit", "adapters/pluginrpc"},
		inTests: []string{"conformance", "conformance/backendtest", "conformance/ways", "tools/stores"},
	},
	{path: "plugins/consul/cmd/prism-backend-consul", uses: []string{"adapters/pluginrpc", "plugins/consul"}},
	{
		path: "plugins/redis", uses: []string{"core", "ports", "adapters/backendkit", "adapters/pluginrpc"},
		inTests: []string{"conformance", "conformance/backendtest", "conformance/ways", "tools/stores"},
	},
	{path: "plugins/redis/cmd/prism-backend-redis", uses: []string{"adapters/pluginrpc", "plugins/redis"}},
	{path: "conformance", uses: []string{"core", "ports", "core/discovery"}, inTests: []string{"plugins/memory"}},
	{path: "conformance/cmd/conformance-table", uses: []string{"conformance"}},
	{path: "conformance/backendtest", uses: []string{"core", "ports", "conformance/ways"}, inTests: []string{"plugins/memory"}},
	{path: "conformance/ways", uses: []string{"core", "ports", "conformance", "adapters/pluginrpc/...", "adapters/pluginhost"}},

	// The front door and the program wire everything; the programs around them use it.
	{path: "", uses: []string{"core", "core/discovery", "ports", "adapters/config", "adapters/pluginhost", "adapters/probe", "adapters/telemetry", "plugins/memory"}, inTests: []string{"adapters/pluginrpc"}},
	{
		path: "cmd/prism", uses: []string{"", "core", "core/discovery", "ports", "adapters/...", "conformance/..."},
		inTests: []string{"cmd/internal/programtest", "tools/stores", "plugins/memory"},
	},
	{path: "cmd/internal/programtest", uses: []string{"adapters/client/..."}},
	{path: "cmd/e2e", inTests: []string{"", "core", "core/discovery", "adapters/client/...", "cmd/internal/programtest", "conformance/backendtest", "tools/stores"}},
	{path: "cmd/e2e/cmd/endure", uses: []string{"core", "core/discovery", "adapters/client/...", "tools/stores"}, inTests: []string{"cmd/internal/programtest"}},
	{path: "examples/...", uses: []string{"", "core", "core/discovery", "ports", "adapters/...", "plugins/memory"}},
	{
		path: "bench/...", uses: []string{"", "core", "core/balance", "core/discovery", "ports", "adapters/...", "plugins/memory"},
		inTests: []string{"tools/stores"},
	},

	// Real servers for tests: processes, of which no library of ours knows. A backend's tests get
	// "tools/stores" among their inTests.
	{path: "tools/stores"},
	{path: "tools/stores/cmd/stores", uses: []string{"tools/stores"}},
}

// A ban keeps packages that are not ours out of rooms, directly and through others.
type ban struct {
	in     []string // rooms
	not    []string // prefixes of import paths
	reason string
}

var bans = []ban{
	{
		in: []string{"core", "ports", "core/balance", "core/discovery", "core/events", "core/health", "core/registry"},
		not: []string{
			"google.golang.org/protobuf", "google.golang.org/grpc", "go.opentelemetry.io/otel",
			"github.com/knadh/koanf", "go.yaml.in/yaml", "github.com/hashicorp/go-plugin",
		},
		reason: "the core knows no wire format, no telemetry, no configuration file and no process: those are adapters",
	},
	{
		in:     []string{"", "adapters/client/...", "adapters/config", "adapters/pluginhost", "adapters/pluginrpc/...", "adapters/probe", "adapters/telemetry", "plugins/memory", "plugins/memory/cmd/prism-backend-memory"},
		not:    []string{"github.com/spf13/cobra", "github.com/danielgtaylor/huma", "go.opentelemetry.io/otel/sdk", "github.com/prometheus"},
		reason: "who embeds Prism compiles no command line, no web framework and no telemetry SDK: he has his own",
	},
	{
		in:     []string{"core", "core/discovery", "adapters/...", "conformance", "plugins/...", "", "cmd/prism", "examples/..."},
		not:    []string{"github.com/go-kratos/kratos"},
		reason: "a peer that Prism is measured against belongs to bench alone",
	},
}

// onlyThirdParty is all that the model and the ports may use beyond the standard library.
var onlyThirdParty = map[string][]string{
	"core":  {"github.com/expr-lang/expr"}, // The filter language; it has no dependencies itself.
	"ports": {"github.com/expr-lang/expr"}, // By way of core.
}

// maxLines is where a file has to be questioned: is it one thing, or two?
const maxLines = 400

// longFiles passed that question, each for the reason given.
var longFiles = map[string]string{}

// A goPackage is what `go list` says of one package of the workspace.
type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

func TestEachPackageStandsInOneRoom(t *testing.T) {
	t.Parallel()
	packages, err := workspace()
	require.NoError(t, err)
	found := map[string]bool{}
	for _, p := range packages {
		in := roomsOf(p.ImportPath)
		if assert.Len(t, in, 1, "%s must stand in exactly one room of the table in arch_test.go", p.ImportPath) {
			found[in[0].path] = true
		}
	}
	for _, r := range rooms {
		assert.True(t, found[r.path], "the table in arch_test.go has a room %q, and no package stands there", r.path)
	}
}

func TestDependenciesPointOneWay(t *testing.T) {
	t.Parallel()
	packages, err := workspace()
	require.NoError(t, err)
	for _, p := range packages {
		in := roomsOf(p.ImportPath)
		if len(in) != 1 {
			continue // TestEachPackageStandsInOneRoom says so.
		}
		r := in[0]
		for _, imported := range p.Imports {
			assert.True(t, r.mayUse(imported, r.uses), "%s imports %s: arch_test.go allows its room only %q", p.ImportPath, imported, r.uses)
		}
		allowed := slices.Concat(r.uses, r.inTests)
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			assert.True(t, r.mayUse(imported, allowed), "a test of %s imports %s: arch_test.go allows it only %q", p.ImportPath, imported, allowed)
		}
	}
	known := importPaths(packages)
	for _, r := range rooms {
		for _, used := range slices.Concat(r.uses, r.inTests) {
			assert.True(t, slices.ContainsFunc(known, func(path string) bool { return matches(used, path) }),
				"the room %q may use %q, and no such package exists any more", r.path, used)
		}
	}
}

func TestBannedPackagesStayOut(t *testing.T) {
	t.Parallel()
	packages, err := workspace()
	require.NoError(t, err)
	everything := importPaths(packages)
	for _, p := range packages {
		everything = slices.Concat(everything, p.Deps, p.TestImports, p.XTestImports)
	}
	for _, b := range bans {
		for _, p := range packages {
			if !slices.ContainsFunc(b.in, func(in string) bool { return matches(in, p.ImportPath) }) {
				continue
			}
			for _, banned := range b.not {
				assert.False(t, slices.ContainsFunc(p.Deps, under(banned)), "%s depends on %s, by itself or through another: %s", p.ImportPath, banned, b.reason)
			}
		}
		for _, in := range b.in {
			assert.True(t, slices.ContainsFunc(everything, func(path string) bool { return matches(in, path) }),
				"a ban names the room %q, and no package stands there any more", in)
		}
		for _, banned := range b.not {
			assert.True(t, slices.ContainsFunc(everything, under(banned)),
				"%s is banned somewhere, and nothing in the workspace uses it any more: is it spelt right, is the ban still of use?", banned)
		}
	}
}

func TestTheModelHasOneDependency(t *testing.T) {
	t.Parallel()
	packages, err := workspace()
	require.NoError(t, err)
	checked := 0
	for _, p := range packages {
		allowed, limited := onlyThirdParty[strings.TrimPrefix(p.ImportPath, modulePath+"/")]
		if !limited {
			continue
		}
		checked++
		others := slices.DeleteFunc(slices.Clone(p.Deps), func(dep string) bool {
			first, _, _ := strings.Cut(dep, "/")
			standard := !strings.Contains(first, ".")
			return standard || ours(dep) || slices.ContainsFunc(allowed, func(prefix string) bool { return under(prefix)(dep) })
		})
		assert.Empty(t, others, "%s may depend on nothing but the standard library and %q", p.ImportPath, allowed)
	}
	assert.Equal(t, len(onlyThirdParty), checked, "onlyThirdParty in arch_test.go names a package that exists no more")
}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	generated := regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
	long := map[string]int{}
	for path, source := range goFiles(t) {
		lines := bytes.Count(source, []byte("\n"))
		if lines > maxLines && !strings.HasSuffix(path, "_test.go") && !generated.Match(source) {
			long[path] = lines
		}
	}
	for path, lines := range long {
		assert.NotEmpty(t, longFiles[path], "%s has %d lines: split it, or give a reason in longFiles", path, lines)
	}
	for path := range longFiles {
		assert.Contains(t, long, path, "longFiles exempts a file that is not long or not there any more")
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	t.Parallel()
	sleep := []byte("time." + "Sleep(")
	for path, source := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") && bytes.Contains(source, sleep) {
			assert.Contains(t, string(source), `"testing/synctest"`,
				"%s sleeps in real time: wait for the event, or let synctest's time pass", path)
		}
	}
}

// goFiles reads the Go files of all modules by their slash-separated path. That this test
// reads them itself tells `go test` that its result depends on them, and not only on the
// package that it stands in.
func goFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (d.Name() == "bin" || d.Name()[0] == '.'):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		source, err := os.ReadFile(path)
		files[filepath.ToSlash(path)] = source
		return err
	}))
	return files
}

// mayUse reports whether the room may import a package, given the rooms that it may use.
func (r room) mayUse(imported string, uses []string) bool {
	if !ours(imported) || matches(r.path, imported) {
		return true
	}
	return slices.ContainsFunc(uses, func(used string) bool { return matches(used, imported) })
}

// matches reports whether a package stands in the room named by path.
func matches(path, importPath string) bool {
	if tree, ok := strings.CutSuffix(path, "/..."); ok {
		return under(modulePath + "/" + tree)(importPath)
	}
	return importPath == strings.TrimSuffix(modulePath+"/"+path, "/")
}

func roomsOf(importPath string) []room {
	var in []room
	for _, r := range rooms {
		if matches(r.path, importPath) {
			in = append(in, r)
		}
	}
	return in
}

func ours(importPath string) bool { return under(modulePath)(importPath) }

// under returns a test for whether an import path is prefix or lies below it.
func under(prefix string) func(importPath string) bool {
	return func(importPath string) bool {
		return importPath == prefix || strings.HasPrefix(importPath, prefix+"/")
	}
}

func importPaths(packages []goPackage) []string {
	paths := make([]string, 0, len(packages))
	for _, p := range packages {
		paths = append(paths, p.ImportPath)
	}
	return paths
}

// workspace lists the packages of all modules of the workspace, with what they import on any of
// the platforms that Prism is built for.
var workspace = sync.OnceValues(func() ([]goPackage, error) {
	byPath := map[string]goPackage{}
	for _, goos := range []string{"darwin", "linux", "windows"} {
		packages, err := goList(goos)
		if err != nil {
			return nil, err
		}
		for _, p := range packages {
			known := byPath[p.ImportPath]
			byPath[p.ImportPath] = goPackage{
				ImportPath:   p.ImportPath,
				Imports:      union(known.Imports, p.Imports),
				TestImports:  union(known.TestImports, p.TestImports),
				XTestImports: union(known.XTestImports, p.XTestImports),
				Deps:         union(known.Deps, p.Deps),
			}
		}
	}
	return slices.SortedFunc(maps.Values(byPath), func(a, b goPackage) int { return strings.Compare(a.ImportPath, b.ImportPath) }), nil
})

func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

func goList(goos string) ([]goPackage, error) {
	work, err := filepath.Abs("go.work")
	if err != nil {
		return nil, err
	}
	list := exec.CommandContext(context.Background(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "work")
	list.Env = append(os.Environ(), "GOWORK="+work, "GOOS="+goos, "CGO_ENABLED=0")
	out, err := list.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("go list for %s: %w: %s", goos, err, exit.Stderr)
	} else if err != nil {
		return nil, fmt.Errorf("go list for %s: %w", goos, err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list for %s: %w", goos, err)
		}
		packages = append(packages, p)
	}
	return packages, nil
}
