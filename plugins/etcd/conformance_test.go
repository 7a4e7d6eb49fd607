package etcd_test

// conformance_test.go: the suite over the backend in three ways, and what the backend claims.

import (
	"context"
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

// The one server is broken under the backend's own code, with no process in between that would
// keep its promises for it.
func TestConformanceInProcess(t *testing.T) {
	store := stores.ForTest(t, stores.Etcd, stores.Options{Proxied: true})
	conformance.Test(t, func(*testing.T) conformance.Harness {
		return ways.WithFaults(inProcess(store), ways.BreakOneServer(store))
	})
}

func TestConformanceOverTheWire(t *testing.T) {
	store := stores.ForTest(t, stores.Etcd, stores.Options{})
	conformance.Test(t, func(*testing.T) conformance.Harness { return overTheWire(store) })
}

// The launched program has three servers, which are broken in every way.
func TestConformanceLaunched(t *testing.T) {
	store := stores.ForTest(t, stores.Etcd, stores.Options{Nodes: 3, Proxied: true})
	conformance.Test(t, func(t *testing.T) conformance.Harness { return launched(t, store) }, conformance.WithNoneLeftOut())
}

func options(store *stores.Cluster) ways.Options {
	return func(string) map[string]any { return map[string]any{"url": strings.Join(store.URLs(), ",")} }
}

func inProcess(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.InProcess(func(ctx context.Context, namespace string) (ports.Backend, error) {
		return etcd.Open(ctx, etcd.Options{Namespace: namespace, URLs: store.URLs()})
	}), ways.VandalOf(documents{store}))
}

func overTheWire(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.OverTheWire(etcd.Plugin(), options(store)), ways.VandalOf(documents{store}))
}

func launched(t *testing.T, store *stores.Cluster) conformance.Harness {
	t.Helper()
	return ways.WithVandal(ways.WithFaults(ways.Launched(t.TempDir(), binary, "etcd", options(store)), ways.BreakServers(store, store.Leader)), ways.VandalOf(documents{store}))
}

// documents are the records in etcd. It implements ways.Documents.
type documents struct{ store *stores.Cluster }

func (d documents) do(ctx context.Context, op clientv3.Op) (*clientv3.GetResponse, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: d.store.URLs(), Context: ctx})
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

func (d documents) Read(ctx context.Context, namespace string, k core.Key) ([]byte, error) {
	resp, err := d.do(ctx, clientv3.OpGet(recordKey(namespace, k)))
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 {
		return nil, fmt.Errorf("nothing stands at %s", k)
	}
	return resp.Kvs[0].Value, nil
}

func (d documents) Write(ctx context.Context, namespace string, k core.Key, document []byte) error {
	_, err := d.do(ctx, clientv3.OpPut(recordKey(namespace, k), string(document), clientv3.WithIgnoreLease()))
	return err
}
