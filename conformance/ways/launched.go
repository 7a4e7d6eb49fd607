package ways

// launched.go: the real program under the real supervisor, one process for each backend.

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/ports"
)

// Launched opens each backend in a process of its own. Dir is a folder of the caller's for
// sockets: its path must be short (a socket's has at most 103 bytes), as t.TempDir gives it.
// Name is what the binary must say it is.
func Launched(dir, binary, name string, options Options) conformance.Harness {
	return &launched{dir: dir, binary: binary, name: name, options: options}
}

type launched struct {
	dir, binary, name string
	options           Options

	mu    sync.Mutex
	hosts []*pluginhost.Host // guarded by mu
}

// Open implements conformance.Harness.
func (l *launched) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	options, err := l.options.document(namespace)
	if err != nil {
		return nil, err
	}
	host, err := pluginhost.Open(ctx, pluginhost.Launch{Path: l.binary, Name: l.name, Options: options, RuntimeDir: l.dir})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, host)
	return mortal{host}, nil
}

// mortal is a host whose process can be killed.
type mortal struct{ *pluginhost.Host }

// Kill implements conformance.Mortal.
func (m mortal) Kill() error {
	pid := m.Status().PID
	if pid == 0 {
		return fmt.Errorf("the plugin has no process now: %w", ports.ErrUnavailable)
	}
	return kill(pid)
}

// living are the hosts that have a process.
func (l *launched) living() []*pluginhost.Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = slices.DeleteFunc(l.hosts, func(h *pluginhost.Host) bool { return h.Status().State == pluginhost.StateClosed })
	return slices.DeleteFunc(slices.Clone(l.hosts), func(h *pluginhost.Host) bool { return h.Status().PID == 0 })
}
