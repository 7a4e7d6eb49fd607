package registry_test

// recall_test.go: a host that leaves and comes back with its journal.

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

// notebook is a journal in memory.
type notebook struct {
	mu    sync.Mutex
	notes []ports.Note
	noted int // how many there were at the last Sync
}

func (n *notebook) Note(changes ...ports.Note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, changes...)
}

func (n *notebook) Sync(context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.noted = len(n.notes)
}

// Recall implements ports.Journal: it returns what the notes come to.
func (n *notebook) Recall() ports.Recalled {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out ports.Recalled
	for _, note := range n.notes {
		switch {
		case note.Epoch != "":
			out.Epoch = note.Epoch
		case note.Opened != nil:
			out.Sessions = append(out.Sessions, *note.Opened)
		case note.Ended != "":
			out.Sessions = slices.DeleteFunc(out.Sessions, func(s ports.NotedSession) bool { return s.ID == note.Ended })
		case note.Held != nil:
			out.Instances = append(without(out.Instances, note.Held.Record.Key), *note.Held)
		case note.Released != core.Key{}:
			out.Instances = without(out.Instances, note.Released)
		default:
			out.Alive = note.Alive
		}
	}
	return out
}

func without(list []ports.NotedInstance, key core.Key) []ports.NotedInstance {
	return slices.DeleteFunc(list, func(in ports.NotedInstance) bool { return in.Record.Key == key })
}

// safe is the notebook as it was when somebody last waited for it: what a kill leaves.
func (n *notebook) safe() *notebook {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &notebook{notes: slices.Clone(n.notes[:n.noted])}
}

func (n *notebook) ids() []string {
	var out []string
	for _, in := range n.Recall().Instances {
		out = append(out, in.Record.Key.ID)
	}
	slices.Sort(out)
	return out
}

func journaled(n *notebook) func(*registry.Options) {
	return func(o *registry.Options) { o.Journal = n }
}

func clientSpec(id string, ttl time.Duration) core.Spec {
	sp := spec(id)
	sp.TTL = ttl
	return sp
}

func autoSpec(id string) core.Spec {
	sp := spec(id)
	sp.Keepalive = core.KeepaliveAuto
	return sp
}

// countWrites counts the mutations that reach the store.
func (s *store) countWrites() (stop func() int) {
	var mu sync.Mutex
	n := 0
	s.hooks(func(ports.Mutation) {
		mu.Lock()
		defer mu.Unlock()
		n++
	}, nil)
	return func() int {
		s.hooks(nil, nil)
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func TestARestartWithinTheSessionTTLGoesUnseen(t *testing.T) {
	for _, way := range []string{"killed", "ended"} {
		t.Run(way, func(t *testing.T) {
			run(t, func(t *testing.T, s *store) {
				other := newHost(t, s)
				defer other.stop(t)
				notes := &notebook{}
				first := newHost(t, s, journaled(notes))
				lease := first.register(t, clientSpec("client", time.Minute)).Lease
				auto := first.register(t, autoSpec("auto")).Lease
				sleep(2 * time.Second)
				assert.Equal(t, []string{"service_registered client registered", "service_registered auto registered"}, other.taken())

				if way == "killed" {
					notes = notes.safe()
					first.crash(t, s)
				} else {
					first.stop(t)
				}
				sleep(8 * time.Second)
				writes := s.countWrites()
				second := newHost(t, s, journaled(notes))
				defer second.stop(t)
				sleep(0)
				assert.Len(t, second.Held(), 2)
				for range 8 {
					sleep(30 * time.Second)
					assert.Equal(t, core.HeartbeatRenewed, second.beat(t, lease))
				}
				assert.Equal(t, core.HeartbeatRenewed, second.beat(t, auto))
				assert.Zero(t, writes(), "nothing had to be written")
				assert.Empty(t, other.taken())
				assert.Empty(t, second.taken())
				assert.Equal(t, []string{"auto", "client"}, notes.ids())
			})
		})
	}
}

func TestARestartGivesClientsTheirWholeTTL(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		first.register(t, clientSpec("a", 30*time.Second))
		sleep(25 * time.Second)
		first.crash(t, s)
		sleep(10 * time.Second)
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		sleep(29 * time.Second)
		assert.Equal(t, core.StatusUnknown, second.status("a"))
		sleep(2 * time.Second)
		assert.Equal(t, []string{"service_expired a expired"}, second.taken())
		assert.Empty(t, notes.ids())
	})
}

