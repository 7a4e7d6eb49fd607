package main

// serve.go: the command that runs a host, from its flags to its last signal.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/core"
)

// configFlags are the flags that choose a configuration.
type configFlags struct {
	files       []string
	environment string
	backend     string
	http, grpc  string
	set         []string
	insecure    bool
	fixed       map[string]any // keys that the command sets itself
}

// addFiles adds what every command takes that reads the configuration.
func (f *configFlags) addFiles(cmd *cobra.Command) {
	f.addBackend(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.http, "http", "", "`host:port` of the HTTP listener (default 127.0.0.1:8640)")
	flags.StringVar(&f.grpc, "grpc", "", "`host:port` of the gRPC listener (default 127.0.0.1:8641)")
	flags.BoolVar(&f.insecure, "insecure", false, "let listeners be reached from other machines without authentication")
}

// addBackend adds what chooses a backend and its options.
func (f *configFlags) addBackend(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.files, "config", nil, "the YAML `file`; repeated, later ones win (default $PRISM_CONFIG, else the usual places)")
	flags.StringVar(&f.environment, "environment", "", "the `profile` of the file to use")
	flags.StringVar(&f.backend, "backend", "", "`name` of the backend: memory, consul, etcd, nats, redis or any plugin found")
	flags.StringArrayVar(&f.set, "set", nil, "`key=value` of the configuration, such as session_ttl=10; may be repeated")
}

// load reads the configuration that the flags choose. One that cannot be read is a usageError.
func (f *configFlags) load(cmd *cobra.Command) (*config.Loaded, error) {
	o := config.ProcessOptions()
	o.Files, o.Environment, o.Set, o.Insecure = f.files, f.environment, f.set, f.insecure
	o.Flags = map[string]any{}
	maps.Copy(o.Flags, f.fixed)
	for flag, key := range map[string]string{"backend": "backend", "http": "server.http", "grpc": "server.grpc"} {
		if given := cmd.Flags().Lookup(flag); given != nil && given.Changed {
			o.Flags[key] = given.Value.String()
		}
	}
	loaded, err := config.Load(o)
	return loaded, wrongConfiguration(err)
}

// loadValid is load for a configuration that a host is to start with.
func (f *configFlags) loadValid(cmd *cobra.Command) (*config.Loaded, error) {
	loaded, err := f.load(cmd)
	if err != nil {
		return nil, err
	}
	return loaded, wrongConfiguration(loaded.Validate())
}

// wrongConfiguration makes an error about what a configuration says a usageError, whatever its
// kind: a plugin that is not there or is not the pinned one is a wrong backend or digest. What
// may pass by itself stays as it is.
func wrongConfiguration(err error) error {
	if err == nil || errors.Is(err, core.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return usageError{err}
}

func (a *app) serve() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use: "serve", Short: "Run a host",
		Long: `Run a host: the backend as a plugin, the HTTP API on 127.0.0.1:8640, gRPC on 127.0.0.1:8641.

When the backend is open the host prints where it is; while the store does not answer it goes on
trying. SIGHUP reads the configuration again; how that went stands in the log, and what a
running host cannot take over. SIGTERM and ctrl-C end the host in good order, a second one at
once; one within half a second of the first counts as the same.

The exit code is 2 when the configuration is wrong, a plugin that is not there included.`,
		Example: `  prism serve
  prism serve --backend etcd --set backend_config.url=http://127.0.0.1:2379
  prism serve --config prism.yaml --http 127.0.0.1:9000
  prism serve --http 0.0.0.0:8640 --insecure`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := f.loadValid(cmd)
			if err != nil {
				return err
			}
			return a.runHost(cmd, loaded, &f)
		},
	}
	f.addFiles(cmd)
	return cmd
}

// errForced ends a host that a second signal does not let leave in good order.
var errForced = errors.New("a second signal ended the host at once; what it registered runs out")

func (a *app) runHost(cmd *cobra.Command, loaded *config.Loaded, f *configFlags) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, append([]os.Signal{os.Interrupt, syscall.SIGTERM}, reloadSignals...)...)
	defer signal.Stop(signals)

	log, level := newLogger(a.stderr, loaded.Config.Logging)
	logNotices(log, loaded)
	h, err := startHost(cmd.Context(), loaded, log)
	if err != nil {
		return err
	}
	log.Info("the host listens", slog.String("http", h.url()), slog.String("backend", loaded.Config.Backend))
	r := &reloader{load: func() (*config.Loaded, error) { return f.load(cmd) }, current: loaded, level: level, host: h}
	var cause error
	opened := h.backend.opened
	for leaving := false; !leaving; {
		select {
		case <-opened:
			opened = nil
			a.greet(h, loaded)
		case s := <-signals:
			if leaving = ends(s); leaving {
				log.Info("the host is leaving", slog.String("signal", s.String()))
			} else {
				r.reload()
			}
		case err := <-h.backend.refused:
			cause, leaving = wrongConfiguration(err), true
		case cause = <-h.failed:
			leaving = true
		case <-cmd.Context().Done():
			leaving = true
		}
	}
	return errors.Join(cause, leave(signals, func() error { return h.close(context.WithoutCancel(cmd.Context())) }))
}

// leave carries out the end of a host, and gives up at a second signal.
func leave(signals <-chan os.Signal, end func() error) error {
	first := newFirstSignal()
	ended := make(chan error, 1)
	go func() { ended <- end() }()
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			if first.insisted(s) {
				return errForced
			}
		}
	}
}

func logNotices(log *slog.Logger, loaded *config.Loaded) {
	for _, n := range loaded.Notices {
		log.Warn("configuration", slog.String("notice", n.String()))
	}
}

// asTyped is how the program is called from another terminal: by its name where that finds it,
// else by the path that it was called by here.
func asTyped(called string, lookPath func(name string) (string, error)) string {
	name := filepath.Base(called)
	if _, err := lookPath(name); err != nil {
		return called
	}
	return name
}

// greet tells people where the host is and what to try next. Its log goes to standard error.
func (a *app) greet(h *host, loaded *config.Loaded) {
	var out strings.Builder
	cfg := loaded.Config
	fmt.Fprintf(&out, "Prism %s, backend %s, namespace %s\n", programVersion(), cfg.Backend, cfg.Namespace())
	for _, file := range loaded.FilesRead {
		fmt.Fprintf(&out, "  read   %s\n", file)
	}
	if url := h.url(); url != "" {
		fmt.Fprintf(&out, "  HTTP   %s (its documentation at /docs)\n", url)
		if cfg.Monitoring.EnableMetrics {
			fmt.Fprintf(&out, "  scrape %s%s\n", url, cfg.Monitoring.MetricsEndpoint)
		}
	}
	if h.grpc != nil {
		fmt.Fprintf(&out, "  gRPC   %s\n", h.grpc.Addr())
	}
	prism := asTyped(os.Args[0], exec.LookPath)
	if url := h.url(); url != "" && url != defaultAddress {
		prism += " --address " + url
	}
	if h.http != nil {
		fmt.Fprintf(&out, "Try in another terminal:\n  %[1]s register my-service --port 8081 --check none\n  %[1]s services\n  %[1]s pick my-service --url\n", prism)
	}
	fmt.Fprint(a.stdout, out.String())
}
