package main

// own.go: the services of the configuration that have an address. The host registers them,
// keeps them registered, and takes them away when it leaves.

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// ownServices brings what is registered into line with what is wanted. One goroutine does so.
type ownServices struct {
	client *discovery.Client
	log    *slog.Logger

	wanted chan map[string]core.Spec // the latest wish; holds one
	cancel context.CancelFunc
	done   chan struct{}

	held map[string]*ownService // of the goroutine
}

// ownService is one service as it is registered. It stays listed when it was lost, so that the
// host does not fight back.
type ownService struct {
	spec core.Spec
	reg  *discovery.Registration
	// leaving is set when it was not wanted any more, or not there, and the store did not say
	// whether it went.
	leaving bool
}

// registrationsOf is what a configuration wants registered.
func registrationsOf(cfg config.Config) []core.Spec {
	if !cfg.AutoRegister {
		return nil
	}
	return cfg.Registrations()
}

func startOwnServices(client *discovery.Client, specs []core.Spec, log *slog.Logger) *ownServices {
	ctx, cancel := context.WithCancel(context.Background())
	o := &ownServices{
		client: client, log: log, cancel: cancel, wanted: make(chan map[string]core.Spec, 1),
		done: make(chan struct{}), held: map[string]*ownService{},
	}
	o.want(specs)
	go o.run(ctx)
	return o
}

// want replaces what is wanted. It has one caller at a time.
func (o *ownServices) want(specs []core.Spec) {
	wish := make(map[string]core.Spec, len(specs))
	for _, s := range specs {
		wish[s.Service] = s
	}
	select {
	case <-o.wanted: // nobody has looked at it yet
	default:
	}
	o.wanted <- wish
}

// close ends the goroutine. What is registered stays so until the client closes.
func (o *ownServices) close() {
	o.cancel()
	<-o.done
}

func (o *ownServices) run(ctx context.Context) {
	defer close(o.done)
	var wish map[string]core.Spec
	pause := firstPause
	again := time.NewTimer(0)
	defer again.Stop()
	again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case wish = <-o.wanted:
			pause = firstPause
		case <-again.C:
			pause = min(2*pause, longestPause)
		}
		if !o.align(ctx, wish) {
			again.Reset(pause)
		}
	}
}

// align does what it can; false when something should be tried again.
func (o *ownServices) align(ctx context.Context, wish map[string]core.Spec) bool {
	settled := true
	for _, name := range slices.Sorted(maps.Keys(o.held)) {
		if _, wanted := wish[name]; !wanted {
			err := o.held[name].reg.Close(ctx)
			settled = o.check(o.held[name].spec, "deregister", err) && settled
			if o.held[name].leaving = err != nil; err == nil {
				delete(o.held, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wish)) {
		spec, held := wish[name], o.held[name]
		switch {
		case held == nil, held.leaving && !spec.CreateOnly && samePlace(held.spec, spec): // what did not go is taken over
			settled = o.check(spec, "register", o.register(ctx, spec)) && settled
		case held.leaving, !reflect.DeepEqual(held.spec, spec):
			settled = o.check(spec, "update", o.update(ctx, held, spec)) && settled
		}
	}
	return settled
}

func (o *ownServices) register(ctx context.Context, spec core.Spec) error {
	reg, err := o.client.Register(ctx, spec)
	if err != nil {
		return err
	}
	o.held[spec.Service] = &ownService{spec: spec, reg: reg}
	in := reg.Instance()
	o.log.Info("a configured service is registered", slog.String("service", in.Service), slog.String("id", in.ID),
		slog.String("url", in.BaseURL()), slog.Any("warnings", reg.Warnings()))
	return nil
}

// update changes what is described; another id or place needs another registration.
func (o *ownServices) update(ctx context.Context, held *ownService, spec core.Spec) error {
	if !held.leaving && samePlace(held.spec, spec) && held.reg.Err() == nil {
		if err := held.reg.Update(ctx, spec); err != nil {
			return err
		}
		held.spec = spec
		return nil
	}
	held.leaving = true
	if err := held.reg.Close(ctx); err != nil {
		return err
	}
	delete(o.held, spec.Service)
	return o.register(ctx, spec)
}

// samePlace reports whether two descriptions are of one instance.
func samePlace(a, b core.Spec) bool { return a.ID == b.ID && a.Host == b.Host && a.Port == b.Port }

// check logs what failed; false when trying again may help. What create_only waits for may go: as
// a rule it is what this host itself left behind when it was killed.
func (o *ownServices) check(spec core.Spec, what string, err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, core.ErrClosed) {
		return true
	}
	hopeless := errors.Is(err, core.ErrInvalid) || errors.Is(err, core.ErrTooLarge) || errors.Is(err, core.ErrPermission) ||
		errors.Is(err, core.ErrConflict) && !spec.CreateOnly
	o.log.Error("a configured service could not be brought up to date", slog.String("service", spec.Service),
		slog.String("operation", what), slog.Any("error", err), slog.Bool("retry", !hopeless))
	return hopeless
}