func TestChecksGoOnCountingAfterARestart(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		sp := autoSpec("a")
		sp.Check = &core.Check{Type: core.CheckTCP, Fall: 3}
		in := first.register(t, sp).Instance
		first.Observe(t.Context(), in, ports.ProbeResult{Healthy: true})
		first.Observe(t.Context(), in, ports.ProbeResult{})
		first.Observe(t.Context(), in, ports.ProbeResult{})
		require.Equal(t, core.StatusHealthy, first.status("a"))
		first.crash(t, s)
		var tracked []core.Instance
		second := newHost(t, s, journaled(notes), func(o *registry.Options) {
			o.Track = func(in core.Instance) { tracked = append(tracked, in) }
		})
		defer second.stop(t)
		require.Len(t, tracked, 1, "a checker is told of what was recalled")
		second.Observe(t.Context(), tracked[0], ports.ProbeResult{})
		assert.Equal(t, core.StatusUnhealthy, second.status("a"))
	})
}

func TestWhatRanOutDuringARestartIsForgotten(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		auto := first.register(t, autoSpec("auto")).Lease
		first.crash(t, s)
		sleep(20 * time.Second)
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		sleep(time.Minute)
		assert.Empty(t, second.Held())
		assert.Empty(t, second.taken())
		assert.Empty(t, notes.ids())
		assert.Empty(t, notes.Recall().Sessions)
		assert.Equal(t, core.HeartbeatExpired, second.beat(t, auto))
	})
}

func TestWhatAnotherHostAdoptedDuringARestartStaysThere(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		lease := first.register(t, clientSpec("a", time.Minute)).Lease
		first.crash(t, s)
		other := newHost(t, s)
		defer other.stop(t)
		require.Equal(t, core.HeartbeatRenewed, other.beat(t, lease))
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		sleep(10 * time.Second)
		assert.Empty(t, second.Held())
		assert.Empty(t, notes.ids())
		assert.Len(t, other.Held(), 1)
		assert.Empty(t, other.taken())
	})
}

func TestARestartWhileTheStoreIsAway(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		other := newHost(t, s)
		defer other.stop(t)
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		auto := first.register(t, autoSpec("a")).Lease
		sleep(time.Second)
		other.taken()
		first.crash(t, s)

		s.setAway(true)
		between := registry.New(s, registry.Options{Defaults: core.StandardDefaults(), Journal: notes})
		assert.Equal(t, core.HeartbeatUnavailable, between.Heartbeat(t.Context(), []string{auto})[0].State)
		require.NoError(t, between.Close(context.WithoutCancel(t.Context()), true))
		assert.Equal(t, []string{"a"}, notes.ids(), "it had no chance to look")
		s.setAway(false)

		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		sleep(time.Minute)
		assert.Equal(t, core.HeartbeatRenewed, second.beat(t, auto))
		assert.Empty(t, other.taken())
	})
}

func TestAHeartbeatBeforeTheFirstSnapshotFindsWhatWasRecalled(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		lease := first.register(t, clientSpec("a", time.Minute)).Lease
		first.crash(t, s)
		writes := s.countWrites()
		var events []core.Event
		second := registry.New(unwatched{s}, registry.Options{
			Defaults: core.StandardDefaults(), Journal: notes, Publish: func(e core.Event) { events = append(events, e) },
		})
		assert.Equal(t, core.HeartbeatRenewed, second.Heartbeat(t.Context(), []string{lease})[0].State)
		require.NoError(t, second.Close(context.WithoutCancel(t.Context()), true))
		assert.Zero(t, writes())
		assert.Empty(t, events)
	})
}

func TestARegistrationSaysWhyTheStoreDidNotTakeIt(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		h := newHost(t, s)
		defer h.stop(t)
		s.setAway(true)
		defer s.setAway(false)
		_, err := h.Register(t.Context(), registry.RegisterRequest{Spec: spec("a")})
		require.ErrorIs(t, err, core.ErrUnavailable)
		assert.Contains(t, err.Error(), "cut off", "and not that others are registering it")
	})
}

// unwatched is a store that cannot be followed.
type unwatched struct{ *store }

func (unwatched) Watch(context.Context, ports.WatchRequest) (ports.Watcher, error) {
	return nil, fmt.Errorf("%w: not now", ports.ErrUnavailable)
}

