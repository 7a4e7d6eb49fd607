package discovery_test

// discovery_test.go: the facade over the memory backend, in a bubble of synctest.

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prober answers for every instance what was set for its id; healthy by default.
type prober struct {
	mu   sync.Mutex
	sick map[string]bool
}

func (p *prober) Probe(_ context.Context, in core.Instance) (ports.ProbeResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ports.ProbeResult{Healthy: !p.sick[in.ID], StatusCode: 200, Detail: "as set"}, nil
}

func (p *prober) set(id string, sick bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick[id] = sick
}

func run(t *testing.T, test func(t *testing.T, c *discovery.Client, p *prober), opts ...discovery.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		backend, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		p := &prober{sick: map[string]bool{}}
		c, err := discovery.Open(t.Context(), backend, append([]discovery.Option{discovery.WithProber(p)}, opts...)...)
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close(context.WithoutCancel(t.Context()))) }()
		test(t, c, p)
	})
}

func spec(id string, weight int) discovery.Spec {
	return discovery.Spec{Service: "svc", ID: id, Host: "127.0.0.1", Port: 8000 + weight, Weight: new(weight)}
}

func register(t *testing.T, c *discovery.Client, s discovery.Spec) *discovery.Registration {
	t.Helper()
	r, err := c.Register(t.Context(), s)
	require.NoError(t, err)
	return r
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestWaitIsWokenByTheChange(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		type answer struct {
			n  int
			ok bool
		}
		done := make(chan answer)
		go func() {
			got, ok, _ := c.Wait(t.Context(), "svc", 2, discovery.Query{})
			done <- answer{len(got), ok}
		}()
		synctest.Wait()
		register(t, c, spec("a", 1))
		register(t, c, spec("b", 1))
		assert.Equal(t, answer{2, true}, <-done)
	})
}

func TestWatchShowsASnapshotThenChanges(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		register(t, c, spec("a", 1))
		sleep(2 * time.Second)
		w, err := c.Watch("svc")
		require.NoError(t, err)
		defer w.Close()
		next := func() string {
			item, err := w.Next(t.Context())
			require.NoError(t, err)
			return string(item.Kind) + " " + item.Key.ID
		}
		assert.Equal(t, []string{"reset ", "put a", "synced "}, []string{next(), next(), next()})
		b := register(t, c, spec("b", 1))
		assert.Equal(t, "put b", next())
		sleep(2 * time.Second)
		require.NoError(t, b.Close(t.Context()))
		for got := next(); got != "delete b"; got = next() {
			require.Equal(t, "put b", got, "its checks")
		}
	})
}

func TestRegistrationIsToldWhyItEnded(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		first := register(t, c, spec("a", 1))
		second := register(t, c, spec("a", 1))
		<-first.Done()
		require.ErrorIs(t, first.Err(), discovery.ErrSuperseded)
		require.NoError(t, c.Deregister(t.Context(), discovery.DeregisterRequest{Key: second.Instance().Key(), Actor: "alice"}))
		<-second.Done()
		require.ErrorIs(t, second.Err(), discovery.ErrDeregistered)
		third := register(t, c, spec("a", 1))
		require.NoError(t, third.Close(t.Context()))
		<-third.Done()
		require.NoError(t, third.Err())
		require.NoError(t, third.Close(t.Context()), "a second Close does nothing")
		_, _, err := c.Instance(discovery.Key{Service: "svc", ID: "a"})
		require.ErrorIs(t, err, discovery.ErrNotFound)
	})
}

// forgetful does not carry out deletions for a while.
type forgetful struct {
	ports.Backend
	away atomic.Bool
}

func (f *forgetful) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if f.away.Load() && muts[0].Delete != nil {
		return nil, ports.ErrUnavailable
	}
	return f.Backend.Apply(ctx, muts)
}

func TestACloseThatFailedCanBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		backend := &forgetful{Backend: b}
		c, err := discovery.Open(t.Context(), backend)
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close(context.WithoutCancel(t.Context()))) }()
		reg := register(t, c, spec("a", 1))
		backend.away.Store(true)
		require.ErrorIs(t, reg.Close(t.Context()), discovery.ErrUnavailable)
		sleep(time.Minute)
		_, _, err = c.Instance(reg.Instance().Key())
		require.NoError(t, err, "it is kept alive")
		backend.away.Store(false)
		require.NoError(t, reg.Close(t.Context()))
		_, _, err = c.Instance(reg.Instance().Key())
		require.ErrorIs(t, err, discovery.ErrNotFound)
		require.NoError(t, reg.Close(t.Context()))
	})
}

// What is lost already holds nobody up.
func TestLeavingDoesNotWaitForWhatIsLost(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		reg := register(t, c, spec("a", 1))
		require.NoError(t, c.Deregister(t.Context(), discovery.DeregisterRequest{Key: reg.Instance().Key()}))
		<-reg.Done()
		began := time.Now()
		require.NoError(t, c.Close(t.Context()))
		assert.Less(t, time.Since(began), 5*time.Second)
	}, discovery.WithDrainTimeout(5*time.Second))
}

