package etcd_test

// conformance_test.go: the suite over the backend in three ways, and what the backend claims.

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/etcd"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// Pinned: a backend that claims less is asked for less.
func TestClaims(t *testing.T) {
	want := ports.Info{
		Name: "etcd", Version: "1.0.0",
		Capabilities: ports.Capabilities{History: true, Resume: true, Replicated: true, ExpiryUnattended: true, Durable: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: 1500 * time.Millisecond, MinSessionTTL: 2 * time.Second},
	}
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	assert.Equal(t, want, etcd.Info())
	for name, h := range map[string]conformance.Harness{"in process": inProcess(store), "over the wire": overTheWire(store), "launched": launched(t, store)} {
		b, err := h.Open(t.Context(), "prism")
		require.NoError(t, err, name)
		assert.Equal(t, want, b.Info(), name)
		require.NoError(t, b.Close(), name)
	}
}

func TestConformanceInProcess(t *testing.T) {
	store := stores.ForTest(t, stores.Etcd, stores.Options{})
	conformance.Test(t, func(*testing.T) conformance.Harness { return inProcess(store) })
}

func TestConformanceOverTheWire(t *testing.T) {
	store := stores.ForTest(t, stores.Etcd, stores.Options{})
	conformance.Test(t, func(*testing.T) conformance.Harness { return overTheWire(store) })
}

// The launched program has three servers, which are broken in every way.
func TestConformanceLaunched(t *testing.T) {
	store := stores.ForTest(t, stores.Etcd, stores.Options{Nodes: 3, Proxied: true})
	conformance.Test(t, func(t *testing.T) conformance.Harness { return launched(t, store) })
}

func options(store *stores.Cluster) ways.Options {
	return func(string) map[string]any { return map[string]any{"url": strings.Join(store.URLs(), ",")} }
}

func inProcess(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.InProcess(func(ctx context.Context, namespace string) (ports.Backend, error) {
		return etcd.Open(ctx, etcd.Options{Namespace: namespace, URLs: store.URLs()})
	}), vandal{store})
}

func overTheWire(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.OverTheWire(etcd.Plugin(), options(store)), vandal{store})
}

func launched(t *testing.T, store *stores.Cluster) conformance.Harness {
	t.Helper()
	return ways.WithVandal(ways.WithFaults(ways.Launched(t.TempDir(), binary, "etcd", options(store)), &faults{store: store}), vandal{store})
}

// faults breaks the servers. It implements conformance.Faults.
type faults struct {
	store  *stores.Cluster
	leader int // the node that was taken
	broken conformance.Fault
}

func (f *faults) CanInflict(conformance.Fault) bool { return true }

func (f *faults) Inflict(ctx context.Context, fault conformance.Fault) (err error) {
	f.broken = fault
	switch fault {
	case conformance.FaultStop:
		return f.store.Stop(ctx)
	case conformance.FaultPause:
		return f.store.Pause()
	case conformance.FaultCut:
		return f.store.Cut(stores.Blackholed)
	case conformance.FaultWipe:
		return f.store.Wipe(ctx)
	case conformance.FaultLeader:
		if f.leader, err = f.store.Leader(ctx); err != nil {
			return err
		}
		return f.store.KillNode(f.leader)
	}
	return fmt.Errorf("the fault %q is not known", fault)
}

func (f *faults) Mend(ctx context.Context) error {
	fault := f.broken
	f.broken = ""
	switch fault {
	case conformance.FaultStop:
		return f.store.Start(ctx)
	case conformance.FaultPause:
		return f.store.Resume()
	case conformance.FaultCut:
		return f.store.Mend()
	case conformance.FaultLeader:
		return f.store.StartNode(ctx, f.leader)
	case conformance.FaultWipe:
	}
	return nil
}

// vandal writes into etcd past the backend. It implements conformance.Vandal.
type vandal struct{ store *stores.Cluster }

func (v vandal) do(ctx context.Context, op clientv3.Op) (*clientv3.GetResponse, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: v.store.URLs(), Context: ctx})
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	resp, err := client.Do(ctx, op)
	return resp.Get(), err
}

func recordKey(namespace string, k core.Key) string {
	return namespace + "/instances/" + k.Service + "/" + k.ID
}

func (v vandal) fields(ctx context.Context, namespace string, k core.Key) (map[string]json.RawMessage, error) {
	resp, err := v.do(ctx, clientv3.OpGet(recordKey(namespace, k)))
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 {
		return nil, fmt.Errorf("nothing stands at %s", k)
	}
	var all map[string]json.RawMessage
	return all, json.Unmarshal(resp.Kvs[0].Value, &all)
}

func (v vandal) Corrupt(ctx context.Context, namespace string, k core.Key) error {
	_, err := v.do(ctx, clientv3.OpPut(recordKey(namespace, k), "\x00 no record", clientv3.WithIgnoreLease()))
	return err
}

func (v vandal) AddField(ctx context.Context, namespace string, k core.Key, field string, value json.RawMessage) error {
	all, err := v.fields(ctx, namespace, k)
	if err != nil {
		return err
	}
	all[field] = value
	doc, err := json.Marshal(all)
	if err != nil {
		return err
	}
	_, err = v.do(ctx, clientv3.OpPut(recordKey(namespace, k), string(doc), clientv3.WithIgnoreLease()))
	return err
}

func (v vandal) Field(ctx context.Context, namespace string, k core.Key, field string) (json.RawMessage, error) {
	all, err := v.fields(ctx, namespace, k)
	return all[field], err
}
