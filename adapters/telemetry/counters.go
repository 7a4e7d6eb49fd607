package telemetry

// counters.go: counters that cost a look-up and an addition. They are observable instruments:
// the SDK reads them when somebody collects, instead of being called for each event.

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// labels are the values of a cell, in the order of its counters' keys.
type labels [3]string

// counters is one counter for each combination of labels.
type counters struct {
	names       *names
	keys        []attribute.Key
	byService   bool // the first label is a service's name
	showService bool // and it is shown

	// cells are found by their first label, which tells most apart, and then one by one.
	cells atomic.Pointer[map[string][]*cell]
	mu    sync.Mutex // serialises changes of the map
}

type cell struct {
	labels  labels
	n       atomic.Int64
	options []metric.ObserveOption
}

func (c *counters) init() { c.cells.Store(&map[string][]*cell{}) }

func (c *counters) find(l *labels) *cell {
	for _, found := range (*c.cells.Load())[l[0]] {
		if found.labels == *l {
			return found
		}
	}
	return nil
}

// add counts. A service's name that is new becomes a label as long as there is room.
func (c *counters) add(n int64, values ...string) {
	var l labels
	copy(l[:], values)
	if c.byService && !c.showService {
		l[0] = ""
	}
	if found := c.find(&l); found != nil {
		found.n.Add(n)
		return
	}
	c.addNew(n, l)
}

// addKnown is add for what anybody can name: a service's name that is new does not become a
// label.
func (c *counters) addKnown(n int64, values ...string) {
	var l labels
	copy(l[:], values)
	if found := c.find(&l); found != nil {
		found.n.Add(n)
		return
	}
	if c.byService && !c.names.known(values[0]) {
		values[0] = other
	}
	c.add(n, values...)
}

func (c *counters) addNew(n int64, l labels) {
	if c.byService {
		l[0] = c.names.label(l[0])
	}
	if found := c.find(&l); found != nil {
		found.n.Add(n)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.find(&l)
	if found == nil {
		keys, shown := c.keys, l
		if c.byService && !c.showService {
			keys = keys[1:]
			copy(shown[:], l[1:])
		}
		found = &cell{labels: l, options: []metric.ObserveOption{metric.WithAttributeSet(attributeSet(keys, shown))}}
		next := maps.Clone(*c.cells.Load())
		next[l[0]] = append(slices.Clip(next[l[0]]), found)
		c.cells.Store(&next)
	}
	found.n.Add(n)
}

// collect returns what reports all cells to an instrument.
func (c *counters) collect(inst metric.Int64Observable) metric.Callback {
	return func(_ context.Context, o metric.Observer) error {
		for _, cells := range *c.cells.Load() {
			for _, found := range cells {
				o.ObserveInt64(inst, found.n.Load(), found.options...)
			}
		}
		return nil
	}
}

func attributeSet(keys []attribute.Key, values labels) attribute.Set {
	kvs := make([]attribute.KeyValue, len(keys))
	for i, k := range keys {
		kvs[i] = k.String(values[i])
	}
	return attribute.NewSet(kvs...)
}

// names are the services that are labels: the first so many, for all metrics the same.
type names struct {
	limit int
	mu    sync.RWMutex
	set   map[string]struct{}
}

func (n *names) known(service string) bool {
	if service == "" || service == other {
		return true
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, ok := n.set[service]
	return ok
}

// label returns the label of a service, which is its name or "_other".
func (n *names) label(service string) string {
	if n.known(service) {
		return service
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.set[service]; ok {
		return service
	}
	if len(n.set) >= n.limit {
		return other
	}
	if n.set == nil {
		n.set = map[string]struct{}{}
	}
	n.set[service] = struct{}{}
	return service
}
