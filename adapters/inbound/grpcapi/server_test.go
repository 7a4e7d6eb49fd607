package grpcapi_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/marketprism/prism/adapters/inbound/grpcapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves on a free port and gives a connection to it.
func start(t *testing.T, ready func(context.Context) error) (*grpcapi.Server, *grpc.ClientConn, chan error) {
	t.Helper()
	s, err := grpcapi.New(grpcapi.Options{Ready: ready, Interval: time.Millisecond})
	require.NoError(t, err)
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		s.Stop(context.WithoutCancel(t.Context()))
		_ = conn.Close()
	})
	return s, conn, served
}

func TestHealthFollowsReadiness(t *testing.T) {
	var away atomic.Bool
	away.Store(true)
	s, conn, served := start(t, func(context.Context) error {
		if away.Load() {
			return errors.New("the store is away")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	next := func() healthpb.HealthCheckResponse_ServingStatus {
		got, err := stream.Recv()
		require.NoError(t, err)
		return got.GetStatus()
	}
	assert.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, next())
	away.Store(false)
	assert.Equal(t, healthpb.HealthCheckResponse_SERVING, next())
	away.Store(true)
	assert.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, next())
	away.Store(false)
	assert.Equal(t, healthpb.HealthCheckResponse_SERVING, next())

	// A health stream lasts until its client goes: Stop says NOT_SERVING, waits and cuts it off.
	brief, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	s.Stop(brief)
	assert.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, next())
	_, err = stream.Recv()
	require.Error(t, err)
	require.NoError(t, <-served)
}

func TestReflection(t *testing.T) {
	_, conn, _ := start(t, func(context.Context) error { return nil })
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
	}))
	got, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, s := range got.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	assert.Contains(t, names, "grpc.health.v1.Health")
	require.NoError(t, stream.CloseSend())
}

func TestStopBeforeServe(t *testing.T) {
	s, err := grpcapi.New(grpcapi.Options{Ready: func(context.Context) error { return nil }})
	require.NoError(t, err)
	s.Stop(t.Context())
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, s.Serve(ln))
	s.Stop(t.Context())
}

func TestReadyIsNeeded(t *testing.T) {
	_, err := grpcapi.New(grpcapi.Options{})
	require.ErrorContains(t, err, "Options.Ready")
}
