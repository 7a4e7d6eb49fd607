package pluginrpc

// trace.go: the plugin's half of traces that go on in it. The host puts the W3C trace context
// (https://www.w3.org/TR/trace-context/) into the metadata of each call, and a backend whose
// author instruments it finds it in its contexts. Only the API of OpenTelemetry is used: which
// SDK a plugin has, if any, is its author's choice.

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// traced returns ctx with the remote span that the call's metadata tells of. Metadata without
// one, or with one that is malformed, changes nothing.
func traced(ctx context.Context) context.Context {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok || len(md["traceparent"]) == 0 { // The usual case, for which nothing is allocated.
		return ctx
	}
	carrier := propagation.MapCarrier{}
	for _, key := range (propagation.TraceContext{}).Fields() {
		carrier[key] = strings.Join(md.Get(key), ",")
	}
	return propagation.TraceContext{}.Extract(ctx, carrier)
}

func traceUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	return next(traced(ctx), req)
}

func traceStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, &tracedStream{ServerStream: stream, ctx: traced(stream.Context())})
}

// tracedStream is a stream with another context.
type tracedStream struct {
	grpc.ServerStream

	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *tracedStream) Context() context.Context { return s.ctx }
