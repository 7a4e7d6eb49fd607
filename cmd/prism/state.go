package main

// state.go: where a host remembers, beyond its end, what others registered through it.

import (
	"errors"
	"log/slog"
	"net"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/adapters/hoststate"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// openState opens the state of a host that listens at an address where its restart will listen
// too: nobody else could ask for what is remembered. Where nobody chose the folder, as in a
// container without one that can be written to, the host does without.
func (h *host) openState(cfg config.Config) error {
	if h.http == nil || !lasts(cfg.Server.HTTP) {
		h.log.Debug("server.http has no lasting address, so that no state is kept in server.data_dir")
		return nil
	}
	var err error
	dir := cfg.Server.DataDir
	if dir == "" {
		dir, err = hoststate.DefaultDir()
	}
	if err == nil {
		h.state, err = hoststate.Open(hoststate.Options{
			Dir: dir, Backend: cfg.Backend, Namespace: cfg.Namespace(), Address: h.http.Addr().String(), Logger: h.log,
		})
	}
	if cfg.Server.DataDir == "" && errors.Is(err, core.ErrInvalid) {
		h.log.Warn("no state is kept: a restart of this host loses instances without heartbeats", slog.Any("error", err))
		return nil
	}
	return err
}

// lasts reports whether an address has a port of its own, rather than any that is free.
func lasts(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port != "0"
}

// journal hands the state to the client, where there is one.
func (h *host) journal(opts []discovery.Option) []discovery.Option {
	if h.state == nil {
		return opts
	}
	return append(opts, discovery.WithJournal(h.state))
}
