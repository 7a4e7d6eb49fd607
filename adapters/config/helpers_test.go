package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
)

// write puts a file into a fresh folder and returns its name.
func write(tb testing.TB, yaml string) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "prism.yaml")
	require.NoError(tb, os.WriteFile(name, []byte(yaml), 0o600))
	return name
}

// change adapts the options of one load.
type change func(*config.LoadOptions)

func env(list ...string) change {
	return func(o *config.LoadOptions) { o.Env = append(o.Env, list...) }
}

func set(list ...string) change {
	return func(o *config.LoadOptions) { o.Set = append(o.Set, list...) }
}

// try loads one file and nothing else of the machine.
func try(tb testing.TB, yaml string, changes ...change) (*config.Loaded, error) {
	tb.Helper()
	o := config.LoadOptions{Files: []string{write(tb, yaml)}}
	for _, c := range changes {
		c(&o)
	}
	return config.Load(o)
}

func load(tb testing.TB, yaml string, changes ...change) *config.Loaded {
	tb.Helper()
	l, err := try(tb, yaml, changes...)
	require.NoError(tb, err)
	return l
}

// fails loads a file that must be refused and returns the sentence.
func fails(tb testing.TB, yaml string, changes ...change) string {
	tb.Helper()
	_, err := try(tb, yaml, changes...)
	require.Error(tb, err)
	return err.Error()
}

// entryOf returns what is shown of a path.
func entryOf(tb testing.TB, l *config.Loaded, path string) config.Entry {
	tb.Helper()
	for _, e := range l.Show() {
		if e.Path == path {
			return e
		}
	}
	require.Fail(tb, "not shown", path)
	return config.Entry{}
}

// noticesOf returns the notices of a kind.
func noticesOf(l *config.Loaded, kind config.NoticeKind) []string {
	var out []string
	for _, n := range l.Notices {
		if n.Kind == kind {
			out = append(out, n.String())
		}
	}
	return out
}
