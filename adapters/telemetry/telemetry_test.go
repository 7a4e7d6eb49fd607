package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/marketprism/prism/adapters/telemetry"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// meters gives Metrics and a function that collects them as "name{label=value,…}" → value.
func meters(t *testing.T, o telemetry.Options) (m *telemetry.Metrics, provider *sdk.MeterProvider, collect func() map[string]float64) {
	t.Helper()
	reader := sdk.NewManualReader()
	provider = sdk.NewMeterProvider(sdk.WithReader(reader))
	t.Cleanup(func() { assert.NoError(t, provider.Shutdown(context.Background())) })
	m, err := telemetry.New(provider.Meter(telemetry.Scope), o)
	require.NoError(t, err)
	return m, provider, func() map[string]float64 {
		var rm metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(context.Background(), &rm))
		out := map[string]float64{}
		for _, scope := range rm.ScopeMetrics {
			for _, metric := range scope.Metrics {
				flatten(out, metric)
			}
		}
		return out
	}
}

func flatten(out map[string]float64, m metricdata.Metrics) {
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			out[m.Name+"{"+p.Attributes.Encoded(encoder{})+"}"] = float64(p.Value)
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			out[m.Name+"{"+p.Attributes.Encoded(encoder{})+"}"] = float64(p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			out[m.Name+"{"+p.Attributes.Encoded(encoder{})+"}"] = p.Value
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			out[m.Name+"{"+p.Attributes.Encoded(encoder{})+"}"] = float64(p.Count)
		}
	}
}

func open(t *testing.T, opts ...discovery.Option) *discovery.Client {
	t.Helper()
	b, err := memory.Open(t.Context(), memory.Options{})
	require.NoError(t, err)
	c, err := discovery.Open(t.Context(), b, append(opts, discovery.WithDrainTimeout(0))...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close(context.Background())) })
	return c
}

func TestTheFourNamesAreThereBeforeAnythingHappened(t *testing.T) {
	m, provider, collect := meters(t, telemetry.Options{Services: true})
	require.NoError(t, m.Follow(provider.Meter(telemetry.Scope), open(t)))
	got := collect()
	for _, name := range []string{
		"service_discovery_registrations_total{outcome=ok,service=}",
		"service_discovery_discoveries_total{operation=services,outcome=ok,service=}",
		"service_discovery_health_checks_total{result=healthy,service=}",
		"service_discovery_instances_active{service=,status=healthy}",
	} {
		assert.Contains(t, got, name)
		assert.Zero(t, got[name])
	}
}

func TestWhatTheCoreDoesIsCounted(t *testing.T) {
	m, provider, collect := meters(t, telemetry.Options{Services: true})
	c := open(t, discovery.WithObserver(m.Observer()))
	require.NoError(t, m.Follow(provider.Meter(telemetry.Scope), c))

	_, err := c.Register(t.Context(), discovery.Spec{Service: "api", Host: "127.0.0.1", Port: 80})
	require.NoError(t, err)
	b, err := c.Register(t.Context(), discovery.Spec{Service: "api", Host: "127.0.0.1", Port: 81, Status: "maintenance"})
	require.NoError(t, err)
	_, err = c.Register(t.Context(), discovery.Spec{Service: "invented", Host: "127.0.0.1"})
	require.ErrorIs(t, err, core.ErrInvalid)
	_, err = c.Pick(t.Context(), "api", discovery.PickOptions{})
	require.NoError(t, err)
	_, err = c.Pick(t.Context(), "nobody", discovery.PickOptions{})
	require.ErrorIs(t, err, core.ErrNotFound)
	_, _, err = c.Instances(t.Context(), "nobody", discovery.Query{})
	require.NoError(t, err, "an unknown service lists as empty")
	_, err = c.Register(t.Context(), discovery.Spec{Service: "other", Host: "127.0.0.1"})
	require.ErrorIs(t, err, core.ErrInvalid)
	m.Observer().HealthCheck(b.Instance(), false, time.Millisecond)

	got := collect()
	assert.InDelta(t, 2, got["service_discovery_registrations_total{outcome=ok,service=api}"], 0)
	assert.InDelta(t, 2, got["service_discovery_registrations_total{outcome=invalid_argument,service=_other}"], 0, "a name that never registered is no label")
	assert.InDelta(t, 1, got["service_discovery_discoveries_total{operation=instances,outcome=ok,service=_other}"], 0)
	assert.InDelta(t, 1, got["service_discovery_discoveries_total{operation=pick,outcome=ok,service=api}"], 0)
	assert.InDelta(t, 1, got["service_discovery_discoveries_total{operation=pick,outcome=not_found,service=_other}"], 0)
	assert.InDelta(t, 1, got["service_discovery_health_checks_total{result=unhealthy,service=api}"], 0)
	assert.InDelta(t, 2, got["prism_registration_duration_seconds{outcome=ok}"], 0)
	assert.InDelta(t, 1, got["service_discovery_instances_active{service=api,status=unknown}"], 0)
	assert.InDelta(t, 1, got["service_discovery_instances_active{service=api,status=maintenance}"], 0)
	assert.InDelta(t, 2, got["prism_instances_held{}"], 0)
	assert.InDelta(t, 1, got["prism_backend_connected{}"], 0)

	require.NoError(t, b.SetStatus(t.Context(), "healthy", ""))
	got = collect()
	assert.InDelta(t, 1, got["service_discovery_instances_active{service=api,status=healthy}"], 0)
	assert.NotContains(t, got, "service_discovery_instances_active{service=api,status=maintenance}")
	require.NoError(t, b.Close(t.Context()))
	assert.NotContains(t, collect(), "service_discovery_instances_active{service=api,status=healthy}")
	assert.InDelta(t, 1, collect()["service_discovery_discoveries_total{operation=pick,outcome=ok,service=api}"], 0, "collecting is no discovery")
}

