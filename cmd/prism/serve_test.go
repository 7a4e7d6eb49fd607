package main

// serve_test.go: what serve tells people.

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHintsCanBePasted(t *testing.T) {
	inPath := func(names ...string) func(string) (string, error) {
		return func(name string) (string, error) {
			for _, n := range names {
				if n == name {
					return "/usr/bin/" + n, nil
				}
			}
			return "", exec.ErrNotFound
		}
	}
	assert.Equal(t, "bin/prism", asTyped("bin/prism", inPath()))
	assert.Equal(t, "prism", asTyped("prism", inPath("prism")))
	assert.Equal(t, "prism", asTyped("/usr/bin/prism", inPath("prism")))
	assert.Equal(t, "./prism-dev", asTyped("./prism-dev", inPath("prism")))
}
