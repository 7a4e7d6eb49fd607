package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/marketprism/prism"
	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/ports"
)

var quiet = slog.New(slog.DiscardHandler)

func TestLoggingShowsHidesAndAdds(t *testing.T) {
	var out bytes.Buffer
	log, level := newLogger(&out, config.Logging{Level: "WARNING", Format: "json", Fields: map[string]config.LogField{
		"timestamp": {}, "service_name": {}, "level": {Show: true}, "team": {Value: "core"},
	}})
	log.Info("not this")
	log.Warn("this", slog.String("service", "api"), slog.Duration("took", 1500*1e6))
	assert.JSONEq(t, `{"level":"WARN","msg":"this","team":"core","took":"1.5s"}`, out.String())
	level.Set(slog.LevelInfo)
	log.Info("now this")
	assert.Contains(t, out.String(), "now this")

	out.Reset()
	log, _ = newLogger(&out, config.Logging{Level: "INFO", Format: "text"})
	log.Info("text")
	assert.Contains(t, out.String(), "level=INFO msg=text")
}

func TestABackendWhoseStoreIsAwayIsTriedAgain(t *testing.T) {
	attempts := make(chan struct{}, 10)
	o := startOpening("toy", func(context.Context) (*pluginhost.Host, error) {
		attempts <- struct{}{}
		return nil, fmt.Errorf("the store does not answer: %w", ports.ErrUnavailable)
	}, quiet)
	<-attempts
	assert.Equal(t, "toy", o.Info().Name)
	for what, err := range calls(t, o) {
		require.ErrorIs(t, err, ports.ErrUnavailable, what)
		require.ErrorContains(t, err, "the store does not answer", what)
	}
	<-attempts // after the pause
	select {
	case <-o.opened:
		assert.Fail(t, "nobody is told that it is open")
	default:
	}
	require.NoError(t, o.Close())
	require.NoError(t, o.Close())
	for what, err := range calls(t, o) {
		require.ErrorIs(t, err, ports.ErrClosed, what)
	}
}

func TestABackendThatIsRefusedIsNotTriedAgain(t *testing.T) {
	refused := core.Invalid("backend_config.url", "x", "use another")
	o := startOpening("toy", func(context.Context) (*pluginhost.Host, error) { return nil, refused }, quiet)
	require.ErrorIs(t, <-o.refused, refused)
	require.ErrorIs(t, o.Health(t.Context()), ports.ErrInvalid)
	require.NoError(t, o.Close())
}

