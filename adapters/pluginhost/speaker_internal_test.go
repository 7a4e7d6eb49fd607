package pluginhost

// speaker_internal_test.go: signs of life, and the end of a process that gives none.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// pulse answers every question for a service's health in one way.
type pulse struct {
	grpc_health_v1.HealthClient

	status grpc_health_v1.HealthCheckResponse_ServingStatus
}

func (p pulse) Check(_ context.Context, r *grpc_health_v1.HealthCheckRequest, _ ...grpc.CallOption) (*grpc_health_v1.HealthCheckResponse, error) {
	if r.GetService() != "plugin" {
		return nil, context.Canceled
	}
	return &grpc_health_v1.HealthCheckResponse{Status: p.status}, nil
}

// go-plugin's own Ping takes every answer for a good one.
func TestPingHeedsTheAnswer(t *testing.T) {
	s := speaker{pulse: pulse{status: grpc_health_v1.HealthCheckResponse_SERVING}}
	require.NoError(t, s.ping(t.Context()))
	s.pulse = pulse{status: grpc_health_v1.HealthCheckResponse_NOT_SERVING}
	assert.ErrorContains(t, s.ping(t.Context()), "NOT_SERVING")
}

// go-plugin goes on without its stdio stream only when that is unavailable; after any other
// failure it leaves the connection open for good.
func TestStdioMayFail(t *testing.T) {
	fail := func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
		return nil, status.Error(codes.Canceled, "the process is gone")
	}
	for method, want := range map[string]codes.Code{
		"/plugin.GRPCStdio/StreamStdio":           codes.Unavailable,
		"/prism.backend.v1.RegistryBackend/Watch": codes.Canceled,
	} {
		_, err := forgiveStdio(t.Context(), nil, nil, method, fail)
		assert.Equal(t, want, status.Code(err), method)
	}
}
