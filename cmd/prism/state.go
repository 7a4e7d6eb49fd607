package main

// state.go: where a host remembers, beyond its end, what others registered through it.

import (
	"cmp"
	"net"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/adapters/hoststate"
	"github.com/marketprism/prism/core/discovery"
)

// openState opens the state of a host that listens at an address where its restart will listen
// too: nobody else could ask for what is remembered.
func (h *host) openState(cfg config.Config) error {
	if h.http == nil || !lasts(cfg.Server.HTTP) {
		h.log.Debug("server.http has no lasting address, so that no state is kept in server.data_dir")
		return nil
	}
	standard, err := hoststate.DefaultDir()
	if err != nil && cfg.Server.DataDir == "" {
		return err
	}
	h.state, err = hoststate.Open(hoststate.Options{
		Dir: cmp.Or(cfg.Server.DataDir, standard), Backend: cfg.Backend, Namespace: cfg.Namespace(), Address: h.http.Addr().String(), Logger: h.log,
	})
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
