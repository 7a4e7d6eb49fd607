package prism

// default.go: one client for programs that need no more, made at its first use.

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/marketprism/prism/core"
)

// shared is what the package's functions use. Turn is held (it has room for one) by whoever
// opens or closes the client, so that uses at the same time get the one that is ready; who
// waits for it gives up when its context ends.
type shared struct {
	client atomic.Pointer[Client]
	turn   chan struct{}

	mu  sync.Mutex // guards cfg
	cfg *Config    // what the client is, or will be, opened with; nil: the usual file decides
}

var standard = shared{turn: make(chan struct{}, 1)}

// Configure says what the default client is opened with at its first use. Without it, that is
// the configuration of the usual places and the environment (see Load). A Config that differs
// from the one in force is refused with ErrConflict; Shutdown ends what is in force.
func Configure(cfg Config) error { return standard.configure(cfg) }

// Default returns the default client, and opens it at its first use. Uses at the same time get
// the same client, once it is ready; when it could not be opened the next use tries again.
// Errors are those of Load and Open. End it with Shutdown.
func Default(ctx context.Context) (*Client, error) { return standard.get(ctx) }

// Shutdown closes the default client, if there is one, as Client.Close does, and forgets its
// configuration; the next use opens another.
func Shutdown(ctx context.Context) error { return standard.shutdown(ctx) }

// Register registers an instance of this process with the default client, which keeps it
// alive until Close of the Registration or Shutdown. Errors: ErrInvalid (a FieldError),
// ErrConflict, ErrUnavailable, and those of Default.
func Register(ctx context.Context, spec Spec) (*Registration, error) {
	c, err := Default(ctx)
	if err != nil {
		return nil, err
	}
	return c.Register(ctx, spec)
}

// Discover lists the instances of a service, whatever their status; one without instances is
// empty, not an error.
func Discover(ctx context.Context, service string) ([]Instance, error) {
	c, err := Default(ctx)
	if err != nil {
		return nil, err
	}
	instances, _, err := c.Instances(ctx, service, Query{})
	return instances, err
}

// URL picks an instance that may receive traffic and returns its scheme://host:port. Errors:
// ErrNotFound (no such service), ErrNoEligible, ErrUnavailable.
func URL(ctx context.Context, service string) (string, error) {
	c, err := Default(ctx)
	if err != nil {
		return "", err
	}
	return c.URL(ctx, service, PickOptions{})
}

// Wait returns the instances of a service that may receive traffic as soon as there is one.
// When the deadline of ctx passes first the error is ErrNoEligible.
func Wait(ctx context.Context, service string) ([]Instance, error) {
	c, err := Default(ctx)
	if err != nil {
		return nil, err
	}
	instances, satisfied, err := c.Wait(ctx, service, 1, Query{})
	if err == nil && !satisfied {
		err = fmt.Errorf("%w: service %s had none until the deadline", ErrNoEligible, service)
	}
	return instances, err
}

func (s *shared) configure(cfg Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg == nil {
		s.cfg = &cfg
		return nil
	}
	if !reflect.DeepEqual(*s.cfg, cfg) {
		return &core.FieldError{
			Field: "prism.Configure", Kind: core.ErrConflict,
			Allowed: "the default client is configured differently already; configure it once, before its first use, or call Shutdown first",
		}
	}
	return nil
}

func (s *shared) get(ctx context.Context) (*Client, error) {
	if c := s.client.Load(); c != nil {
		return c, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the default client: %w", ctx.Err())
	}
	if c := s.client.Load(); c != nil {
		return c, nil
	}
	cfg, configured, err := s.config()
	if err != nil {
		return nil, err
	}
	c, err := Open(ctx, cfg)
	if err != nil {
		if !configured {
			s.forget() // another file, another variable: the next use looks again
		}
		return nil, err
	}
	s.client.Store(c)
	return c, nil
}

// config returns what to open, and whether the program said so. From then on it is in force.
func (s *shared) config() (cfg Config, configured bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg != nil {
		return *s.cfg, true, nil
	}
	cfg, err = Load("")
	if err == nil {
		s.cfg = &cfg
	}
	return cfg, false, err
}

func (s *shared) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg = nil
}

func (s *shared) shutdown(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("shut the default client down: %w", ctx.Err())
	}
	c := s.client.Swap(nil)
	s.forget()
	if c == nil {
		return nil
	}
	return c.Close(ctx)
}
