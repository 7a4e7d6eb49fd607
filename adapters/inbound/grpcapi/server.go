// Package grpcapi is the host's gRPC listener. It answers the standard health protocol
// (grpc.health.v1), whose status follows the host's readiness, and server reflection.
package grpcapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
)

// Options of a Server. Only Ready is needed.
type Options struct {
	// Ready says whether the host can do its work: nil, or the reason why not.
	Ready func(ctx context.Context) error
	// Interval is the time between two questions to Ready; 0 means 1 s.
	Interval time.Duration
	// TLS, with a certificate, encrypts; nil is plain text.
	TLS *tls.Config
	// Interceptors are put around calls, for tracing and authentication.
	Unary  []grpc.UnaryServerInterceptor
	Stream []grpc.StreamServerInterceptor
	Logger *slog.Logger // nil logs nothing
}

// Server is one gRPC listener.
type Server struct {
	o      Options
	grpc   *grpc.Server
	health *health.Server

	once sync.Once
	ctx  context.Context // ends with Stop
	end  context.CancelFunc
}

// New makes a Server that is not serving yet. The error says which option is missing.
func New(o Options) (*Server, error) {
	if o.Ready == nil {
		return nil, errors.New("grpcapi: Options.Ready is nil; give what says whether the host is ready")
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	opts := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(o.Unary...), grpc.ChainStreamInterceptor(o.Stream...),
		grpc.WaitForHandlers(true), grpc.ConnectionTimeout(5 * time.Second),
	}
	if o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s := &Server{o: o, grpc: grpc.NewServer(opts...), health: health.NewServer()}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s, nil
}

// Serve answers on a listener until Stop, and then returns nil. Any other end is an error. It
// closes the listener. It is called once.
func (s *Server) Serve(ln net.Listener) error {
	ctx, cancel := context.WithCancel(s.ctx)
	var readiness sync.WaitGroup
	readiness.Go(func() { s.watchReadiness(ctx) })
	defer readiness.Wait()
	defer cancel()
	if err := s.grpc.Serve(ln); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC on %s: %w", ln.Addr(), err)
	}
	return nil
}

// Stop tells clients that the host is not serving, ends streams of the health protocol, and
// lets calls finish until ctx ends; the rest is cut off.
func (s *Server) Stop(ctx context.Context) {
	s.once.Do(func() {
		s.end()
		s.health.Shutdown()
		cut := context.AfterFunc(ctx, s.grpc.Stop)
		s.grpc.GracefulStop()
		cut()
	})
}

// watchReadiness keeps the health status in step with readiness.
func (s *Server) watchReadiness(ctx context.Context) {
	tick := time.NewTicker(s.o.Interval)
	defer tick.Stop()
	var last error
	for first := true; ; first = false {
		err := s.ready(ctx)
		if ctx.Err() != nil {
			return
		}
		status := grpc_health_v1.HealthCheckResponse_SERVING
		if err != nil {
			status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
		}
		s.health.SetServingStatus("", status)
		if first || (err == nil) != (last == nil) {
			s.o.Logger.Debug("gRPC health", slog.String("status", status.String()), slog.Any("reason", err))
		}
		last = err
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.o.Ready(ctx)
}