func TestCallsWaitForTheFirstAttemptAndNoLongerThanTheirContext(t *testing.T) {
	answer := make(chan struct{})
	o := startOpening("toy", func(ctx context.Context) (*pluginhost.Host, error) {
		select {
		case <-answer:
			return nil, ports.ErrUnavailable
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, o.Health(ctx), context.Canceled)
	waiting := make(chan error, 1)
	go func() { waiting <- o.Health(t.Context()) }()
	close(answer)
	require.ErrorIs(t, <-waiting, ports.ErrUnavailable)
	require.NoError(t, o.Close())
}

func TestABackendThatIsOpenAnswers(t *testing.T) {
	path, err := pluginhost.Find("memory", "", []string{built(t)})
	require.NoError(t, err)
	o := startOpening("memory", func(ctx context.Context) (*pluginhost.Host, error) {
		return pluginhost.Open(ctx, pluginhost.Launch{Path: path, Name: "memory"})
	}, quiet)
	<-o.opened
	for what, err := range calls(t, o) {
		require.NoError(t, err, what)
	}
	assert.True(t, o.Info().Capabilities.History)
	require.NoError(t, o.Close())
	require.ErrorIs(t, o.Health(t.Context()), ports.ErrClosed)
}

// calls makes each call of a backend once.
func calls(t *testing.T, b ports.Backend) map[string]error {
	t.Helper()
	ctx := t.Context()
	_, open := b.OpenSession(ctx, ports.SessionSpec{ID: "s", TTL: 5 * 1e9, Host: "h", Program: "p", OldestFormat: 1, NewestFormat: 1})
	_, renew := b.RenewSessions(ctx, []ports.SessionID{"s"})
	_, apply := b.Apply(ctx, nil)
	_, get := b.Get(ctx, nil)
	w, watch := b.Watch(ctx, ports.WatchRequest{})
	if watch == nil {
		watch = w.Close()
	}
	return map[string]error{
		"Health": b.Health(ctx), "OpenSession": open, "RenewSessions": renew, "Apply": apply, "Get": get, "Watch": watch,
		"CloseSession": b.CloseSession(ctx, "s"),
	}
}

func TestConfiguredServicesFollowTheWish(t *testing.T) {
	w := newWorld(t)
	one := core.Spec{Service: "one", Host: "127.0.0.1", Port: 1, Check: &core.Check{Type: core.CheckNone}}
	two := one
	two.Service, two.Port = "two", 2
	own := startOwnServices(w.client, []core.Spec{one, two}, quiet)
	defer own.close()
	watch, err := w.client.Watch()
	require.NoError(t, err)
	await := func(want ...string) { // "service port weight zone", in order
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var have []string
		for !slices.Equal(have, want) {
			_, err := watch.Next(ctx)
			require.NoError(t, err, "wanted %q, and there is %q", want, have)
			have = nil
			services, _, err := w.client.Services(ctx)
			require.NoError(t, err)
			for _, s := range services {
				list, _, err := w.client.Instances(ctx, s.Name, anyInstance)
				require.NoError(t, err)
				for _, in := range list {
					have = append(have, fmt.Sprintf("%s %d %d %s", in.Service, in.Port, in.Weight, in.Zone))
				}
			}
		}
	}
	await("one 1 100 ", "two 2 100 ")

	heavier := one
	heavier.Weight = new(7)
	own.want([]core.Spec{heavier})
	await("one 1 7 ")

	moved := heavier
	moved.Port = 9
	own.want([]core.Spec{moved})
	await("one 9 7 ")

	// Somebody else takes over: the host does not fight back, also when it is told to again.
	_, err = w.client.RegisterInstance(t.Context(), discovery.RegisterRequest{Spec: core.Spec{Service: "one", Host: "127.0.0.1", Port: 9, Zone: "theirs"}})
	require.NoError(t, err)
	own.want([]core.Spec{moved, two})
	await("one 9 100 theirs", "two 2 100 ")

	// Until an operator changes what he wants.
	moved.Zone = "ours"
	own.want([]core.Spec{moved, two})
	await("one 9 7 ours", "two 2 100 ")
}

// TestWhatIsOnlyToBeCreatedWaitsForItsPlace: a host that was killed leaves its services behind, and
// create_only must not keep it from them for good.
func TestWhatIsOnlyToBeCreatedWaitsForItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := prism.Open(t.Context(), prism.Config{DrainTimeout: -1, NoChecks: true, Logger: quiet})
		require.NoError(t, err)
		defer func() { require.NoError(t, client.Close(context.Background())) }()
		spec := core.Spec{
			Service: "one", ID: "it", Host: "127.0.0.1", Port: 1, Zone: "ours", CreateOnly: true, Keepalive: core.KeepaliveAuto,
			Check: &core.Check{Type: core.CheckNone},
		}
		before := spec
		before.Zone = "left behind"
		left, err := client.RegisterInstance(t.Context(), discovery.RegisterRequest{Spec: before})
		require.NoError(t, err)
		zone := func() string {
			synctest.Wait()
			in, _, err := client.Instance(left.Instance.Key())
			require.NoError(t, err)
			return in.Zone
		}
		own := startOwnServices(client, []core.Spec{spec}, quiet)
		defer own.close()
		time.Sleep(time.Minute)
		assert.Equal(t, "left behind", zone())
		require.NoError(t, client.Deregister(t.Context(), discovery.DeregisterRequest{Key: left.Instance.Key(), Lease: left.Lease}))
		time.Sleep(longestPause)
		assert.Equal(t, "ours", zone())
	})
}

// collector is an OpenTelemetry collector that takes note of what it is sent.
type collector struct {
	mu   sync.Mutex
	seen []string
}

func (c *collector) methods() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

func startCollector(t *testing.T) (c *collector, address string) {
	t.Helper()
	c = &collector{}
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a listener of a test
	require.NoError(t, err)
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(s)
		c.mu.Lock()
		c.seen = append(c.seen, method)
		c.mu.Unlock()
		return errors.Join(s.RecvMsg(&emptypb.Empty{}), s.SendMsg(&emptypb.Empty{}))
	}))
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	return c, ln.Addr().String()
}

func TestTelemetryGoesToTheCollectorThatIsNamed(t *testing.T) {
	c, address := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
	s, err := startSDK(t.Context(), quiet)
	require.NoError(t, err)
	handler := s.traced()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.Pattern = "GET /x" }))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil))
	require.NoError(t, s.stop(t.Context()))
	assert.Contains(t, c.methods(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export")
	assert.Contains(t, c.methods(), "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
}

func TestWithoutACollectorNothingIsTraced(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	s, err := startSDK(t.Context(), quiet)
	require.NoError(t, err)
	assert.Nil(t, s.traced())
	rec := httptest.NewRecorder()
	s.scrape.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	assert.True(t, strings.HasPrefix(rec.Header().Get("Content-Type"), "text/plain"))
	require.NoError(t, s.stop(t.Context()))
}
