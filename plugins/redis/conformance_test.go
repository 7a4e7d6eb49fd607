package redis_test

// conformance_test.go: the suite over the backend in three ways, and what the backend claims.

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/redis"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// Pinned: a backend that claims less is asked for less.
func TestClaims(t *testing.T) {
	want := ports.Info{
		Name: "redis", Version: "1.0.0",
		Capabilities: ports.Capabilities{History: true, Resume: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: 500 * time.Millisecond, MinSessionTTL: time.Second},
	}
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	assert.Equal(t, want, redis.Info())
	for name, h := range map[string]conformance.Harness{"in process": inProcess(store), "over the wire": overTheWire(store), "launched": launched(t, store)} {
		b, err := h.Open(t.Context(), "prism")
		require.NoError(t, err, name)
		assert.Equal(t, want, b.Info(), name)
		require.NoError(t, b.Close(), name)
	}
}

func TestConformanceInProcess(t *testing.T) {
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	conformance.Test(t, func(*testing.T) conformance.Harness { return inProcess(store) })
}

func TestConformanceOverTheWire(t *testing.T) {
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	conformance.Test(t, func(*testing.T) conformance.Harness { return overTheWire(store) })
}

// The launched program has a server that is broken in every way.
func TestConformanceLaunched(t *testing.T) {
	store := stores.ForTest(t, stores.Redis, stores.Options{Proxied: true})
	conformance.Test(t, func(t *testing.T) conformance.Harness { return launched(t, store) })
}

func options(store *stores.Cluster) ways.Options {
	return func(string) map[string]any { return map[string]any{"url": store.URL()} }
}

func inProcess(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.InProcess(func(ctx context.Context, namespace string) (ports.Backend, error) {
		return redis.Open(ctx, redis.Options{Namespace: namespace, URL: store.URL()})
	}), vandal{store})
}

func overTheWire(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.OverTheWire(redis.Plugin(), options(store)), vandal{store})
}

func launched(t *testing.T, store *stores.Cluster) conformance.Harness {
	t.Helper()
	return ways.WithVandal(ways.WithFaults(ways.Launched(t.TempDir(), binary, "redis", options(store)), &faults{store: store}), vandal{store})
}

// faults breaks the server. It implements conformance.Faults.
type faults struct {
	store  *stores.Cluster
	broken conformance.Fault
}

func (f *faults) CanInflict(conformance.Fault) bool { return true }

func (f *faults) Inflict(ctx context.Context, fault conformance.Fault) error {
	f.broken = fault
	switch fault {
	case conformance.FaultStop, conformance.FaultLeader:
		return f.store.Stop(ctx)
	case conformance.FaultPause:
		return f.store.Pause()
	case conformance.FaultCut:
		return f.store.Cut(stores.Blackholed)
	case conformance.FaultWipe:
		return f.store.Wipe(ctx)
	}
	return fmt.Errorf("the fault %q is not known", fault)
}

func (f *faults) Mend(ctx context.Context) error {
	fault := f.broken
	f.broken = ""
	switch fault {
	case conformance.FaultStop, conformance.FaultLeader:
		return f.store.Start(ctx)
	case conformance.FaultPause:
		return f.store.Resume()
	case conformance.FaultCut:
		return f.store.Mend()
	case conformance.FaultWipe:
	}
	return nil
}

// vandal writes into Redis past the backend. It implements conformance.Vandal.
type vandal struct{ store *stores.Cluster }

func (v vandal) read(ctx context.Context, namespace string, k core.Key) (map[string]json.RawMessage, error) {
	client := goredis.NewClient(&goredis.Options{Addr: v.store.Addresses()[0]})
	defer func() { _ = client.Close() }()
	doc, err := client.HGet(ctx, "{prism:"+namespace+"}:records", k.Service+"/"+k.ID).Bytes()
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	return all, json.Unmarshal(doc, &all)
}

func (v vandal) write(ctx context.Context, namespace string, k core.Key, doc string) error {
	client := goredis.NewClient(&goredis.Options{Addr: v.store.Addresses()[0]})
	defer func() { _ = client.Close() }()
	return client.HSet(ctx, "{prism:"+namespace+"}:records", k.Service+"/"+k.ID, doc).Err()
}

func (v vandal) Corrupt(ctx context.Context, namespace string, k core.Key) error {
	return v.write(ctx, namespace, k, "\x00 no record")
}

func (v vandal) AddField(ctx context.Context, namespace string, k core.Key, field string, value json.RawMessage) error {
	all, err := v.read(ctx, namespace, k)
	if err != nil {
		return err
	}
	all[field] = value
	doc, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return v.write(ctx, namespace, k, string(doc))
}

func (v vandal) Field(ctx context.Context, namespace string, k core.Key, field string) (json.RawMessage, error) {
	all, err := v.read(ctx, namespace, k)
	return all[field], err
}
