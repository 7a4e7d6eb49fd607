package main

// wiring.go: what a host consists of, how it begins and how it ends.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/marketprism/prism"
	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/adapters/hoststate"
	"github.com/marketprism/prism/adapters/inbound/grpcapi"
	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/adapters/telemetry"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/ports"
)

// host is a running host. Its parts are listed in the order in which they begin.
type host struct {
	log     *slog.Logger
	started time.Time

	sdk     *sdk
	metrics *telemetry.Metrics
	http    net.Listener // nil: turned off
	grpc    net.Listener
	state   *hoststate.Journal // nil: none is kept
	backend *opening
	client  *discovery.Client
	api     *httpapi.API
	calls   *grpcapi.Server
	own     *ownServices

	stop   context.CancelFunc // ends the listeners and the event log
	tasks  sync.WaitGroup
	failed chan error // a part that ended by itself
}

// startHost begins a host. What is slow, the plugin and its store, begins in the background.
func startHost(ctx context.Context, loaded *config.Loaded, log *slog.Logger) (*host, error) {
	h := &host{log: log, started: time.Now(), failed: make(chan error, 4)}
	if err := h.start(ctx, loaded); err != nil {
		return nil, errors.Join(err, h.close(context.WithoutCancel(ctx)))
	}
	return h, nil
}

func (h *host) start(ctx context.Context, loaded *config.Loaded) (err error) {
	cfg := loaded.Config
	if h.http, err = listen(ctx, "server.http", cfg.Server.HTTP); err != nil {
		return err
	}
	if h.grpc, err = listen(ctx, "server.grpc", cfg.Server.GRPC); err != nil {
		return err
	}
	if h.sdk, err = startSDK(ctx, h.log); err != nil {
		return err
	}
	meter := h.sdk.meters.Meter(telemetry.Scope)
	if h.metrics, err = telemetry.New(meter, telemetry.Options{Services: cfg.Monitoring.MetricsLabels["service"]}); err != nil {
		return err
	}
	if err := h.openState(cfg); err != nil {
		return err
	}
	embedded := prism.ConfigOf(loaded)
	embedded.Logger, embedded.Program = h.log, "prism "+programVersion()
	h.backend = startOpening(cfg.Backend, func(ctx context.Context) (*pluginhost.Host, error) { return h.launch(ctx, embedded) }, h.log)
	if h.client, err = h.openClient(ctx, embedded); err != nil {
		return err
	}
	if err := h.metrics.Follow(meter, h.client); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	if err := h.followEvents(running, cfg.Events); err != nil {
		return err
	}
	if err := h.serveHTTP(running, cfg); err != nil {
		return err
	}
	if err := h.serveGRPC(); err != nil {
		return err
	}
	h.own = startOwnServices(h.client, registrationsOf(cfg), h.log)
	return nil
}

// listen opens a listener; nil for "".
func listen(ctx context.Context, key, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // no listener is what "" asks for
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %s: %w; stop what listens there, or choose another address", key, address, reason(err))
	}
	return ln, nil
}

// reason is the last cause in a chain of network errors, without the addresses around it.
func reason(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return reason(op.Err)
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	return err
}

func (h *host) launch(ctx context.Context, cfg prism.Config) (*pluginhost.Host, error) {
	launch, err := cfg.Launch()
	if err != nil {
		return nil, err
	}
	launch.Hooks = pluginhost.Hooks{
		Started: h.metrics.PluginStarted, Ended: h.metrics.PluginEnded, Dropped: h.metrics.PluginLogDropped,
	}
	return pluginhost.Open(ctx, launch)
}

func (h *host) openClient(ctx context.Context, cfg prism.Config) (*discovery.Client, error) {
	opts, err := cfg.Options()
	if err != nil {
		return nil, err
	}
	store := telemetry.Wrap(h.backend, h.sdk.tracers.Tracer(telemetry.Scope), h.metrics)
	return discovery.Open(ctx, store, append(h.journal(opts), discovery.WithoutWaiting(), discovery.WithObserver(h.metrics.Observer()))...)
}

func (h *host) serveHTTP(ctx context.Context, cfg config.Config) error {
	if h.http == nil {
		return nil
	}
	o := httpapi.Options{
		Client: h.client, Host: h.describe, Advertise: cfg.Server.Advertise, Version: programVersion(), Logger: h.log,
		Observe: h.metrics.HTTP, MetricsPath: cfg.Monitoring.MetricsEndpoint, Middleware: h.sdk.traced(),
	}
	if cfg.Monitoring.EnableMetrics {
		o.Metrics = h.sdk.scrape
	}
	if cfg.Server.Advertise != "" {
		o.AllowedHosts = []string{cfg.Server.Advertise}
	}
	var err error
	if h.api, err = httpapi.New(o); err != nil {
		return err
	}
	h.task(func() error { return h.api.Serve(ctx, h.http) })
	return nil
}

func (h *host) serveGRPC() error {
	if h.grpc == nil {
		return nil
	}
	var err error
	if h.calls, err = grpcapi.New(grpcapi.Options{Ready: h.client.Ready, Logger: h.log}); err != nil {
		return err
	}
	h.task(func() error { return h.calls.Serve(h.grpc) })
	return nil
}

// task runs a part that should not end by itself.
func (h *host) task(part func() error) {
	h.tasks.Go(func() {
		if err := part(); err != nil {
			h.failed <- err
		}
	})
}

// describe is what GET /v1/status shows of the process.
func (h *host) describe() httpapi.Host {
	info := h.backend.Info()
	build := buildOf()
	out := httpapi.Host{
		Build: httpapi.Build{Version: build.Version, Commit: build.Commit, Go: build.Go}, StartedAt: h.started,
		Backend: httpapi.Backend{
			Name: info.Name, Version: info.Version, Contract: ports.ContractVersion,
			Capabilities: httpapi.Capabilities(info.Capabilities),
		},
	}
	if running := h.backend.host.Load(); running != nil {
		st := running.Status()
		out.Plugin = &httpapi.Plugin{PID: st.PID, Path: st.Path, StartedAt: st.Started, Restarts: st.Restarts}
	}
	return out
}

// close ends what has begun: own services leave first, while everything else still answers.
// Parts that have not begun are nil.
func (h *host) close(ctx context.Context) error {
	var err error
	if h.own != nil {
		h.own.close()
	}
	switch {
	case h.client != nil:
		err = h.client.Close(ctx)
	case h.backend != nil:
		err = h.backend.Close()
	}
	if h.state != nil {
		err = errors.Join(err, h.state.Close())
	}
	if h.stop != nil {
		h.stop()
	}
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if h.calls != nil {
		h.calls.Stop(final)
	}
	h.tasks.Wait()
	for _, ln := range []net.Listener{h.http, h.grpc} {
		if ln != nil {
			_ = ln.Close() // closed already where it was served
		}
	}
	if h.sdk != nil {
		if e := h.sdk.stop(final); e != nil {
			h.log.Warn("telemetry was not sent to its end", slog.Any("error", e))
		}
	}
	return err
}

// stopTimeout bounds the end of the listeners and of telemetry.
const stopTimeout = 5 * time.Second

// url is where the HTTP API is, for people on this machine; "" when it is turned off.
func (h *host) url() string {
	if h.http == nil {
		return ""
	}
	address, ok := h.http.Addr().(*net.TCPAddr)
	if !ok {
		return "http://" + h.http.Addr().String()
	}
	name := address.IP.String()
	if address.IP.IsUnspecified() {
		name = "127.0.0.1"
	}
	return "http://" + core.JoinAddress(name, address.Port)
}
