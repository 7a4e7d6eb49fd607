package consul_test

// conformance_test.go: the suite over the backend in three ways, and what the backend claims.
// Which of the ways fail tells where a fault is: in the backend, on the wire, or in the life
// of the process.

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/consul"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// Pinned: a backend that claims less is asked for less.
func TestClaims(t *testing.T) {
	want := ports.Info{
		Name: "consul", Version: "1.0.0",
		Capabilities: ports.Capabilities{Replicated: true, Durable: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: 1e9, MinSessionTTL: 1e9},
	}
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	assert.Equal(t, want, consul.Info())
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
	store := stores.ForTest(t, stores.Consul, stores.Options{Proxied: true})
	conformance.Test(t, func(*testing.T) conformance.Harness {
		return ways.WithFaults(inProcess(store), ways.BreakOneServer(store))
	})
}

func TestConformanceOverTheWire(t *testing.T) {
	store := stores.ForTest(t, stores.Consul, stores.Options{})
	conformance.Test(t, func(*testing.T) conformance.Harness { return overTheWire(store) })
}

// The launched program has three servers, which are broken in every way.
func TestConformanceLaunched(t *testing.T) {
	store := stores.ForTest(t, stores.Consul, stores.Options{Nodes: 3, Proxied: true})
	conformance.Test(t, func(t *testing.T) conformance.Harness { return launched(t, store) }, conformance.WithNoneLeftOut())
}

func options(store *stores.Cluster) ways.Options {
	return func(string) map[string]any { return map[string]any{"url": strings.Join(store.URLs(), ",")} }
}

func inProcess(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.InProcess(func(ctx context.Context, namespace string) (ports.Backend, error) {
		return consul.Open(ctx, consul.Options{Namespace: namespace, URL: strings.Join(store.URLs(), ",")})
	}), ways.VandalOf(documents{store}))
}

func overTheWire(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.OverTheWire(consul.Plugin(), options(store)), ways.VandalOf(documents{store}))
}

func launched(t *testing.T, store *stores.Cluster) conformance.Harness {
	t.Helper()
	return ways.WithVandal(ways.WithFaults(ways.Launched(t.TempDir(), binary, "consul", options(store)), ways.BreakServers(store, store.Leader)), ways.VandalOf(documents{store}))
}

// documents are the records in Consul. It implements ways.Documents.
type documents struct{ store *stores.Cluster }

// client is Consul's own, as people use it.
func client(store *stores.Cluster) (*api.Client, error) {
	return api.NewClient(&api.Config{Address: store.URL(), Token: store.Credentials.Token})
}

// Write moves what watchers block on, too, as a write of another version would.
func (d documents) Write(_ context.Context, namespace string, k core.Key, document []byte) error {
	c, err := client(d.store)
	if err != nil {
		return err
	}
	moves, _, err := c.KV().List(namespace+"/moves/", nil)
	if err != nil {
		return err
	}
	for _, move := range moves {
		bucket, name, _ := strings.Cut(strings.TrimPrefix(move.Key, namespace+"/moves/"), "/")
		if name != k.String() {
			continue
		}
		mark := fmt.Sprintf("by hand, after %d", move.ModifyIndex)
		var ops api.TxnOps
		for key, value := range map[string]string{
			recordKey(namespace, k): string(document), move.Key: mark, namespace + "/versions/" + bucket: mark, namespace + "/latest": mark,
		} {
			ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVSet, Key: key, Value: []byte(value)}})
		}
		ok, resp, _, err := c.Txn().Txn(ops, nil)
		if err == nil && !ok {
			err = fmt.Errorf("the transaction failed: %s", resp.Errors[0].What)
		}
		return err
	}
	return fmt.Errorf("no move of %s is stored", k)
}

func recordKey(namespace string, k core.Key) string {
	return namespace + "/records/" + k.Service + "/" + k.ID
}

func (d documents) Read(_ context.Context, namespace string, k core.Key) ([]byte, error) {
	c, err := client(d.store)
	if err != nil {
		return nil, err
	}
	pair, _, err := c.KV().Get(recordKey(namespace, k), nil)
	if err == nil && pair == nil {
		err = fmt.Errorf("nothing stands at %s", k)
	}
	if err != nil {
		return nil, err
	}
	return pair.Value, nil
}
