package pluginhost

// launcher.go: from a Launch to a process that has introduced itself. Everything that
// go-plugin takes can be used once only, so all of it is built anew for each process.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	gorunner "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/ports"
)

// launcher starts processes of one plugin, one after the other.
type launcher struct {
	Launch

	environment []string
	room        *room
	sink        *logSink
}

func newLauncher(ctx context.Context, l Launch) (*launcher, error) {
	l, err := l.prepare()
	if err != nil {
		return nil, err
	}
	env, err := environment(os.Environ(), l.Env)
	if err != nil {
		return nil, err
	}
	if err := checkBinary(l.Path); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.StartTimeout)
	defer cancel()
	room, err := openRoom(ctx, l.RuntimeDir)
	if err != nil {
		return nil, err
	}
	l.Logger = l.Logger.With("plugin", l.display())
	sink := newLogSink(l.Logger, l.Hooks.Dropped)
	sink.mask.Store(newMasker(l.Options, nil))
	return &launcher{Launch: l, environment: env, room: room, sink: sink}, nil
}

// lowestLevel is the least that the logger wants to hear of.
func lowestLevel(ctx context.Context, logger *slog.Logger) slog.Level {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if logger.Enabled(ctx, level) {
			return level
		}
	}
	return slog.LevelError
}

func (l *launcher) close() { l.room.close() }

// roomAgain replaces a room that somebody removed.
func (l *launcher) roomAgain(ctx context.Context) error {
	if !l.room.gone() {
		return nil
	}
	room, err := openRoom(ctx, l.RuntimeDir)
	if err != nil {
		return err
	}
	l.room.close()
	l.room = room
	return nil
}

// display names the plugin in messages.
func (l Launch) display() string {
	if l.Name != "" {
		return l.Name
	}
	return filepath.Base(l.Path)
}

// connect starts a process and asks it what it is. When ctx ends first, the process is killed.
func (l *launcher) connect(ctx context.Context) (*speaker, error) {
	if err := l.roomAgain(ctx); err != nil {
		return nil, err
	}
	level := pluginrpc.EnvLogLevel + "=" + lowestLevel(ctx, l.Logger).String()
	proc := newProcess(l.Path, append(slices.Clip(l.environment), level), l.sink)
	if l.SHA256 != "" {
		pinned, err := openPinned(l.Path, l.SHA256)
		if err != nil {
			return nil, err
		}
		defer func() { _ = pinned.Close() }()
		if err := pinnedCommand(proc.cmd, pinned, l.room.dir); err != nil {
			return nil, fmt.Errorf("plugin %s: %w: %w", l.display(), err, ports.ErrInvalid)
		}
	} else if err := checkBinary(l.Path); err != nil {
		return nil, err
	}
	s := &speaker{process: proc, client: plugin.NewClient(l.clientConfig(proc)), started: time.Now()}
	stop := context.AfterFunc(ctx, proc.kill)
	defer stop()
	if err := s.introduce(ctx); err != nil {
		l.discard(s)
		return nil, l.explain(ctx, proc, err)
	}
	if err := l.identify(s); err != nil {
		l.discard(s)
		return nil, err
	}
	return s, nil
}

func (l *launcher) clientConfig(proc *process) *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  pluginrpc.Handshake,
		VersionedPlugins: pluginrpc.ClientPlugins(),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     24 * time.Hour, // connect's context ends sooner.
		Logger:           hclog.NewNullLogger(),
		SyncStdout:       proc.log.writer("stdout", nil),
		SyncStderr:       proc.log.writer("stderr", nil),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: l.room.dir},
		GRPCDialOptions: slices.Concat(pluginrpc.DialOptions(),
			[]grpc.DialOption{grpc.WithChainStreamInterceptor(forgiveStdio)}, l.DialOptions),
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, _ string) (gorunner.Runner, error) {
			proc.handshake(spec.Env, l.room.dir)
			return proc, nil
		},
	}
}

