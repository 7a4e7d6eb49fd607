package pluginrpc_test

// fake_test.go: a backend whose every method a test can replace, and both halves of the wire
// joined in memory.

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// limit is how long a test waits for what must happen.
const limit = 30 * time.Second

// fake is a backend that answers what a test set, or something harmless.
type fake struct {
	openSession  func(context.Context, ports.SessionSpec) (ports.Session, error)
	renew        func(context.Context, []ports.SessionID) ([]ports.RenewResult, error)
	closeSession func(context.Context, ports.SessionID) error
	apply        func(context.Context, []ports.Mutation) ([]ports.MutationResult, error)
	get          func(context.Context, []core.Key) ([]ports.Found, error)
	watch        func(context.Context, ports.WatchRequest) (ports.Watcher, error)
	health       func(context.Context) error
	close        func() error
	closes       atomic.Int32
}

var fakeInfo = ports.Info{
	Name: "fake", Version: "1.2.3",
	Capabilities: ports.Capabilities{History: true, Durable: true},
	Limits:       ports.Limits{MaxExpiryDelay: 250 * time.Millisecond, MinSessionTTL: time.Second},
}

func (f *fake) Info() ports.Info { return fakeInfo }

func (f *fake) Health(ctx context.Context) error {
	if f.health != nil {
		return f.health(ctx)
	}
	return nil
}

func (f *fake) Close() error {
	f.closes.Add(1)
	if f.close != nil {
		return f.close()
	}
	return nil
}

func (f *fake) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	if f.openSession != nil {
		return f.openSession(ctx, spec)
	}
	return ports.Session{ID: spec.ID, TTL: spec.TTL}, nil
}

func (f *fake) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if f.renew != nil {
		return f.renew(ctx, ids)
	}
	out := make([]ports.RenewResult, len(ids))
	for i, id := range ids {
		out[i] = ports.RenewResult{ID: id, TTL: 15 * time.Second}
	}
	return out, nil
}

func (f *fake) CloseSession(ctx context.Context, id ports.SessionID) error {
	if f.closeSession != nil {
		return f.closeSession(ctx, id)
	}
	return nil
}

// Apply echoes the records of Puts.
func (f *fake) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if f.apply != nil {
		return f.apply(ctx, muts)
	}
	out := make([]ports.MutationResult, len(muts))
	for i, m := range muts {
		if m.Put != nil {
			out[i].Record = new(m.Put.Record)
		}
	}
	return out, nil
}

func (f *fake) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if f.get != nil {
		return f.get(ctx, keys)
	}
	return make([]ports.Found, len(keys)), nil
}

func (f *fake) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	return f.watch(ctx, req)
}

// plugin offers the fake.
func (f *fake) plugin() pluginrpc.Plugin {
	return pluginrpc.Plugin{
		Name: fakeInfo.Name, Version: fakeInfo.Version, Capabilities: fakeInfo.Capabilities, Limits: fakeInfo.Limits,
		Open: func(context.Context, json.RawMessage) (ports.Backend, error) { return f, nil },
	}
}

// connect serves a plugin over a connection in memory. The returned function cuts it.
func connect(tb testing.TB, p pluginrpc.Plugin) (client *pluginrpc.Client, cut func()) {
	tb.Helper()
	s := grpc.NewServer(pluginrpc.ServerOptions()...)
	backendv1.RegisterRegistryBackendServer(s, pluginrpc.NewServer(p))
	return serveInMemory(tb, s)
}

func serveInMemory(tb testing.TB, s *grpc.Server) (client *pluginrpc.Client, cut func()) {
	tb.Helper()
	lis := bufconn.Listen(1 << 20)
	var served sync.WaitGroup
	served.Go(func() { assert.NoError(tb, s.Serve(lis)) })
	conn, err := grpc.NewClient("passthrough:///bufconn", append(pluginrpc.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := lis.DialContext(ctx)
			return overhear(tb, conn), err
		}))...)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		assert.NoError(tb, conn.Close())
		s.Stop()
		served.Wait()
	})
	return pluginrpc.NewClient(conn), s.Stop
}

// openFake returns the fake as it looks from the other end of the wire.
func openFake(tb testing.TB, f *fake) ports.Backend {
	tb.Helper()
	client, _ := connect(tb, f.plugin())
	b, err := client.Open(tb.Context(), nil)
	require.NoError(tb, err)
	return b
}

// script is a Watcher that gives events from a function until it is closed.
type script struct {
	next   func(ctx context.Context) (ports.WatchEvent, error)
	closed chan struct{}
	once   sync.Once
}

func newScript(next func(ctx context.Context) (ports.WatchEvent, error)) *script {
	return &script{next: next, closed: make(chan struct{})}
}

// scriptOf gives these events and then an error.
func scriptOf(end error, events ...ports.WatchEvent) *script {
	return newScript(func(context.Context) (ports.WatchEvent, error) {
		if len(events) == 0 {
			return ports.WatchEvent{}, end
		}
		e := events[0]
		events = events[1:]
		return e, nil
	})
}

func (s *script) Next(ctx context.Context) (ports.WatchEvent, error) { return s.next(ctx) }

func (s *script) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// wait fails the test when c is not closed in time.
func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(limit):
		require.FailNow(t, "timed out", what)
	}
}

// drain reads a watcher to its end.
func drain(t *testing.T, w ports.Watcher) []ports.WatchEvent {
	t.Helper()
	var out []ports.WatchEvent
	for {
		e, err := w.Next(t.Context())
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return out
		}
		out = append(out, e)
	}
}
