package pluginrpc

// overrun.go: notices a backend that is stuck. The contract asks every call to return soon
// after its context has ended, by its deadline or because the host gave it up. One that does
// not is deadlocked, and holds what other calls will want too: the process then says so to its
// host's heartbeat, which replaces it. A watch lasts as long as its stream is wanted, so its
// length is no overrun; that it goes on for nobody is.

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
)

const (
	// lookEvery is the time between two looks at the calls that are under way.
	lookEvery = time.Second
	// overrunLooks is how many looks a call may outlive its context. Looks are counted and not
	// the time, so that a process that was stopped, or whose machine was, has its whole margin
	// left when it goes on.
	overrunLooks = 10
)

// backendMethods is how the full names of the backend's methods begin; go-plugin's own streams
// are not a backend's.
var backendMethods = "/" + backendv1.RegistryBackend_ServiceDesc.ServiceName + "/"

// overruns knows the calls that are under way. It is safe for concurrent use.
type overruns struct {
	log   *slog.Logger
	stuck atomic.Bool // whether a call has overrun, at the latest look

	mu      sync.Mutex
	running map[*running]struct{} // guarded by mu
}

// running is one call.
type running struct {
	method string
	ctx    context.Context
	late   int // looks since ctx ended; of look alone
}

func newOverruns(log *slog.Logger) *overruns {
	return &overruns{log: log, running: make(map[*running]struct{})}
}

// options make a server report its calls, and its health with respect to them.
func (o *overruns) options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(o.unary), grpc.ChainStreamInterceptor(o.stream)}
}

// unary answers health checks in the place of go-plugin's service, which always says SERVING,
// while a call is stuck.
func (o *overruns) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if info.FullMethod == grpc_health_v1.Health_Check_FullMethodName && o.stuck.Load() {
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING}, nil
	}
	defer o.begin(ctx, info.FullMethod)()
	return next(ctx, req)
}

func (o *overruns) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	defer o.begin(stream.Context(), info.FullMethod)()
	return next(srv, stream)
}

// begin takes note of a call until the returned function is called.
func (o *overruns) begin(ctx context.Context, fullMethod string) (end func()) {
	method, ours := strings.CutPrefix(fullMethod, backendMethods)
	if !ours {
		return func() {}
	}
	r := &running{method: method, ctx: ctx}
	o.mu.Lock()
	o.running[r] = struct{}{}
	o.mu.Unlock()
	return func() {
		o.mu.Lock()
		delete(o.running, r)
		o.mu.Unlock()
	}
}

// watch looks at regular times until ctx ends.
func (o *overruns) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			o.look()
		}
	}
}

// look counts, and says once of each call that it has overrun. One goroutine calls it.
func (o *overruns) look() {
	var found []string
	stuck := false
	o.mu.Lock()
	for r := range o.running {
		if r.ctx.Err() == nil {
			continue
		}
		r.late++
		stuck = stuck || r.late >= overrunLooks
		if r.late == overrunLooks {
			found = append(found, r.method)
		}
	}
	o.mu.Unlock()
	if was := o.stuck.Swap(stuck); was && !stuck {
		o.log.Warn("the backend came back from its calls after all")
	}
	for _, method := range found {
		o.log.Error("the backend is stuck: a call goes on although it was given up; the host is told NOT_SERVING",
			"method", method, "since", time.Duration(overrunLooks)*lookEvery)
	}
}
