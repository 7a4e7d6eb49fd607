// Package prism is the front door for Go programs: it registers the program itself, finds
// other services and follows them, over the registry that a team already runs.
//
// Open gives a client with everything wired: the backend (memory is linked in, any other is a
// plugin that is found and launched), health checks, OpenTelemetry. FromFile does so from the
// configuration file that the host reads. The functions Register, Discover, URL and Wait
// use one default client, for programs that need no more.
//
// Programs that want nothing but the core and a backend that they link in themselves use
// package core/discovery; those that should hold no credentials of the store talk to a host
// with adapters/client.
package prism

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/adapters/telemetry"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/ports"
)

// The types that most programs need; package discovery has all of them.
type (
	Client       = discovery.Client
	Registration = discovery.Registration
	Instance     = discovery.Instance
	Spec         = discovery.Spec
	HealthCheck  = discovery.HealthCheck
	Endpoint     = discovery.Endpoint
	Metadata     = discovery.Metadata
	Query        = discovery.Query
	PickOptions  = discovery.PickOptions
	Picked       = discovery.Picked
	Event        = discovery.Event
)

// The kinds of error that programs tell apart; every error wraps exactly one kind.
var (
	ErrInvalid     = discovery.ErrInvalid
	ErrNotFound    = discovery.ErrNotFound
	ErrConflict    = discovery.ErrConflict
	ErrNoEligible  = discovery.ErrNoEligible
	ErrUnavailable = discovery.ErrUnavailable
	ErrClosed      = discovery.ErrClosed
)

// Config says what Open opens. The zero value is a registry in the memory of this process.
// A zero field means the default that the documentation of the configuration file gives; a
// negative duration or threshold means none.
type Config struct {
	// Backend is memory (the default), consul, etcd, nats, redis, or the name of any plugin.
	Backend string
	// BackendOptions are the backend's own, such as url; "prism plugin info NAME" lists them.
	BackendOptions map[string]any
	// Namespace keeps environments that share a store apart. Default "prism".
	Namespace string
	// PluginDirs are searched for prism-backend-NAME before PRISM_PLUGIN_DIR and the folder
	// plugins beside the executable. PluginFile names the executable itself; PluginSHA256 pins it.
	PluginDirs               []string
	PluginFile, PluginSHA256 string

	// SessionTTL is within what time others notice that this process died. Default 15 s.
	SessionTTL time.Duration
	// DrainTimeout is how long Close shows own instances as stopping before it removes them.
	// Default 5 s; negative removes them at once.
	DrainTimeout time.Duration
	// KeepOnClose leaves own instances to run out instead of removing them.
	KeepOnClose bool
	// Advertise replaces a wildcard host (0.0.0.0) in a registration. Default: the first address
	// of this machine that others can reach.
	Advertise string
	// Program names this program in the store, for people. Default: the executable's name.
	Program string

	// Strategy of load balancing. Default "weighted_round_robin".
	Strategy string
	// IgnoreHealth picks whatever checks observed.
	IgnoreHealth bool
	// NoChecks leaves instances of this process unchecked: observed stays "unknown".
	NoChecks bool
	// CheckInterval (30 s), CheckTimeout (10 s) and HealthPath ("/health") are for instances that
	// say nothing of their own.
	CheckInterval, CheckTimeout time.Duration
	HealthPath                  string
	// AllowExec lets checks run commands on this machine; AllowOtherHosts lets a
	// health_check_url name another host than the instance's own.
	AllowExec, AllowOtherHosts bool

	// InstanceTTL is the ttl of instances that leave it open. Default 300 s.
	InstanceTTL time.Duration
	// CleanupInterval is the time between two audits of the view. Default 60 s.
	CleanupInterval time.Duration
	// ProtectThreshold: when more than this part of a service expires at once, it is kept for a
	// while. Default 0.5; negative is off.
	ProtectThreshold float64
	// History is how many events are kept. Default 4,096.
	History int
	// ServiceDefaults complete registrations, by service.
	ServiceDefaults map[string]Spec

	// Logger gets what happens, warnings above all. nil means slog.Default().
	Logger *slog.Logger
	// MeterProvider and TracerProvider; nil means OpenTelemetry's global ones, which do nothing
	// until the program sets up an SDK.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider

	loaded *config.Loaded // where the values came from, when that is a file
}

// Open opens a client and waits for the store's first answer, for 10 s where ctx has no
// deadline. Close ends all that it started, the plugin's process included. Errors are one
// sentence and wrap ErrInvalid (a FieldError that names the field), ErrNotFound (no such
// plugin), ErrUnavailable, or the others of package discovery.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	opts, err := cfg.Options()
	if err != nil {
		return nil, err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, openTimeout)
		defer cancel()
	}
	meter := cfg.meters().Meter(telemetry.Scope)
	metrics, err := telemetry.New(meter, telemetry.Options{Services: true})
	if err != nil {
		return nil, err
	}
	store, err := cfg.open(ctx, metrics)
	if err != nil {
		return nil, errors.Join(err, metrics.Close())
	}
	store = telemetry.Wrap(store, cfg.tracers().Tracer(telemetry.Scope), metrics)
	client, err := discovery.Open(ctx, store, append(opts, discovery.WithObserver(metrics.Observer()))...)
	if err != nil {
		return nil, err
	}
	if err := metrics.Follow(meter, client); err != nil {
		return nil, errors.Join(err, client.Close(context.WithoutCancel(ctx)))
	}
	return client, nil
}

// openTimeout bounds Open where the caller does not.
const openTimeout = 10 * time.Second

func (c Config) meters() metric.MeterProvider {
	if c.MeterProvider != nil {
		return c.MeterProvider
	}
	return otel.GetMeterProvider()
}

func (c Config) tracers() trace.TracerProvider {
	if c.TracerProvider != nil {
		return c.TracerProvider
	}
	return otel.GetTracerProvider()
}

func (c Config) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}

// open opens the backend.
func (c Config) open(ctx context.Context, metrics *telemetry.Metrics) (ports.Backend, error) {
	if c.backend() == memoryName {
		return c.openMemory(ctx)
	}
	return c.openPlugin(ctx, metrics)
}
