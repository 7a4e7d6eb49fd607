package redis_test

// conformance_test.go: the suite over the backend in three ways, and what the backend claims.

import (
	"context"
	"errors"
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

// The one server is broken under the backend's own code, with no process in between that would
// keep its promises for it.
func TestConformanceInProcess(t *testing.T) {
	store := stores.ForTest(t, stores.Redis, stores.Options{Proxied: true})
	conformance.Test(t, func(*testing.T) conformance.Harness {
		return ways.WithFaults(inProcess(store), ways.BreakServers(store, nil))
	})
}

func TestConformanceOverTheWire(t *testing.T) {
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	conformance.Test(t, func(*testing.T) conformance.Harness { return overTheWire(store) })
}

// The launched program has a server that is broken in every way.
func TestConformanceLaunched(t *testing.T) {
	store := stores.ForTest(t, stores.Redis, stores.Options{Proxied: true})
	conformance.Test(t, func(t *testing.T) conformance.Harness { return launched(t, store) }, conformance.WithNoneLeftOut())
}

func options(store *stores.Cluster) ways.Options {
	return func(string) map[string]any { return map[string]any{"url": store.URL()} }
}

func inProcess(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.InProcess(func(ctx context.Context, namespace string) (ports.Backend, error) {
		return redis.Open(ctx, redis.Options{Namespace: namespace, URL: store.URL()})
	}), ways.VandalOf(documents{store}))
}

func overTheWire(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.OverTheWire(redis.Plugin(), options(store)), ways.VandalOf(documents{store}))
}

func launched(t *testing.T, store *stores.Cluster) conformance.Harness {
	t.Helper()
	return ways.WithVandal(ways.WithFaults(ways.Launched(t.TempDir(), binary, "redis", options(store)), ways.BreakServers(store, nil)), ways.VandalOf(documents{store}))
}

// documents are the records in Redis. It implements ways.Documents.
type documents struct{ store *stores.Cluster }

func (d documents) Read(ctx context.Context, namespace string, k core.Key) ([]byte, error) {
	client := goredis.NewClient(&goredis.Options{Addr: d.store.Addresses()[0]})
	defer func() { _ = client.Close() }()
	return client.HGet(ctx, "{prism:"+namespace+"}:records", k.Service+"/"+k.ID).Bytes()
}

// write replaces a document as the scripts do, with an entry of the log.
var write = goredis.NewScript(`
local epoch, replid = unpack(redis.call('HMGET', KEYS[1] .. 'meta', 'epoch', 'replid'))
local revision = redis.call('HINCRBY', KEYS[1] .. 'meta', 'revision', 1)
local doc = ARGV[2]:gsub('"revision":%d+', '"revision":' .. revision, 1)
redis.call('HSET', KEYS[1] .. 'records', ARGV[1], doc)
redis.call('XADD', KEYS[1] .. 'log:' .. epoch, revision .. '-0', 'key', ARGV[1], 'server', replid:sub(1, 8), 'record', doc)`)

func (d documents) Write(ctx context.Context, namespace string, k core.Key, document []byte) error {
	client := goredis.NewClient(&goredis.Options{Addr: d.store.Addresses()[0]})
	defer func() { _ = client.Close() }()
	err := write.Run(ctx, client, []string{"{prism:" + namespace + "}:"}, k.Service+"/"+k.ID, document).Err()
	if errors.Is(err, goredis.Nil) { // the script answers with nothing
		err = nil
	}
	return err
}