func TestUpdateKeepsTheRegistrationAlive(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		r := register(t, c, spec("a", 1))
		require.NoError(t, r.Update(t.Context(), spec("a", 7)))
		sleep(time.Minute)
		select {
		case <-r.Done():
			t.Fatal("ended: ", r.Err())
		default:
		}
		assert.Equal(t, 7, r.Instance().Weight)
		require.NoError(t, r.Close(t.Context()))
		_, _, err := c.Instance(discovery.Key{Service: "svc", ID: "a"})
		require.ErrorIs(t, err, discovery.ErrNotFound)
	})
}

func TestReloadChangesBalancingAndDefaults(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, p *prober) {
		p.set("sick", true)
		register(t, c, spec("good", 100))
		register(t, c, spec("sick", 300))
		sleep(time.Minute)
		require.Equal(t, map[string]int{"good": 8}, picks(t, c, 8, discovery.PickOptions{}))
		d := core.StandardDefaults()
		d.CheckInterval = 7 * time.Second
		require.NoError(t, c.Reload(discovery.WithPolicy("round_robin"), discovery.WithHealthCheckRequired(false), discovery.WithDefaults(d)))
		assert.Equal(t, map[string]int{"good": 4, "sick": 4}, picks(t, c, 8, discovery.PickOptions{}))
		late := register(t, c, spec("late", 1))
		assert.Equal(t, 7*time.Second, late.Instance().Check.Interval)
		require.ErrorIs(t, c.Reload(discovery.WithPolicy("magic")), discovery.ErrInvalid)
		assert.Equal(t, map[string]int{"good": 3, "sick": 3, "late": 3}, picks(t, c, 9, discovery.PickOptions{}))
	})
}

func TestLeavingShowsStoppingForTheDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		c, err := discovery.Open(t.Context(), backend)
		require.NoError(t, err)
		register(t, c, spec("a", 1))
		sub, err := c.Subscribe(discovery.SubscribeOptions{})
		require.NoError(t, err)
		started := time.Now()
		closed := make(chan error)
		go func() { closed <- c.Close(context.WithoutCancel(t.Context())) }()
		item, err := sub.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, core.StatusStopping, item.Event.NewStatus)
		item, err = sub.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, core.EventDeregistered, item.Event.Type)
		assert.Equal(t, 5*time.Second, time.Since(started).Round(time.Second))
		require.NoError(t, <-closed)
	})
}

// The word of a leaving owner would take the place of an operator's, and who restarts lifts his own.
func TestLeavingLeavesAnOperatorsMaintenanceAlone(t *testing.T) {
	for _, way := range []struct {
		name    string
		others  []string
		stopped []string
		takes   time.Duration
	}{{"alone", nil, nil, 0}, {"beside another", []string{"b"}, []string{"b"}, 5 * time.Second}} {
		t.Run(way.name, func(t *testing.T) {
			run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
				drained := register(t, c, spec("a", 1)).Instance().Key()
				for _, id := range way.others {
					register(t, c, spec(id, 2))
				}
				sleep(2 * time.Second)
				_, err := c.SetStatus(t.Context(), discovery.StatusRequest{Key: drained, Status: "maintenance", Actor: "alice", Reason: "disk swap"})
				require.NoError(t, err)
				var stopped []string
				_, err = c.Handle([]discovery.EventType{core.EventStatusChanged}, func(e discovery.Event) {
					if e.NewStatus == core.StatusStopping {
						stopped = append(stopped, e.ID)
					}
				})
				require.NoError(t, err)
				began := time.Now()
				require.NoError(t, c.Close(t.Context()))
				assert.Equal(t, way.takes, time.Since(began).Round(time.Second))
				assert.Equal(t, way.stopped, stopped)
			}, discovery.WithDrainTimeout(5*time.Second))
		})
	}
}

func TestHandlersThatPanicAreLogged(t *testing.T) {
	var log bytes.Buffer
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		_, err := c.Handle([]discovery.EventType{core.EventRegistered}, func(discovery.Event) { panic("the handler's own fault") })
		require.NoError(t, err)
		register(t, c, spec("a", 1))
		require.NoError(t, c.Close(t.Context()))
		assert.Contains(t, log.String(), "the handler's own fault")
	}, discovery.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
}

// Fault 11: handlers for unknown names were dropped silently.
func TestFault11HandlersForUnknownEventsAreAnError(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		_, err := c.Handle([]discovery.EventType{"service_exploded"}, func(discovery.Event) {})
		require.ErrorIs(t, err, discovery.ErrInvalid)
		seen := make(chan discovery.Event, 10)
		remove, err := c.Handle([]discovery.EventType{core.EventRegistered}, func(e discovery.Event) { seen <- e })
		require.NoError(t, err)
		defer remove()
		register(t, c, spec("a", 1))
		assert.Equal(t, "a", (<-seen).ID)
	})
}

// starting is a backend whose store begins to answer later than the client asks.
type starting struct {
	ports.Backend
	up atomic.Bool
}