func TestOwnInstancesThatLostTheirCheckInARestartAreHealthy(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		_, err := first.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: spec("one")}, func(core.HeartbeatState) {})
		require.NoError(t, err)
		first.fail(t, 3)
		require.Equal(t, core.StatusUnhealthy, first.status("one"))
		notes = notes.safe()
		first.crash(t, s)
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		unchecked := spec("one")
		unchecked.Check = &core.Check{Type: core.CheckNone}
		got, err := second.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: unchecked}, func(core.HeartbeatState) {})
		require.NoError(t, err)
		require.False(t, got.Created)
		assert.Equal(t, core.StatusHealthy, got.Instance.Status())
		assert.Equal(t, core.StatusHealthy, second.status("one"))
	})
}

func TestOwnInstancesGoOnWhenTheirProcessRegistersThemAgain(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		other := newHost(t, s)
		defer other.stop(t)
		notes := &notebook{}
		ended := func(core.HeartbeatState) {}
		own := func(h *host, id string) registry.Registered {
			got, err := h.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: spec(id)}, ended)
			require.NoError(t, err)
			return got
		}
		first := newHost(t, s, journaled(notes))
		was := own(first, "again").Instance
		own(first, "never")
		sleep(time.Second)
		other.taken()
		notes = notes.safe()
		first.crash(t, s)

		sleep(5 * time.Second)
		second := newHost(t, s, journaled(notes))
		now := own(second, "again")
		assert.Equal(t, was.Generation, now.Instance.Generation)
		assert.Equal(t, was.RegisteredAt, now.Instance.RegisteredAt)
		_, err := second.SetStatus(t.Context(), registry.StatusRequest{Key: now.Instance.Key(), Status: "up", Lease: now.Lease})
		require.NoError(t, err, "the new lease is in force")
		sleep(14 * time.Second)
		assert.Empty(t, other.taken())
		sleep(2 * time.Second)
		assert.Equal(t, []string{"service_deregistered never orphan"}, other.taken(), "nobody registered it again")
		second.stop(t)
		sleep(time.Second)
		assert.Equal(t, []string{"service_deregistered again deregistered"}, other.taken())
		assert.Empty(t, notes.ids())
	})
}

// A host is killed while it shows its own as stopping, and starts again at once.
func TestWhatWasStoppingBeforeARestartIsUp(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		other := newHost(t, s)
		defer other.stop(t)
		notes := &notebook{}
		own := func(h *host, sp core.Spec) registry.Registered {
			got, err := h.RegisterOwn(t.Context(), registry.RegisterRequest{Spec: sp}, func(core.HeartbeatState) {})
			require.NoError(t, err)
			return got
		}
		first := newHost(t, s, journaled(notes))
		starting := spec("starting")
		starting.Status = "starting"
		lease := own(first, starting).Lease
		require.NoError(t, first.set(t, "starting", "stopping", lease))
		for _, id := range []string{"stopping", "drained"} {
			lease := own(first, spec(id)).Lease
			first.check(t, id, true)
			require.NoError(t, first.set(t, id, "stopping", lease))
		}
		require.NoError(t, other.set(t, "drained", "maintenance", ""))
		synctest.Wait()
		first.crash(t, s)
		sleep(5 * time.Second)
		other.taken()
		second := newHost(t, s, journaled(notes))
		defer second.stop(t)
		assert.Equal(t, core.StatusStarting, own(second, starting).Instance.Status())
		assert.Equal(t, core.StatusHealthy, own(second, spec("stopping")).Instance.Status(), "as it was found last")
		assert.Equal(t, core.StatusMaintenance, own(second, spec("drained")).Instance.Status())
		synctest.Wait()
		assert.Equal(t, []string{"service_status_changed starting updated", "service_status_changed stopping updated"}, other.taken())
	})
}

// shut is a store that cannot be followed until it is opened.
type shut struct {
	*store
	open atomic.Bool
}

func (l *shut) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	if !l.open.Load() {
		return unwatched{}.Watch(ctx, req)
	}
	return l.store.Watch(ctx, req)
}

func TestWhatIsRegisteredBeforeTheFirstSnapshotStaysInTheJournal(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		notes := &notebook{}
		first := newHost(t, s, journaled(notes))
		first.register(t, autoSpec("a"))
		first.crash(t, s)
		sleep(time.Minute) // it has run out, so nothing of it is recalled
		l := &shut{store: s}
		second := &host{Registry: registry.New(l, registry.Options{Defaults: core.StandardDefaults(), Journal: notes})}
		defer second.stop(t)
		second.register(t, autoSpec("a"))
		require.Equal(t, []string{"a"}, notes.ids())
		l.open.Store(true)
		sleep(30 * time.Second)
		require.True(t, second.Synced())
		assert.Len(t, second.Held(), 1)
		assert.Equal(t, []string{"a"}, notes.ids())
	})
}
