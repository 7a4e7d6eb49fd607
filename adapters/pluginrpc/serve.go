package pluginrpc

// serve.go: the life of a plugin's process. It lasts as long as its host wants it: it outlives
// the terminal's ctrl-C, which reaches plugins too, and never its host.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
)

// EnvLogLevel is the environment variable in which the host says what a plugin shall log:
// debug, info (the default), warn or error.
const EnvLogLevel = "PRISM_PLUGIN_LOG_LEVEL"

const (
	// connectionGrace is how long a plugin waits for its host to connect again.
	connectionGrace = 2 * time.Second
	// shutdownTimeout bounds the backend's Close when the host is gone: 2 s after that nothing of
	// it may be left.
	shutdownTimeout = time.Second
)

// Serve is the whole of a plugin's main. It shakes hands with the host that launched the
// process and serves it until the host says that it is enough or is gone: it closes the
// connection, or the pipe that it gave as stdin. The backend is then closed, and Serve returns.
// It does not return when the pipe was closed and the process leads a process group, as those
// that Prism launches do: its host has died, and the whole group is killed, as the host would
// have done.
//
// SIGINT, SIGTERM and SIGHUP are ignored. slog's default logger and package log write JSON lines
// to stderr. Stdout belongs to the handshake: what a backend prints there or to stderr after
// Serve began goes to the host's log.
//
// A backend that does not come back from a call within 10 s of the end of its context is stuck:
// grpc.health.v1.Health/Check then answers NOT_SERVING, for which Prism replaces the process,
// until the call returns.
//
// Run by hand, and for a plugin that cannot work (no name, no Open, a default that its own
// schema does not allow), it says so on stderr and exits with status 1.
func Serve(p Plugin) {
	if err := serve(p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo,revive // Serve is what main consists of, as go-plugin's own.
	}
}

func serve(p Plugin) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("this backend plugin is broken: %w", err)
	}
	if os.Getenv(Handshake.MagicCookieKey) != Handshake.MagicCookieValue {
		return fmt.Errorf("%s %s is a backend plugin of Prism and is not meant to be run by hand; "+
			"use it with `prism serve --backend %s`, or show its options with `prism plugin info %s`",
			p.Name, p.Version, p.Name, p.Name)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: logLevel()}))
	slog.SetDefault(log)
	ignoreSignals(log)

	srv := newServer(p, log)
	life := &process{log: log, server: srv, overruns: newOverruns(log)}
	watching, enough := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { life.overruns.watch(watching) })
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  Handshake,
		VersionedPlugins: VersionedPlugins(srv),
		GRPCServer:       life.start,
		Logger:           hostLogger(log),
	})
	life.closeBackend()
	enough()
	watch.Wait()
	if life.orphaned.Load() {
		endGroup()
	}
	return nil
}

// check finds what an author would otherwise learn from a user.
func (p Plugin) check() error {
	if err := core.ValidateName("Plugin.Name", p.Name); err != nil {
		return err
	}
	if p.Open == nil {
		return errors.New("Plugin.Open is nil; it opens the backend")
	}
	for _, o := range p.Options {
		if err := core.ValidateName("Plugin.Options.Name", o.Name); err != nil {
			return err
		}
		o.Required = false
		if _, err := resolveOption(o, o.Default); err != nil {
			return fmt.Errorf("its default does not fit its type: %w", err)
		}
	}
	return nil
}

// logLevel reads EnvLogLevel; what it cannot read is "info".
func logLevel() slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(os.Getenv(EnvLogLevel))) != nil {
		return slog.LevelInfo
	}
	return l
}

// ignoreSignals keeps the process alive through what a terminal or a service manager sends to
// the whole group: the host decides. SIGPIPE comes from stderr when the host is gone; the
// backend shall still be closed.
func ignoreSignals(log *slog.Logger) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for sig := range c {
			log.Debug("a signal was ignored; the host ends this process", "signal", sig.String())
		}
	}()
}

// process ends the gRPC server, and with it Serve, when the host is gone. It implements
// stats.Handler to see connections come and go.
type process struct {
	log      *slog.Logger
	server   *server
	overruns *overruns
	grpc     *grpc.Server
	once     sync.Once
	orphaned atomic.Bool // stdin was closed: the host is gone

	mu          sync.Mutex
	connections int         // guarded by mu
	grace       *time.Timer // guarded by mu
}

// start makes the server, as go-plugin asks, and begins to look at stdin. Its goroutine ends
// with the process: a blocked read of stdin cannot be interrupted.
func (p *process) start(opts []grpc.ServerOption) *grpc.Server {
	opts = slices.Concat(opts, ServerOptions(), p.overruns.options(), []grpc.ServerOption{grpc.StatsHandler(p)})
	p.grpc = grpc.NewServer(opts...)
	if isPipe(os.Stdin) {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // An error says the same as EOF.
			p.orphaned.Store(true)
			p.stop("the host closed stdin")
		}()
	}
	return p.grpc
}

// isPipe tells a pipe from a host from a terminal, which a plugin must not read, and from
// /dev/null, which is at EOF at once.
func isPipe(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// stop ends the server, which makes plugin.Serve return.
func (p *process) stop(why string) {
	p.once.Do(func() {
		p.log.Info("the plugin ends", "why", why)
		p.grpc.Stop()
	})
}

// closeBackend closes what the host left open. A backend that does not come to an end in time is
// left behind with the process.
func (p *process) closeBackend() {
	done := make(chan error, 1)
	go func() {
		_, err := p.server.Close(context.Background(), &backendv1.CloseRequest{})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			p.log.Warn("the backend could not be closed", "error", err)
		}
	case <-time.After(shutdownTimeout):
		p.log.Warn("the backend did not close in time", "timeout", shutdownTimeout)
	}
}

// HandleConn implements stats.Handler.
func (p *process) HandleConn(_ context.Context, s stats.ConnStats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s.(type) {
	case *stats.ConnBegin:
		p.connections++
		if p.grace != nil {
			p.grace.Stop()
		}
	case *stats.ConnEnd:
		p.connections--
		if p.connections == 0 {
			p.grace = time.AfterFunc(connectionGrace, func() { p.stop("the host closed the connection") })
		}
	}
}

// TagConn implements stats.Handler.
func (p *process) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC implements stats.Handler.
func (p *process) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (p *process) HandleRPC(context.Context, stats.RPCStats) {}

// hostLogger lets go-plugin log through slog, so that stderr has one format.
func hostLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "go-plugin", Output: io.Discard, Level: hclog.Debug})
	l.RegisterSink(sink{log})
	return l
}

type sink struct{ log *slog.Logger }

// Accept implements hclog.SinkAdapter.
func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Warn:
		to = slog.LevelWarn
	case hclog.Error:
		to = slog.LevelError
	case hclog.NoLevel, hclog.Trace, hclog.Debug, hclog.Info, hclog.Off:
	}
	ctx := context.Background()
	if s.log.Enabled(ctx, to) {
		r := slog.NewRecord(time.Now(), to, msg, 0)
		r.Add("source", "go-plugin")
		r.Add(args...)
		_ = s.log.Handler().Handle(ctx, r) // Nobody could be told.
	}
}