func (s *starting) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if !s.up.Load() {
		return nil, fmt.Errorf("%w: it is starting", ports.ErrUnavailable)
	}
	return s.Backend.Watch(ctx, req)
}

// Fault 11: handlers that were added before the start were dropped silently.
func TestFault11HandlersAddedBeforeTheStartHearWhatHappensAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		store := &starting{Backend: memory}
		c, err := discovery.Open(t.Context(), store, discovery.WithoutWaiting(), discovery.WithDrainTimeout(0))
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close(context.WithoutCancel(t.Context()))) }()
		seen := make(chan discovery.Event, 10)
		remove, err := c.Handle([]discovery.EventType{core.EventRegistered}, func(e discovery.Event) { seen <- e })
		require.NoError(t, err)
		defer remove()
		require.ErrorIs(t, c.Ready(t.Context()), core.ErrUnavailable, "nothing has started")
		store.up.Store(true)
		sleep(time.Minute)
		require.NoError(t, c.Ready(t.Context()))
		register(t, c, spec("a", 1))
		assert.Equal(t, "a", (<-seen).ID)
	})
}

func TestQueriesAndSummaries(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, p *prober) {
		p.set("b", true)
		for _, id := range []string{"a", "b", "c"} {
			s := spec(id, 1)
			s.Tags = []string{"all", "only-" + id}
			register(t, c, s)
		}
		sleep(2 * time.Second)
		list, fresh, err := c.Services(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []discovery.ServiceSummary{{Name: "svc", Instances: 3, Healthy: 2}}, list, "fault 16: no instance of the registry's own")
		assert.False(t, fresh.Stale)
		for want, q := range map[string]discovery.Query{
			"abc": {}, "ac": {Status: []discovery.InstanceStatus{core.StatusHealthy}}, "b": {Tags: []string{"all", "only-b"}},
			"ab": {AnyTags: []string{"only-a", "only-b"}}, "bc": {NoTags: []string{"only-a"}},
		} {
			got, _, err := c.Instances(t.Context(), "svc", q)
			require.NoError(t, err)
			ids := ""
			for _, in := range got {
				ids += in.ID
			}
			assert.Equal(t, want, ids)
		}
		got, _, err := c.Instances(t.Context(), "unknown", discovery.Query{})
		require.NoError(t, err)
		assert.Empty(t, got)
		res, err := c.Check(t.Context(), discovery.Key{Service: "svc", ID: "b"})
		require.NoError(t, err)
		assert.False(t, res.Healthy)
		require.NoError(t, c.Ready(t.Context()))
	})
}

func TestAListEndsWithItsContext(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		register(t, c, spec("one", 1))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := c.Instances(ctx, "svc", discovery.Query{})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestOpenRefusesNonsense(t *testing.T) {
	for _, opt := range []discovery.Option{
		discovery.WithSessionTTL(time.Millisecond), discovery.WithPolicy("magic"), discovery.WithNamespace("a/b"),
		discovery.WithProtectThreshold(2), discovery.WithHistory(-1), discovery.WithDrainTimeout(-1), discovery.WithCleanupInterval(1),
	} {
		backend, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		_, err = discovery.Open(t.Context(), backend, opt)
		require.ErrorIs(t, err, discovery.ErrInvalid)
	}
}

// away is a backend whose store has never answered.
type away struct{ ports.Backend }

func (away) Watch(context.Context, ports.WatchRequest) (ports.Watcher, error) {
	return nil, fmt.Errorf("%w: nobody there", ports.ErrUnavailable)
}

func TestFault13StoreThatNeverAnsweredIsNoEmptyRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		c, err := discovery.Open(t.Context(), away{backend}, discovery.WithoutWaiting())
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close(context.WithoutCancel(t.Context()))) }()
		sleep(time.Second)
		_, err = c.Pick(t.Context(), "svc", discovery.PickOptions{})
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		_, _, err = c.Instance(discovery.Key{Service: "svc", ID: "a"})
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		_, err = c.Explain(t.Context(), "svc", discovery.PickOptions{})
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		_, fresh, err := c.Services(t.Context())
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		assert.True(t, fresh.Stale)
		_, fresh, err = c.Instances(t.Context(), "svc", discovery.Query{})
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		assert.True(t, fresh.Stale)
		require.ErrorIs(t, c.Ready(t.Context()), discovery.ErrUnavailable)
		w, err := c.Watch()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "not an empty snapshot")
		brief, cancelBrief := context.WithTimeout(t.Context(), time.Second)
		defer cancelBrief()
		_, err = discovery.Open(brief, away{backend})
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		assert.ErrorContains(t, err, "nobody there")
	})
}

func TestClosingTheClientIsNobodysDoing(t *testing.T) {
	run(t, func(t *testing.T, c *discovery.Client, _ *prober) {
		r := register(t, c, spec("a", 1))
		require.NoError(t, c.Close(t.Context()))
		<-r.Done()
		require.NoError(t, r.Err())
	})
}