// forgiveStdio makes every failure of go-plugin's stdio stream one that it goes on from:
// from the others it leaves a connection behind that nobody can close. What ails the
// connection shows in the next call.
func forgiveStdio(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	next grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := next(ctx, desc, conn, method, opts...)
	if err != nil && method == "/plugin.GRPCStdio/StreamStdio" {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return stream, err
}

// identify checks that the plugin is what was asked for: go-plugin looks only into the
// host's own map.
func (l *launcher) identify(s *speaker) error {
	d := s.description
	switch {
	case l.Name != "" && d.Name != l.Name:
		return fileError(ports.ErrInvalid, "%s is the plugin of the backend %q, not of %q; name the right file, or the backend that it is for",
			l.Path, d.Name, l.Name)
	case d.Contract != ports.ContractVersion:
		return l.otherContract(d.Contract)
	}
	return nil
}

func (l *launcher) otherContract(version int) error {
	advice := "use a newer plugin"
	if version > ports.ContractVersion {
		advice = "use a newer Prism, or an older plugin"
	}
	return fileError(ports.ErrUnsupported, "%s speaks version %d of the backend contract, and this Prism version %d; %s",
		l.Path, version, ports.ContractVersion, advice)
}

// explain says why a process did not get as far as to describe itself. The process is gone.
func (l *launcher) explain(ctx context.Context, proc *process, err error) error {
	version, protocol, greeted := proc.greeting.contract()
	_, known := pluginrpc.ClientPlugins()[version]
	switch {
	case proc.pid() == 0 && isTransient(err):
		return fmt.Errorf("plugin %s (%s) cannot be started now: %w: %w", l.display(), l.Path, err, ports.ErrUnavailable)
	case proc.pid() == 0 && ctx.Err() == nil:
		return fileError(ports.ErrInvalid, "%s cannot be run: %v; was it built for this system?", l.Path, err)
	case greeted && protocol != string(plugin.ProtocolGRPC):
		return fileError(ports.ErrInvalid, "%s speaks %q, and a Prism backend speaks gRPC", l.Path, protocol)
	case greeted && !known:
		return l.otherContract(version)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("plugin %s (%s) did not introduce itself in time and was killed%s: %w",
			l.display(), l.Path, wrote(proc), ports.ErrUnavailable)
	case ctx.Err() != nil:
		return fmt.Errorf("plugin %s: its start was given up: %w", l.display(), ctx.Err())
	case greeted && proc.killed():
		return fmt.Errorf("plugin %s (%s) introduced itself and does not answer (%w)%s: %w",
			l.display(), l.Path, err, wrote(proc), ports.ErrUnavailable)
	case greeted || proc.crashed():
		return fmt.Errorf("plugin %s (%s) died while it started: %s: %w",
			l.display(), l.Path, proc.ended(), ports.ErrUnavailable)
	}
	return fileError(ports.ErrInvalid, "%s ended before it introduced itself (%s); is it a Prism backend plugin?", l.Path, proc.ended())
}

// isTransient tells a machine that is short of something from a file that cannot be run.
func isTransient(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ETXTBSY} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// errHungOpen tells an Open that was too late from a process that died in it: a store may be
// to blame.
var errHungOpen = errors.New("did not open its backend in time")

// open configures the backend. A process that takes too long is killed.
func (l *launcher) open(ctx context.Context, s *speaker) (ports.Backend, error) {
	options := l.Options
	if l.Resolve != nil {
		var err error
		if options, err = l.Resolve(s.description.Options); err != nil {
			return nil, err
		}
	}
	mask := newMasker(options, secretNames(s.description.Options))
	l.sink.mask.Store(mask)
	backend, err := s.rpc.Open(ctx, options)
	switch {
	case err == nil:
		return backend, nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded): // The plugin's clock, or ours.
		s.process.kill()
		return nil, fmt.Errorf("plugin %s %w and was killed%s: %w", l.display(), errHungOpen, wrote(s.process), ports.ErrUnavailable)
	case ctx.Err() != nil:
		s.process.kill()
		return nil, ctx.Err()
	case errors.Is(err, ports.ErrUnavailable) && s.dying(ctx):
		return nil, fmt.Errorf("plugin %s died while it opened its backend: %s: %w", l.display(), s.process.ended(), ports.ErrUnavailable)
	}
	return nil, mask.error(err)
}

func secretNames(options []ports.Option) []string {
	var names []string
	for _, o := range options {
		if o.Secret {
			names = append(names, o.Name)
		}
	}
	return names
}

// discard ends the process and removes what it leaves behind.
func (l *launcher) discard(s *speaker) {
	s.stop()
	l.room.clear()
}

// Describe starts the plugin, asks it what it is and which options it takes, and stops it.
// It opens nothing. Errors are those of Open.
func Describe(ctx context.Context, launch Launch) (pluginrpc.Description, error) {
	l, err := newLauncher(ctx, launch)
	if err != nil {
		return pluginrpc.Description{}, err
	}
	defer l.close()
	ctx, cancel := context.WithTimeout(ctx, l.StartTimeout)
	defer cancel()
	s, err := l.connect(ctx)
	if err != nil {
		return pluginrpc.Description{}, err
	}
	l.discard(s)
	return s.description, nil
}

// wrote tells what a process wrote last, as the end of a clause.
func wrote(p *process) string {
	if words := p.log.lastWords(); words != "" {
		return ", after it wrote " + words
	}
	return ""
}
