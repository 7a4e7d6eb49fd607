package pluginrpc_test

// trace_test.go: the host's span reaches the backend's contexts, through both halves as they
// are used: the host's dial options and a plugin's process.

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/adapters/telemetry"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// tracing is what the test binary plays: it answers with the span in the context of each call,
// as a key's service and its id.
func tracing(f *fake) {
	f.get = func(ctx context.Context, _ []core.Key) ([]ports.Found, error) {
		return []ports.Found{{Record: spanOf(ctx)}}, nil
	}
	f.watch = func(ctx context.Context, _ ports.WatchRequest) (ports.Watcher, error) {
		put := ports.WatchEvent{Kind: ports.WatchPut, Record: spanOf(ctx)}
		return scriptOf(context.Canceled, put), nil
	}
}

func spanOf(ctx context.Context) *ports.Record {
	span := trace.SpanContextFromContext(ctx)
	r := testRecord("a")
	r.Body = nil
	if span.IsValid() {
		r.Body = []byte(span.TraceID().String() + " " + span.SpanID().String() + " " + span.TraceFlags().String() + " " + span.TraceState().String())
		if !span.IsRemote() {
			r.Body = []byte("a span of the plugin's own")
		}
	}
	return &r
}

func TestTraceContextCrosses(t *testing.T) {
	c := launch(t, "traces", nil)
	conn := c.dial(t, telemetry.DialOptions()...)
	b, err := pluginrpc.NewClient(conn).Open(t.Context(), nil)
	require.NoError(t, err)
	state, err := trace.ParseTraceState("vendor=1,other=2")
	require.NoError(t, err)
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0xab, 15: 1}, SpanID: trace.SpanID{0xcd, 7: 2}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
	const want = "ab000000000000000000000000000001 cd00000000000002 01 vendor=1,other=2"
	seen := func(ctx context.Context) []string {
		found, err := b.Get(ctx, []core.Key{testKey})
		require.NoError(t, err)
		w, err := b.Watch(ctx, ports.WatchRequest{Follow: true})
		require.NoError(t, err)
		e, err := w.Next(ctx)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return []string{string(found[0].Record.Body), string(e.Record.Body)}
	}
	assert.Equal(t, []string{want, want}, seen(trace.ContextWithSpanContext(t.Context(), span)))
	assert.Equal(t, []string{"", ""}, seen(t.Context()), "no span, none invented")
	malformed := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-xyz", "tracestate", "=")
	assert.Equal(t, []string{"", ""}, seen(malformed))
	twice := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-ab000000000000000000000000000001-cd00000000000002-01")
	assert.Equal(t, []string{"", ""}, seen(trace.ContextWithSpanContext(twice, span)), "of two nobody knows which")
	require.NoError(t, c.stdin.Close())
	wait(t, c.exited, "the plugin ends")
}
