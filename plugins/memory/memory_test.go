//go:build unix

package memory_test

// memory_test.go: the conformance suite over the backend in three ways. Which of them fail
// tells where a fault is: in the backend, on the wire, or in the life of the process.

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "prism-memory-")
	if err == nil {
		binary = filepath.Join(dir, "prism-backend-memory")
		var out []byte
		if out, err = exec.CommandContext(context.Background(), "go", "build", "-o", binary, "./cmd/prism-backend-memory").CombinedOutput(); err != nil {
			err = fmt.Errorf("build the plugin: %w\n%s", err, out)
		}
	}
	if err == nil {
		err = flag.Set("test.parallel", "12") // the cases wait more than they work; the command line wins
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir) // it is under the system's own folder for such files
		os.Exit(code)
	}))
}

// Pinned: a backend that claims less is asked for less.
func TestClaims(t *testing.T) {
	want := ports.Info{
		Name: "memory", Version: "1.0.0",
		Capabilities: ports.Capabilities{History: true},
		Limits:       ports.Limits{MaxExpiryDelay: 250e6, MinSessionTTL: 1e9},
	}
	assert.Equal(t, want, memory.Info())
	for name, h := range map[string]conformance.Harness{"in process": inProcess{}, "over the wire": overTheWire{}, "launched": &launched{dir: t.TempDir()}} {
		b, err := h.Open(t.Context(), "prism")
		require.NoError(t, err, name)
		assert.Equal(t, want, b.Info(), name)
		require.NoError(t, b.Close(), name)
	}
}

func TestConformanceInProcess(t *testing.T) {
	conformance.Test(t, func(*testing.T) conformance.Harness { return inProcess{} })
}

func TestConformanceOverTheWire(t *testing.T) {
	conformance.Test(t, func(*testing.T) conformance.Harness { return overTheWire{} })
}

func TestConformanceLaunched(t *testing.T) {
	conformance.Test(t, func(t *testing.T) conformance.Harness { return &launched{dir: t.TempDir()} })
}

// inProcess opens the backend as an embedding program does.
type inProcess struct{}

func (inProcess) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	return memory.Open(ctx, memory.Options{Namespace: namespace})
}

// overTheWire joins both halves of the plugin protocol in memory.
type overTheWire struct{}

func (overTheWire) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	info := memory.Info()
	plugin := pluginrpc.Plugin{
		Name: info.Name, Version: info.Version, Capabilities: info.Capabilities, Limits: info.Limits,
		Open: func(ctx context.Context, _ json.RawMessage) (ports.Backend, error) {
			return inProcess{}.Open(ctx, namespace)
		},
	}
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(pluginrpc.ServerOptions()...)
	backendv1.RegisterRegistryBackendServer(server, pluginrpc.NewServer(plugin))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // it ends with Stop
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	stop := func() error {
		server.Stop()
		serving.Wait()
		return nil
	}
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	backend, err := pluginrpc.NewClient(conn).Open(ctx, nil)
	if err != nil {
		return nil, errors.Join(err, conn.Close(), stop())
	}
	return &owner{Backend: backend, release: func() error { return errors.Join(conn.Close(), stop()) }}, nil
}

// owner frees with a backend what was made for it.
type owner struct {
	ports.Backend

	once    sync.Once
	release func() error
}

func (o *owner) Close() error {
	err := o.Backend.Close()
	o.once.Do(func() { err = errors.Join(err, o.release()) })
	return err
}

// launched runs the real program under the real supervisor. The store is the plugin's
// process: killing that is the loss of all data, and stopping it is a store that hangs.
type launched struct {
	dir string // for sockets

	mu    sync.Mutex
	hosts []*pluginhost.Host // guarded by mu
}

func (l *launched) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	options, err := json.Marshal(memory.Options{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	host, err := pluginhost.Open(ctx, pluginhost.Launch{Path: binary, Name: "memory", Options: options, RuntimeDir: l.dir})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, host)
	return host, nil
}

func (l *launched) CanInflict(f conformance.Fault) bool {
	return f == conformance.FaultWipe || f == conformance.FaultPause
}

// Inflict returns when it shows: signals are on their way for a while.
func (l *launched) Inflict(ctx context.Context, f conformance.Fault) error {
	running := l.running()
	if f == conformance.FaultPause {
		if err := signal(running, syscall.SIGSTOP); err != nil {
			return err
		}
		return until(ctx, running, func(host *pluginhost.Host) bool {
			probe, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			return host.Health(probe) != nil
		})
	}
	before := make(map[*pluginhost.Host]int)
	for _, host := range running {
		before[host] = host.Status().PID
	}
	if err := signal(running, syscall.SIGKILL); err != nil {
		return err
	}
	return until(ctx, running, func(host *pluginhost.Host) bool { return host.Status().PID != before[host] })
}

// Mend wakes whoever was stopped; killed ones are replaced by the supervisor.
func (l *launched) Mend(context.Context) error { return signal(l.running(), syscall.SIGCONT) }

func (l *launched) running() []*pluginhost.Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.hosts), func(h *pluginhost.Host) bool { return h.Status().PID == 0 })
}

func signal(hosts []*pluginhost.Host, sig syscall.Signal) error {
	for _, host := range hosts {
		pid := host.Status().PID
		if pid == 0 {
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%s to the plugin: %w", sig, err)
		}
	}
	return nil
}

// until returns when something is so at every host.
func until(ctx context.Context, hosts []*pluginhost.Host, so func(host *pluginhost.Host) bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, host := range hosts {
		for !so(host) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
