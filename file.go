package prism

// file.go: the configuration that a host would use, for an embedded client.

import (
	"context"
	"log/slog"

	"github.com/marketprism/prism/adapters/config"
)

// Load reads the configuration as "prism serve" does: the file, or where path is "" the one
// that PRISM_CONFIG names or the first of the usual places, with the environment over it. What
// has no effect, and variables that name no key, are logged as warnings to slog.Default(). The
// result may be changed before it is opened. Errors name file, line and key and wrap
// ErrInvalid.
//
// Sections that are about a host (server, security, logging, monitoring) mean nothing to an
// embedded client, and services with an address are a host's to register.
func Load(path string) (Config, error) {
	o := config.ProcessOptions()
	if path != "" {
		o.Files = []string{path}
	}
	loaded, err := config.Load(o)
	if err != nil {
		return Config{}, err
	}
	c := ConfigOf(loaded)
	for _, n := range loaded.Notices {
		c.logger().Warn("configuration", slog.String("notice", n.String()))
	}
	return c, nil
}

// FromFile is Load and Open.
func FromFile(ctx context.Context, path string) (*Client, error) {
	cfg, err := Load(path)
	if err != nil {
		return nil, err
	}
	return Open(ctx, cfg)
}