func TestServicesAreLabelsOnlyWhenAskedForAndOnlySoMany(t *testing.T) {
	for _, asked := range []bool{false, true} {
		t.Run(fmt.Sprint(asked), func(t *testing.T) {
			m, provider, collect := meters(t, telemetry.Options{Services: asked, MaxServices: 2})
			c := open(t, discovery.WithObserver(m.Observer()))
			require.NoError(t, m.Follow(provider.Meter(telemetry.Scope), c))
			for i := range 5 {
				_, err := c.Register(t.Context(), discovery.Spec{Service: fmt.Sprintf("s%d", i), Host: "127.0.0.1", Port: 80})
				require.NoError(t, err)
			}
			got := collect()
			if !asked {
				assert.InDelta(t, 5, got["service_discovery_registrations_total{outcome=ok}"], 0)
				assert.InDelta(t, 5, got["service_discovery_instances_active{status=unknown}"], 0)
				for name := range got {
					assert.NotContains(t, name, "service=")
				}
				return
			}
			assert.InDelta(t, 1, got["service_discovery_registrations_total{outcome=ok,service=s1}"], 0)
			assert.InDelta(t, 3, got["service_discovery_registrations_total{outcome=ok,service=_other}"], 0)
			assert.InDelta(t, 3, got["service_discovery_instances_active{service=_other,status=unknown}"], 0)
		})
	}
}

func TestEachCallOfABackendIsMeasuredAndTraced(t *testing.T) {
	m, _, collect := meters(t, telemetry.Options{})
	spans := tracetest.NewSpanRecorder()
	tracing := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	t.Cleanup(func() { assert.NoError(t, tracing.Shutdown(context.Background())) })
	store, err := memory.Open(t.Context(), memory.Options{})
	require.NoError(t, err)
	b := telemetry.Wrap(store, tracing.Tracer(telemetry.Scope), m)
	ctx := t.Context()

	require.NoError(t, b.Health(ctx))
	_, err = b.OpenSession(ctx, ports.SessionSpec{ID: "s", TTL: time.Minute})
	require.NoError(t, err)
	_, err = b.RenewSessions(ctx, []ports.SessionID{"s"})
	require.NoError(t, err)
	key := core.Key{Service: "api", ID: "1"}
	res, err := b.Apply(ctx, []ports.Mutation{
		{Put: &ports.Put{Record: ports.Record{Key: key, Generation: core.Generation{}.Next(), Session: "gone", Body: []byte("{}"), State: core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown}}}},
		{Delete: &ports.Delete{Key: key, Generation: core.Generation{}.Next(), Cause: core.CauseOperator}},
	})
	require.NoError(t, err)
	require.ErrorIs(t, res[0].Err, ports.ErrSessionGone)
	_, err = b.Get(ctx, []core.Key{key})
	require.NoError(t, err)
	w, err := b.Watch(ctx, ports.WatchRequest{})
	require.NoError(t, err)
	for err == nil {
		_, err = w.Next(ctx)
	}
	require.NoError(t, w.Close())
	require.NoError(t, b.CloseSession(ctx, "s"))

	got := collect()
	for _, method := range []string{"health", "open_session", "renew_sessions", "apply", "get", "watch", "close_session"} {
		assert.InDelta(t, 1, got["prism_backend_call_duration_seconds{method="+method+",outcome=ok}"], 0, method)
		assert.True(t, slices.ContainsFunc(spans.Ended(), func(s sdktrace.ReadOnlySpan) bool { return s.Name() == "prism.backend "+method }), method)
	}
	assert.InDelta(t, 1, got["prism_backend_mutations_total{kind=put,outcome=session_gone}"], 0)
	assert.InDelta(t, 1, got["prism_backend_mutations_total{kind=delete,outcome=not_found}"], 0)
	assert.InDelta(t, 1, got["prism_backend_watch_messages_total{kind=synced}"], 0)

	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Health(ctx), ports.ErrClosed)
	for name := range collect() {
		assert.Contains(t, name, "duration_seconds", "after Close nothing is read from here any more")
	}
}

