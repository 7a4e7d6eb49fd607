package pluginrpc

// overrun_internal_test.go: which calls count as stuck, and when. That the host acts on it is
// shown in adapters/pluginhost (TestStuckBackendIsReplaced).

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
)

// watched are overruns that are being looked at for the length of the test, and their log.
func watched(t *testing.T) (*overruns, *strings.Builder) {
	t.Helper()
	log := &strings.Builder{} // Read once the bubble is idle.
	o := newOverruns(slog.New(slog.NewTextHandler(log, nil)))
	go o.watch(t.Context())
	return o, log
}

// serving asks for the health as a host does; go-plugin's service says SERVING always.
func serving(t *testing.T, o *overruns) bool {
	t.Helper()
	info := &grpc.UnaryServerInfo{FullMethod: grpc_health_v1.Health_Check_FullMethodName}
	resp, err := o.unary(t.Context(), nil, info, func(context.Context, any) (any, error) {
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
	})
	require.NoError(t, err)
	health, ok := resp.(*grpc_health_v1.HealthCheckResponse)
	require.True(t, ok)
	return health.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING
}

// stuckCall runs a unary call whose handler returns when it is released, whatever its context
// says.
func stuckCall(ctx context.Context, o *overruns) (release func()) {
	over := make(chan struct{})
	go func() {
		_, _ = o.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: backendv1.RegistryBackend_Apply_FullMethodName},
			func(context.Context, any) (any, error) {
				<-over
				return nil, nil //nolint:nilnil // nobody looks at it
			})
	}()
	return func() { close(over) }
}

func TestCallThatOutlivesItsContextIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := watched(t)
		const deadline = time.Minute + lookEvery/2 // Between two looks.
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		release := stuckCall(ctx, o)
		time.Sleep(deadline + 9*time.Second)
		assert.True(t, serving(t, o), "within its margin")
		time.Sleep(2 * time.Second)
		assert.False(t, serving(t, o))
		time.Sleep(time.Minute)
		assert.False(t, serving(t, o))
		synctest.Wait()
		assert.Equal(t, 1, strings.Count(log.String(), "the backend is stuck"), "it is said once:\n%s", log)
		assert.Contains(t, log.String(), "method=Apply")

		release()
		time.Sleep(2 * time.Second)
		assert.True(t, serving(t, o), "it came back")
		synctest.Wait()
		assert.Contains(t, log.String(), "came back from its calls after all")
	})
}

func TestCallThatIsGivenUpAndReturnsIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := watched(t)
		for range 20 { // One after the other, which together are longer than the margin.
			ctx, cancel := context.WithCancel(t.Context())
			release := stuckCall(ctx, o)
			cancel()
			time.Sleep(3 * time.Second)
			release()
		}
		assert.True(t, serving(t, o))
		synctest.Wait()
		assert.Empty(t, log.String())
		assert.Empty(t, o.running)
	})
}

// stream is a ServerStream of which only the context is asked.
type stream struct {
	grpc.ServerStream

	ctx context.Context
}

func (s stream) Context() context.Context { return s.ctx }

func TestLongStreamIsNotStuck(t *testing.T) {
	for method, stuck := range map[string]bool{
		backendv1.RegistryBackend_Watch_FullMethodName: true,
		"/plugin.GRPCStdio/StreamStdio":                false, // No backend's.
	} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _ := watched(t)
				ctx, hangUp := context.WithCancel(t.Context())
				over := make(chan struct{})
				defer close(over)
				go func() {
					_ = o.stream(nil, stream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: method},
						func(any, grpc.ServerStream) error {
							<-over
							return nil
						})
				}()
				time.Sleep(24 * time.Hour)
				assert.True(t, serving(t, o), "somebody watches")
				hangUp()
				time.Sleep(11 * time.Second)
				assert.Equal(t, !stuck, serving(t, o), "nobody does")
			})
		})
	}
}

// A process that was stopped finds all its deadlines passed at once. That is one look, however
// long it took.
func TestPauseIsNoOverrun(t *testing.T) {
	o := newOverruns(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Hour))
	defer cancel()
	end := o.begin(ctx, backendv1.RegistryBackend_Get_FullMethodName)
	for range overrunLooks - 1 {
		o.look()
		assert.True(t, serving(t, o))
	}
	o.look()
	assert.False(t, serving(t, o))
	end()
	o.look()
	assert.True(t, serving(t, o))
}
