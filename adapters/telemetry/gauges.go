package telemetry

// gauges.go: what there is now, read from a client when somebody collects. Instances are
// counted by following the view's changes since the last time, so that a collection costs
// what has changed, not what there is.

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// gauges are the instruments that describe a client.
type gauges struct {
	names       *names
	showService bool

	instances metric.Int64ObservableGauge
	services  metric.Int64ObservableGauge
	age       metric.Float64ObservableGauge
	lag       metric.Float64ObservableGauge
	stale     metric.Int64ObservableGauge
	connected metric.Int64ObservableGauge
	held      metric.Int64ObservableGauge
	sessions  metric.Int64ObservableGauge
	skipped   metric.Int64ObservableGauge
}

func (g *gauges) make(meter metric.Meter) error {
	var err error
	whole := func(name, doc string) metric.Int64ObservableGauge {
		inst, e := meter.Int64ObservableGauge(name, metric.WithDescription(doc))
		err = errors.Join(err, e)
		return inst
	}
	g.instances = whole("service_discovery_instances_active", "Instances in the view, by status.")
	g.services = whole("prism_services", "Services that have instances.")
	g.stale = whole("prism_view_stale", "1 when the view may lag behind the store, else 0.")
	g.connected = whole("prism_backend_connected", "1 when the watch is up and the view is complete, else 0.")
	g.held = whole("prism_instances_held", "Instances that this process keeps alive.")
	g.sessions = whole("prism_sessions", "Sessions that this process has open in the store.")
	g.skipped = whole("prism_records_skipped", "Records in the store that could not be read.")
	age, e := meter.Float64ObservableGauge("prism_view_age_seconds", metric.WithUnit("s"),
		metric.WithDescription("Time since the last proof that the view is current."))
	g.age = age
	err = errors.Join(err, e)
	g.lag, e = meter.Float64ObservableGauge("prism_watch_lag_seconds", metric.WithUnit("s"),
		metric.WithDescription("Time from the acknowledgement of a write of this process to the watch showing it: the latest, or one under way."))
	return errors.Join(err, e)
}

// Follow shows a client in the gauges until Close, or until the client is closed.
func (m *Metrics) Follow(meter metric.Meter, client *discovery.Client) error {
	watch, err := client.Watch()
	if err != nil {
		return err
	}
	g := &m.gauges
	f := &following{gauges: g, client: client, watch: watch, status: map[core.Key]core.Status{}, count: map[labels]int64{}}
	return m.register(meter, f.collect, g.instances, g.services, g.age, g.lag, g.stale, g.connected, g.held, g.sessions, g.skipped)
}

// following is one client as it was when it was last looked at.
type following struct {
	*gauges

	client *discovery.Client

	mu     sync.Mutex // guards what follows; readers may collect at the same time
	watch  *discovery.Watch
	status map[core.Key]core.Status
	count  map[labels]int64 // by service and status
}

func (f *following) collect(_ context.Context, o metric.Observer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.catchUp() {
		return nil
	}
	f.showInstances(o)
	st := f.client.Status()
	o.ObserveInt64(f.services, int64(st.Services))
	o.ObserveFloat64(f.age, st.Freshness.Age.Seconds())
	o.ObserveFloat64(f.lag, st.WatchLag.Seconds())
	o.ObserveInt64(f.stale, truth(st.Freshness.Stale))
	o.ObserveInt64(f.connected, truth(st.Connected))
	o.ObserveInt64(f.held, int64(st.Held))
	o.ObserveInt64(f.sessions, int64(st.Sessions))
	o.ObserveInt64(f.skipped, int64(st.Skipped))
	return nil
}

// catchUp takes in what has changed; false when the client is closed.
func (f *following) catchUp() bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so that Next gives what there is and waits for nothing
	for {
		item, err := f.watch.Next(ctx)
		if err != nil {
			return !errors.Is(err, core.ErrClosed)
		}
		switch item.Kind {
		case discovery.WatchPut:
			f.forget(item.Key)
			status := item.Instance.Status()
			f.status[item.Key] = status
			f.count[labels{item.Key.Service, string(status)}]++
		case discovery.WatchDelete:
			f.forget(item.Key)
		case discovery.WatchReset, discovery.WatchSynced:
		}
	}
}

func (f *following) forget(key core.Key) {
	status, known := f.status[key]
	if !known {
		return
	}
	delete(f.status, key)
	l := labels{key.Service, string(status)}
	if f.count[l]--; f.count[l] == 0 {
		delete(f.count, l)
	}
}

// showInstances reports the counts; services beyond the cap, or all when services are no
// labels, are added up.
func (f *following) showInstances(o metric.Observer) {
	sums := map[labels]int64{}
	for l, n := range f.count {
		if f.showService {
			l[0] = f.names.label(l[0])
		} else {
			l[0] = ""
		}
		sums[l] += n
	}
	if len(sums) == 0 {
		sums[labels{"", string(core.StatusHealthy)}] = 0
	}
	keys := []attribute.Key{"service", "status"}
	for l, n := range sums {
		if !f.showService {
			keys, l = []attribute.Key{"status"}, labels{l[1]}
		}
		o.ObserveInt64(f.instances, n, metric.WithAttributeSet(attributeSet(keys, l)))
	}
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