func TestWhatHooksReport(t *testing.T) {
	m, _, collect := meters(t, telemetry.Options{})
	m.HTTP("GET /v1/services", 200, time.Millisecond)
	m.HTTP("", 404, time.Millisecond)
	m.Event(core.EventExpired)
	m.EventsMissed(7)
	m.PluginStarted(1, time.Second)
	m.PluginEnded(1, "hung")
	m.PluginLogDropped(3)
	got := collect()
	for name, want := range map[string]float64{
		"prism_http_request_duration_seconds{route=GET /v1/services,status=200}": 1,
		"prism_http_request_duration_seconds{route=other,status=404}":            1,
		"prism_events_total{type=service_expired}":                               1,
		"prism_events_missed_total{}":                                            7,
		"prism_plugin_starts_total{}":                                            1,
		"prism_plugin_ends_total{reason=hung}":                                   1,
		"prism_plugin_log_lines_dropped_total{}":                                 3,
		"prism_plugin_start_duration_seconds{}":                                  1,
	} {
		assert.InDelta(t, want, got[name], 0, name)
	}
}

// failing answers every write with an error of a kind.
type failing struct {
	ports.Backend

	err error
}

func (f failing) Apply(context.Context, []ports.Mutation) ([]ports.MutationResult, error) {
	return nil, f.err
}

func TestOutcomesAreKindsAndNeverTexts(t *testing.T) {
	for want, err := range map[string]error{
		"unavailable": fmt.Errorf("redis://u:secret@h: %w", ports.ErrUnavailable), "contention": ports.ErrContention,
		"canceled": context.Canceled, "deadline_exceeded": context.DeadlineExceeded, "unknown": errors.New("secret"),
	} {
		t.Run(want, func(t *testing.T) {
			m, _, collect := meters(t, telemetry.Options{})
			store, openErr := memory.Open(t.Context(), memory.Options{})
			require.NoError(t, openErr)
			b := telemetry.Wrap(failing{store, err}, noop.NewTracerProvider().Tracer(""), m)
			t.Cleanup(func() { assert.NoError(t, b.Close()) })
			_, got := b.Apply(t.Context(), []ports.Mutation{{SetState: &ports.SetState{}}})
			require.ErrorIs(t, got, err)
			values := collect()
			assert.InDelta(t, 1, values["prism_backend_call_duration_seconds{method=apply,outcome="+want+"}"], 0)
			assert.InDelta(t, 1, values["prism_backend_mutations_total{kind=set_state,outcome="+want+"}"], 0)
			for name := range values {
				assert.NotContains(t, name, "secret")
			}
		})
	}
}

func BenchmarkADiscoveryIsCounted(b *testing.B) {
	provider := sdk.NewMeterProvider(sdk.WithReader(sdk.NewManualReader()))
	m, err := telemetry.New(provider.Meter(telemetry.Scope), telemetry.Options{Services: true})
	require.NoError(b, err)
	count := m.Observer().Discovery
	b.ReportAllocs()
	for b.Loop() {
		count("api-gateway-service", "pick", "ok")
	}
}
