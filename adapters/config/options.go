package config

// options.go: where a configuration comes from.

import (
	"os"
	"runtime"
)

// LoadOptions says where the configuration comes from. The zero value gives the defaults and
// reads whatever of ./config/service_discovery.yaml and ./prism.yaml exists.
type LoadOptions struct {
	// Files were named explicitly (--config) and must exist; later ones win. Without any,
	// PRISM_CONFIG names one, else the first that exists of the usual places is read.
	Files []string
	// Environment chooses the profile and wins over the variable and the files.
	Environment string
	// Env is the environment, as os.Environ gives it; nil is an empty one.
	Env []string
	// KnownVariables are names with the prefix PRISM_ that the program uses for other purposes.
	KnownVariables []string
	// Flags are values by dotted path: strings, bool, int, float64, time.Duration or []string. A
	// flag is named like the last part of its path: --http for server.http.
	Flags map[string]any
	// Set holds "key=value" as --set gives them; they win over Flags, the last over the others.
	Set []string
	// Insecure is --insecure, the same as server.insecure.
	Insecure bool
	// WorkDir is where relative names of files begin; "" is the process's own.
	WorkDir string
	// UserConfigDir and SystemConfigDir hold prism/prism.yaml; "" looks in none.
	UserConfigDir, SystemConfigDir string
	// Strategies are the balancing strategies that the program knows; nil is Strategies().
	Strategies []string
}

// ProcessOptions returns the options of this process: its environment and folders.
func ProcessOptions() LoadOptions {
	o := LoadOptions{Env: os.Environ(), SystemConfigDir: "/etc"}
	if runtime.GOOS == "windows" {
		o.SystemConfigDir = os.Getenv("ProgramData")
	}
	if dir, err := os.UserConfigDir(); err == nil {
		o.UserConfigDir = dir
	}
	return o
}
