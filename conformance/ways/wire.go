package ways

// wire.go: both halves of the plugin protocol, joined in memory.

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/ports"
)

// OverTheWire opens each backend through a server and a connection of its own, without a
// process: what it does not share with InProcess is the wire, the options included.
func OverTheWire(plugin pluginrpc.Plugin, options Options) conformance.Harness {
	return &overTheWire{plugin: plugin, options: options}
}

type overTheWire struct {
	plugin  pluginrpc.Plugin
	options Options
}

// pipeBytes is what the connection in memory holds before a writer waits.
const pipeBytes = 1 << 20

// Open implements conformance.Harness.
func (h *overTheWire) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	options, err := h.options.document(namespace)
	if err != nil {
		return nil, err
	}
	listener := bufconn.Listen(pipeBytes)
	server := grpc.NewServer(pluginrpc.ServerOptions()...)
	backendv1.RegisterRegistryBackendServer(server, pluginrpc.NewServer(h.plugin))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // it ends with Stop
	conn, err := grpc.NewClient("passthrough:///bufconn", append(pluginrpc.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	stop := func() {
		server.Stop()
		serving.Wait()
	}
	if err != nil {
		stop()
		return nil, err
	}
	backend, err := pluginrpc.NewClient(conn).Open(ctx, options)
	release := func() error {
		defer stop()
		return conn.Close()
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return &owner{Backend: backend, release: release}, nil
}

// owner frees with a backend what was made for it.
type owner struct {
	ports.Backend

	once    sync.Once
	release func() error
}

// Close implements ports.Backend.
func (o *owner) Close() error {
	err := o.Backend.Close()
	o.once.Do(func() { err = errors.Join(err, o.release()) })
	return err
}
