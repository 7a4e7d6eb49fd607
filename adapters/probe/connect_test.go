package probe_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/marketprism/prism/adapters/probe"
	"github.com/marketprism/prism/core"
)

// grpcServer serves until the test ends; status UNKNOWN leaves the health service out.
func grpcServer(t *testing.T, status grpc_health_v1.HealthCheckResponse_ServingStatus, o ...grpc.ServerOption) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(o...)
	if status != grpc_health_v1.HealthCheckResponse_UNKNOWN {
		service := health.NewServer()
		service.SetServingStatus("", status)
		grpc_health_v1.RegisterHealthServer(server, service)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		assert.NoError(t, <-done)
	})
	return l.Addr().String()
}

func TestGRPC(t *testing.T) {
	const (
		serving    = grpc_health_v1.HealthCheckResponse_SERVING
		notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
		without    = grpc_health_v1.HealthCheckResponse_UNKNOWN
	)
	silent := listen(t, "127.0.0.1:0", func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn) // until the probe gives up
		_ = conn.Close()
	})
	for name, tc := range map[string]struct {
		address string
		check   core.Check
		healthy bool
		detail  string
	}{
		"serving":                          {grpcServer(t, serving), core.Check{}, true, "gRPC health SERVING from 127.0.0.1:"},
		"not serving":                      {grpcServer(t, notServing), core.Check{}, false, "gRPC health NOT_SERVING from 127.0.0.1:"},
		"no health service":                {grpcServer(t, without), core.Check{}, false, "does not implement grpc.health.v1.Health; use a tcp check"},
		"no health service, default check": {grpcServer(t, without), core.Check{Implicit: true}, true, "it counts as alive, as nobody asked for this check"},
		"refused":                          {nobody(t), core.Check{}, false, "refused"},
		"no answer":                        {silent, core.Check{Timeout: 100 * time.Millisecond}, false, "within 100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.check.Type = core.CheckGRPC
			r := check(t, instance(t, "grpc", tc.address, tc.check))
			assert.Equal(t, tc.healthy, r.Healthy, r.Detail)
			assert.Contains(t, r.Detail, tc.detail)
		})
	}
}

func TestGRPCOverTLS(t *testing.T) {
	borrowed := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(borrowed.Close)
	address := grpcServer(t, grpc_health_v1.HealthCheckResponse_SERVING,
		grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: borrowed.TLS.Certificates, MinVersion: tls.VersionTLS12})))
	roots := x509.NewCertPool()
	roots.AddCert(borrowed.Certificate())
	in := instance(t, "grpcs", address, core.Check{Type: core.CheckGRPC})
	r, err := newProber(t, probe.Options{RootCAs: roots}).Probe(t.Context(), in)
	require.NoError(t, err)
	assert.True(t, r.Healthy, r.Detail)
	r, err = newProber(t, probe.Options{}).Probe(t.Context(), in)
	require.NoError(t, err)
	assert.False(t, r.Healthy)
	assert.Contains(t, r.Detail, "certificate")
}

func TestTCP(t *testing.T) {
	accept := func(conn net.Conn) { _ = conn.Close() }
	for _, address := range []string{listen(t, "127.0.0.1:0", accept), listen(t, "[::1]:0", accept)} {
		r := check(t, instance(t, "tcp", address, core.Check{Type: core.CheckTCP}))
		assert.True(t, r.Healthy, r.Detail)
		assert.Contains(t, r.Detail, "TCP connection to "+address+" in ")
	}
	r := check(t, instance(t, "tcp", nobody(t), core.Check{Type: core.CheckTCP}))
	assert.False(t, r.Healthy)
	assert.Contains(t, r.Detail, "refused")
}

func TestNoneAndUnknown(t *testing.T) {
	assert.True(t, check(t, core.Instance{Check: core.Check{Type: core.CheckNone}}).Healthy)
	p := newProber(t, probe.Options{})
	for _, typ := range []core.CheckType{"", "icmp", core.CheckExec} {
		_, err := p.Probe(t.Context(), core.Instance{Check: core.Check{Type: typ}})
		require.ErrorIs(t, err, core.ErrUnsupported)
	}
	_, err := p.Probe(t.Context(), core.Instance{Check: core.Check{Type: core.CheckExec}})
	require.EqualError(t, err, `check.type: "exec" is not allowed; this host does not allow exec checks; use http, tcp, grpc or none`)
}
