package probe

// connect.go: probes over a plain connection and over gRPC.

import (
	"context"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/marketprism/prism/ports"
)

// probeTCP opens a connection to the instance's address.
func (p *Prober) probeTCP(ctx context.Context, a attempt) ports.ProbeResult {
	conn, err := p.dialer.DialContext(ctx, "tcp", a.in.Address())
	if err != nil {
		return a.unanswered(ctx, a.in.Address(), err)
	}
	took := a.took()
	_ = conn.Close() // it was only to be opened
	return ports.ProbeResult{Healthy: true, Detail: fmt.Sprintf("TCP connection to %s %s", a.in.Address(), took)}
}

// probeGRPC asks grpc.health.v1.Health for the health of the whole server. A server without
// that service is alive for a check that nobody asked for, as for HTTP, and fails any other.
func (p *Prober) probeGRPC(ctx context.Context, a attempt) ports.ProbeResult {
	creds := insecure.NewCredentials()
	switch strings.ToLower(a.in.Scheme) {
	case "grpcs", "https":
		creds = credentials.NewTLS(p.tls.Clone())
	}
	conn, err := grpc.NewClient("passthrough:///"+a.in.Address(),
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithUserAgent(p.userAgent),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return p.dialer.DialContext(ctx, "tcp", address)
		}),
	)
	if err != nil {
		return a.unanswered(ctx, a.in.Address(), err)
	}
	defer func() { _ = conn.Close() }() // it fails only when closed before
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	switch {
	case err == nil:
		return ports.ProbeResult{
			Healthy: answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING,
			Detail:  fmt.Sprintf("gRPC health %s from %s %s", answer.GetStatus(), a.in.Address(), a.took()),
		}
	case status.Code(err) == codes.Unimplemented:
		detail := fmt.Sprintf("gRPC server at %s does not implement grpc.health.v1.Health", a.in.Address())
		if a.in.Check.Implicit {
			return ports.ProbeResult{Healthy: true, Detail: detail + "; it counts as alive, as nobody asked for this check"}
		}
		return ports.ProbeResult{Detail: detail + "; use a tcp check, or add the service"}
	default:
		return a.unanswered(ctx, a.in.Address(), fmt.Errorf("%s: %s", status.Code(err), status.Convert(err).Message()))
	}
}
