package pluginhost

// speaker.go: what is asked of a process itself, whatever its backend does.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/marketprism/prism/adapters/pluginrpc"
)

// errStuck is the sign of life of a process whose backend does not come back from a call.
var errStuck = errors.New("its backend is stuck in a call")

// stopGrace is how long a process that was closed may take to end.
const stopGrace = 3 * time.Second

// speaker is a process that has introduced itself.
type speaker struct {
	process     *process
	client      *plugin.Client
	rpc         *pluginrpc.Client
	pulse       grpc_health_v1.HealthClient
	description pluginrpc.Description
	started     time.Time
}

// introduce goes through the handshake and asks the plugin what it is.
func (s *speaker) introduce(ctx context.Context) error {
	protocol, err := s.client.Client()
	if err != nil {
		return err
	}
	wire, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return fmt.Errorf("it speaks %T, not gRPC", protocol)
	}
	dispensed, err := wire.Dispense(pluginrpc.PluginName)
	if err != nil {
		return err
	}
	if s.rpc, ok = dispensed.(*pluginrpc.Client); !ok {
		return fmt.Errorf("it dispenses %T, not a backend", dispensed)
	}
	s.pulse = grpc_health_v1.NewHealthClient(wire.Conn)
	s.description, err = s.rpc.Describe(ctx)
	return err
}

// ping asks for a sign of life. It asks the process, not its store.
func (s *speaker) ping(ctx context.Context) error {
	resp, err := s.pulse.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return err
	}
	if got := resp.GetStatus(); got != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("%w (it says %s)", errStuck, got)
	}
	return nil
}

// dying tells a call that failed with its process from one that the process refused. The
// connection breaks a little before the end of the process is known.
func (s *speaker) dying(ctx context.Context) bool {
	if s.ping(ctx) == nil {
		return false
	}
	select {
	case <-s.process.drained:
		return true
	case <-time.After(stopGrace):
		return false
	}
}

// stop ends the process, by go-plugin's shutdown while it answers and else by force, and
// returns when it is gone. go-plugin's Kill has no limit of its own.
func (s *speaker) stop() {
	limit := time.AfterFunc(stopGrace, s.process.kill)
	defer limit.Stop()
	s.client.Kill()
}
