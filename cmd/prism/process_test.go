package main

// process_test.go: the program as a process, with the memory backend.

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/cmd/internal/programtest"
)

const patience = programtest.Patience

var binaries struct {
	once sync.Once
	dir  string
	programtest.Binaries
	err error
}

// built builds the program and its plugins once, and returns the folder of plugins.
func built(t *testing.T) string {
	t.Helper()
	binaries.once.Do(func() {
		if binaries.dir, binaries.err = os.MkdirTemp("", "prism-test-"); binaries.err == nil {
			binaries.Binaries, binaries.err = programtest.Build(context.Background(), binaries.dir, "memory")
		}
		if binaries.err == nil {
			binaries.err = programtest.GoBuild(context.Background(), filepath.Join(binaries.dir, "odd"), "./testdata/prism-backend-odd")
		}
	})
	require.NoError(t, binaries.err)
	return binaries.Plugins
}

// process is the program as it is run by people.
type process struct {
	*programtest.Process

	t *testing.T
}

// start runs the program with arguments; firstLine is its first line on standard output that
// begins with a prefix.
func start(t *testing.T, prefix string, args ...string) (p *process, firstLine string) {
	t.Helper()
	p = begin(t, args...)
	return p, p.Line(prefix)
}

// begin runs the program with arguments.
func begin(t *testing.T, args ...string) *process {
	t.Helper()
	built(t)
	return &process{binaries.Launch(t, args...), t}
}

// serve runs a host until it is ready.
func serve(t *testing.T, args ...string) *process {
	t.Helper()
	built(t)
	return &process{binaries.Serve(t, args...), t}
}

// prism carries out a command line against the host.
func (p *process) prism(args ...string) result {
	return invoke(p.t.Context(), "", append(args, "--address", p.Address)...)
}
