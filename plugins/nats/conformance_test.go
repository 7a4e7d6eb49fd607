package nats_test

// conformance_test.go: the suite over the backend in three ways, and what the backend claims.

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
	prismnats "github.com/marketprism/prism/plugins/nats"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// Pinned: a backend that claims less is asked for less.
func TestClaims(t *testing.T) {
	want := ports.Info{
		Name: "nats", Version: "1.0.0",
		Capabilities: ports.Capabilities{Replicated: true, Durable: true, MultiHost: true},
		Limits:       ports.Limits{MaxExpiryDelay: 2500 * time.Millisecond, MinSessionTTL: time.Second},
	}
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	assert.Equal(t, want, prismnats.Info())
	for name, h := range map[string]conformance.Harness{"in process": inProcess(store), "over the wire": overTheWire(store), "launched": launched(t, store, 1)} {
		b, err := h.Open(t.Context(), "prism")
		require.NoError(t, err, name)
		assert.Equal(t, want, b.Info(), name)
		require.NoError(t, b.Close(), name)
	}
}

// The one server is broken under the backend's own code, with no process in between that would
// keep its promises for it.
func TestConformanceInProcess(t *testing.T) {
	store := stores.ForTest(t, stores.NATS, stores.Options{Proxied: true})
	conformance.Test(t, func(*testing.T) conformance.Harness {
		return ways.WithFaults(inProcess(store), ways.BreakOneServer(store))
	})
}

func TestConformanceOverTheWire(t *testing.T) {
	store := stores.ForTest(t, stores.NATS, stores.Options{})
	conformance.Test(t, func(*testing.T) conformance.Harness { return overTheWire(store) })
}

// The launched program has three servers, which are broken in every way.
func TestConformanceLaunched(t *testing.T) {
	store := stores.ForTest(t, stores.NATS, stores.Options{Nodes: 3, Proxied: true})
	conformance.Test(t, func(t *testing.T) conformance.Harness { return launched(t, store, 3) }, conformance.WithNoneLeftOut())
}

func url(store *stores.Cluster) string { return strings.Join(store.URLs(), ",") }

func options(store *stores.Cluster, replicas int) ways.Options {
	return func(string) map[string]any { return map[string]any{"url": url(store), "replicas": replicas} }
}

func inProcess(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.InProcess(func(ctx context.Context, namespace string) (ports.Backend, error) {
		return prismnats.Open(ctx, prismnats.Options{Namespace: namespace, URL: url(store)})
	}), ways.VandalOf(documents{store}))
}

func overTheWire(store *stores.Cluster) conformance.Harness {
	return ways.WithVandal(ways.OverTheWire(prismnats.Plugin(), options(store, 1)), ways.VandalOf(documents{store}))
}

func launched(t *testing.T, store *stores.Cluster, replicas int) conformance.Harness {
	t.Helper()
	return ways.WithVandal(ways.WithFaults(ways.Launched(t.TempDir(), binary, "nats", options(store, replicas)), ways.BreakServers(store, func(ctx context.Context) (int, error) {
		return store.StreamLeader(ctx, streamInUse(ctx, store))
	})), ways.VandalOf(documents{store}))
}

// streamInUse is the one that was written last: faults are inflicted while one case runs.
func streamInUse(ctx context.Context, store *stores.Cluster) string {
	name := ""
	_ = admin(store, func(js jetstream.JetStream) error { // without a name, StreamLeader says what is wrong
		var latest time.Time
		list := js.ListStreams(ctx)
		for info := range list.Info() {
			if info.State.LastTime.After(latest) {
				name, latest = info.Config.Name, info.State.LastTime
			}
		}
		return list.Err()
	})
	return name
}

func admin(store *stores.Cluster, do func(js jetstream.JetStream) error) error {
	conn, err := nats.Connect(url(store), nats.Timeout(5*time.Second))
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	return do(js)
}

// documents are the records in NATS. It implements ways.Documents.
type documents struct{ store *stores.Cluster }

func token(name string) string { return strings.ReplaceAll(name, ".", "=2E") }

func recordSubject(namespace string, k core.Key) string {
	return "prism." + token(namespace) + ".r." + token(k.Service) + "." + token(k.ID)
}

func (d documents) Read(ctx context.Context, namespace string, k core.Key) (document []byte, err error) {
	err = admin(d.store, func(js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, "PRISM_"+token(namespace))
		if err != nil {
			return err
		}
		msg, err := stream.GetLastMsgForSubject(ctx, recordSubject(namespace, k))
		if err != nil {
			return err
		}
		document = msg.Data
		return nil
	})
	return document, err
}

func (d documents) Write(ctx context.Context, namespace string, k core.Key, document []byte) error {
	return admin(d.store, func(js jetstream.JetStream) error {
		_, err := js.Publish(ctx, recordSubject(namespace, k), document, jetstream.WithMsgID(rand.Text()))
		return err
	})
}
