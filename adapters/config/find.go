package config

// find.go: which files are read, and reading one.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxFileBytes bounds a file, so that a device is not read for ever.
const maxFileBytes = 4 << 20

// files returns the files to read: those that were named, else PRISM_CONFIG's, else the
// first that exists of the usual places.
func (o LoadOptions) files(lookup func(string) (string, bool)) ([]string, error) {
	if len(o.Files) > 0 {
		out := make([]string, len(o.Files))
		for i, name := range o.Files {
			if name == "" {
				return nil, &Error{Source: Source{Layer: LayerFlag, Name: "--config"}, Err: sentenceError("it is empty; name a YAML file")}
			}
			out[i] = o.inWorkDir(name)
		}
		return out, nil
	}
	if name, _ := lookup(variableConfig); name != "" {
		return []string{o.inWorkDir(name)}, nil
	}
	places := []string{o.inWorkDir(filepath.Join("config", "service_discovery.yaml")), o.inWorkDir("prism.yaml")}
	for _, dir := range []string{o.UserConfigDir, o.SystemConfigDir} {
		if dir != "" {
			places = append(places, filepath.Join(dir, "prism", "prism.yaml"))
		}
	}
	for _, place := range places {
		if _, err := os.Stat(place); !absent(err) {
			return []string{place}, nil
		}
	}
	return nil, nil
}

// absent reports that there is no such file, be it because a part of its path is no folder.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func (o LoadOptions) inWorkDir(name string) string {
	if o.WorkDir == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(o.WorkDir, name)
}

// readFile reads a whole file; the error is one sentence that names it.
func readFile(name string) ([]byte, error) {
	fail := func(sentence string) error {
		return &Error{Source: Source{Layer: LayerFile, Name: name}, Err: sentenceError(sentence)}
	}
	info, err := os.Stat(name)
	switch {
	case absent(err):
		return nil, fail("there is no such file; name one that exists, or leave out --config and " + variableConfig)
	case err == nil && info.IsDir():
		return nil, fail("it is a folder; name a YAML file in it")
	case err != nil:
		return nil, fail("it cannot be read: " + reason(err))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fail("it cannot be read: " + reason(err))
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fail("it cannot be read: " + reason(err))
	}
	if len(b) > maxFileBytes {
		return nil, fail(fmt.Sprintf("it is larger than %d MiB; name a YAML file", maxFileBytes>>20))
	}
	return b, nil
}

// reason leaves out the file's name, which the sentence has already.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}
