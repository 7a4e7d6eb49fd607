// Package telemetry measures and traces Prism with the OpenTelemetry API. It holds no SDK: a
// program that embeds Prism brings its own, and without one everything here is next to free.
//
// Metrics are the instruments; Observer, Follow, Wrap and the methods that hooks call feed
// them. Counters that are on the path of every pick are kept in atomics and read only when
// somebody collects (counters.go).
//
// Labels are bounded: kinds of error, routes and methods are few by nature, service names are
// capped, and instance ids are never labels.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Scope names the instrumentation, for meters and tracers.
const Scope = "github.com/marketprism/prism"

// defaultMaxServices is how many service names become labels.
const defaultMaxServices = 1000

// other is the label of what is beyond the cap. No service can have this name.
const other = "_other"

// seconds are the bounds of every histogram: from a map's time to a store's timeout.
var seconds = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// Options say which labels there are.
type Options struct {
	// Services puts the service's name on the metrics that are about one
	// (monitoring.metrics_labels.service).
	Services bool
	// MaxServices is how many names become labels; those that come later share the label
	// "_other". 0 means 1,000.
	MaxServices int
}

// Metrics are Prism's instruments on one meter. Safe for concurrent use.
type Metrics struct {
	registrations *counters
	discoveries   *counters
	healthChecks  *counters
	events        *counters
	mutations     *counters
	watched       *counters
	pluginStarts  *counters
	pluginEnds    *counters
	missed        *counters
	droppedLogs   *counters

	registering histogram
	checking    histogram
	calling     histogram
	requesting  histogram
	starting    histogram

	gauges gauges

	mu         sync.Mutex // guards registered
	registered []metric.Registration
}

// New makes the instruments. Close takes them out of the meter again.
func New(meter metric.Meter, o Options) (*Metrics, error) {
	if o.MaxServices <= 0 {
		o.MaxServices = defaultMaxServices
	}
	m := &Metrics{}
	names := &names{limit: o.MaxServices}
	service := attribute.Key("service")
	var err error
	fail := func(e error) { err = errors.Join(err, e) }
	counter := func(name, doc string, keys ...attribute.Key) *counters {
		c := &counters{names: names, keys: keys, byService: len(keys) > 0 && keys[0] == service, showService: o.Services}
		c.init()
		inst, e := meter.Int64ObservableCounter(name, metric.WithDescription(doc))
		fail(e)
		if e == nil {
			fail(m.register(meter, c.collect(inst), inst))
		}
		return c
	}
	timing := func(name, doc string, keys ...attribute.Key) histogram {
		inst, e := meter.Float64Histogram(name, metric.WithDescription(doc), metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(seconds...))
		fail(e)
		return histogram{inst: inst, keys: keys, options: &sync.Map{}}
	}
	m.registrations = counter("service_discovery_registrations_total", "Registrations, by outcome.", service, "outcome")
	m.discoveries = counter("service_discovery_discoveries_total", "Reads of the view, by operation and outcome.", service, "operation", "outcome")
	m.healthChecks = counter("service_discovery_health_checks_total", "Scheduled health checks, by result.", service, "result")
	m.events = counter("prism_events_total", "Events that the host published, by type.", "type")
	m.missed = counter("prism_events_missed_total", "Events that the host's own log was too slow for.")
	m.mutations = counter("prism_backend_mutations_total", "Records written to the backend, by kind and outcome.", "kind", "outcome")
	m.watched = counter("prism_backend_watch_messages_total", "Messages of the backend's watch, by kind.", "kind")
	m.pluginStarts = counter("prism_plugin_starts_total", "Starts of the plugin's process; all but the first are restarts.")
	m.pluginEnds = counter("prism_plugin_ends_total", "Ends of the plugin's process, by reason.", "reason")
	m.droppedLogs = counter("prism_plugin_log_lines_dropped_total", "Lines of the plugin's log that came too fast.")
	m.registering = timing("prism_registration_duration_seconds", "Time of a registration.", "outcome")
	m.checking = timing("prism_health_check_duration_seconds", "Time of a scheduled health check.", "result")
	m.calling = timing("prism_backend_call_duration_seconds", "Time of a call to the backend.", "method", "outcome")
	m.requesting = timing("prism_http_request_duration_seconds", "Time of an HTTP request.", "route", "status")
	m.starting = timing("prism_plugin_start_duration_seconds", "Time from launch to use of the plugin's process.")
	m.gauges.names, m.gauges.showService = names, o.Services
	fail(m.gauges.make(meter))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the instruments: %w", err), m.Close())
	}
	m.seed()
	return m, nil
}

// seed makes the main counters show 0 rather than nothing before the first of a kind.
func (m *Metrics) seed() {
	m.registrations.add(0, "", "ok")
	m.discoveries.add(0, "", "services", "ok")
	m.healthChecks.add(0, "", "healthy")
	m.missed.add(0)
	m.pluginStarts.add(0)
	m.droppedLogs.add(0)
}

// register has f called whenever somebody collects.
func (m *Metrics) register(meter metric.Meter, f metric.Callback, insts ...metric.Observable) error {
	reg, err := meter.RegisterCallback(f, insts...)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registered = append(m.registered, reg)
	return nil
}

// Close ends what is called when somebody collects. The instruments may still be fed; it
// shows nowhere any more.
func (m *Metrics) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, reg := range m.registered {
		err = errors.Join(err, reg.Unregister())
	}
	m.registered = nil
	return err
}

// histogram records durations with prepared sets of labels.
type histogram struct {
	inst    metric.Float64Histogram
	keys    []attribute.Key
	options *sync.Map // labels → []metric.RecordOption
}

func (h histogram) record(ctx context.Context, took float64, values ...string) {
	if !h.inst.Enabled(ctx) {
		return
	}
	var l labels
	copy(l[:], values)
	prepared, known := h.options.Load(l)
	if !known {
		prepared, _ = h.options.LoadOrStore(l, []metric.RecordOption{metric.WithAttributeSet(attributeSet(h.keys, l))})
	}
	if opts, ok := prepared.([]metric.RecordOption); ok {
		h.inst.Record(ctx, took, opts...)
	}
}
