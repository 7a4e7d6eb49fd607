package main

// otel.go: the OpenTelemetry SDK: metrics for Prometheus, and metrics and traces to a
// collector where the standard variables name one.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/marketprism/prism/adapters/telemetry"
)

// sdk is the process's OpenTelemetry.
type sdk struct {
	meters  *sdkmetric.MeterProvider
	tracers trace.TracerProvider
	tracing *sdktrace.TracerProvider // nil without a collector
	scrape  http.Handler
}

// startSDK sets OpenTelemetry up. Collectors are named by OTEL_EXPORTER_OTLP_ENDPOINT, or
// for one signal by OTEL_EXPORTER_OTLP_METRICS_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
func startSDK(ctx context.Context, log *slog.Logger) (*sdk, error) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("telemetry could not be sent", slog.Any("error", err))
	}))
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "prism"), attribute.String("service.version", programVersion()),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES cannot be read: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	pull, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("prepare /metrics: %w", err)
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(about), sdkmetric.WithReader(pull)}
	s := &sdk{tracers: noop.NewTracerProvider(), scrape: promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}
	if collectorFor("METRICS") {
		push, err := otlpmetricgrpc.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("OTLP metrics: %w", err)
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(push)))
	}
	s.meters = sdkmetric.NewMeterProvider(options...)
	if collectorFor("TRACES") {
		push, err := otlptracegrpc.New(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("OTLP traces: %w", err), s.meters.Shutdown(ctx))
		}
		s.tracing = sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithBatcher(push))
		s.tracers = s.tracing
	}
	return s, nil
}

func collectorFor(signal string) bool {
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

// stop sends what is left.
func (s *sdk) stop(ctx context.Context) error {
	var err error
	if s.tracing != nil {
		err = s.tracing.Shutdown(ctx)
	}
	return errors.Join(err, s.meters.Shutdown(ctx))
}

// traced puts a span around each request, and goes on with the trace that it carries; nil
// without a collector.
func (s *sdk) traced() func(http.Handler) http.Handler {
	if s.tracing == nil {
		return nil
	}
	tracer := s.tracers.Tracer(telemetry.Scope)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
			ctx, span := tracer.Start(ctx, "prism.http", trace.WithSpanKind(trace.SpanKindServer))
			defer span.End()
			r = r.WithContext(ctx)
			next.ServeHTTP(w, r)
			if r.Pattern != "" { // ServeMux has found the route
				span.SetName(r.Pattern)
			}
		})
	}
}
