package registry_test

// registry_test.go: the rig of this package's tests: registries over one memory backend, in
// a bubble of synctest, so that a ttl of 300 s takes no time, and a wrapper that injects faults.

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a memory backend that several registries share and that can be cut off.
type store struct {
	ports.Backend
	mu     sync.Mutex
	away   bool
	cut    chan struct{} // closed when the store goes away: ends watches
	why    error         // how they end; nil is ports.ErrUnavailable
	before func(ports.Mutation)
	after  func(ports.Mutation) error
	// refuses is what writes, renewals and Health come back with; nil: they are carried out.
	refuses error
}

func newStore(t *testing.T) *store {
	t.Helper()
	b, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
	require.NoError(t, err)
	s := &store{Backend: b, cut: make(chan struct{})}
	return s
}

// replace swaps in another backend, as a store that lost its data would be.
func (s *store) replace(t *testing.T) {
	t.Helper()
	b, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
	require.NoError(t, err)
	s.mu.Lock()
	old := s.Backend
	s.Backend = b
	s.mu.Unlock()
	require.NoError(t, old.Close())
}

func (s *store) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if away && !s.away {
		close(s.cut)
	}
	if !away && s.away {
		s.cut = make(chan struct{})
	}
	s.away = away
}

// hooks sets what is called before a mutation, and after it to make its answer an error.
func (s *store) hooks(before func(ports.Mutation), after func(ports.Mutation) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

func (s *store) refuse(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = why
}

func (s *store) refusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refuses
}

func (s *store) Health(ctx context.Context) error {
	if err := s.refusal(); err != nil {
		return err
	}
	return s.Backend.Health(ctx)
}

func (s *store) backend() (ports.Backend, chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, nil, fmt.Errorf("%w: cut off", ports.ErrUnavailable)
	}
	return s.Backend, s.cut, nil
}

func (s *store) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	b, _, err := s.backend()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	before, after := s.before, s.after
	s.mu.Unlock()
	if why := s.refusal(); why != nil { // each mutation has its answer
		res := make([]ports.MutationResult, len(muts))
		for i := range res {
			res[i].Err = why
		}
		return res, nil
	}
	if before != nil {
		before(muts[0])
	}
	res, err := b.Apply(ctx, muts)
	if err == nil && after != nil {
		err = after(muts[0])
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

func (s *store) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	b, _, err := s.backend()
	if err != nil {
		return nil, err
	}
	return b.Get(ctx, keys)
}

func (s *store) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	b, _, err := s.backend()
	if err != nil {
		return ports.Session{}, err
	}
	return b.OpenSession(ctx, spec)
}

func (s *store) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	b, _, err := s.backend()
	if err != nil {
		return nil, err
	}
	if why := s.refusal(); why != nil {
		return nil, why
	}
	return b.RenewSessions(ctx, ids)
}

func (s *store) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	b, cut, err := s.backend()
	if err != nil {
		return nil, err
	}
	w, err := b.Watch(ctx, req)
	if err != nil {
		return nil, err
	}
	return &cuttable{Watcher: w, cut: cut, why: cmp.Or(s.why, ports.ErrUnavailable)}, nil
}

// cuttable is a watcher that ends when the store goes away.
type cuttable struct {
	ports.Watcher
	cut chan struct{}
	why error
}

func (c *cuttable) Next(ctx context.Context) (ports.WatchEvent, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-c.cut:
			cancel(c.why)
		case <-stop:
		}
	}()
	ev, err := c.Watcher.Next(ctx)
	close(stop)
	<-done
	cancel(nil)
	if err != nil && context.Cause(ctx) == c.why { //nolint:errorlint // the very value set above
		return ev, c.why
	}
	return ev, err
}

// host is one registry with the events it published.
type host struct {
	*registry.Registry
	mu     sync.Mutex
	events []core.Event
}

func newHost(t *testing.T, s *store, change ...func(*registry.Options)) *host {
	t.Helper()
	h := &host{}
	opt := registry.Options{Defaults: core.StandardDefaults(), ProtectThreshold: 0.5, Publish: func(e core.Event) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.events = append(h.events, e)
	}}
	for _, c := range change {
		c(&opt)
	}
	h.Registry = registry.New(s, opt)
	require.NoError(t, h.Start(t.Context()))
	return h
}

// taken returns the events since the last call, as "type id cause", without the backend's.
func (h *host) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []string{}
	for _, e := range h.events {
		if e.Service != "" {
			out = append(out, fmt.Sprintf("%s %s %s", e.Type, e.ID, e.Cause))
		}
	}
	h.events = nil
	return out
}

func (h *host) status(id string) core.Status {
	in, ok := h.Snapshot("svc").Get(id)
	if !ok {
		return "absent"
	}
	return in.Status()
}

// run runs a test in a bubble with a store that is closed at its end.
func run(t *testing.T, test func(t *testing.T, s *store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		defer func() { _ = s.Close() }()
		test(t, s)
	})
}

func (h *host) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, h.Close(context.WithoutCancel(t.Context()), true))
}

// crash ends a host as kill -9 would: nothing is removed or closed in the store.
func (h *host) crash(t *testing.T, s *store) {
	t.Helper()
	s.setAway(true)
	_ = h.Close(context.WithoutCancel(t.Context()), false)
	s.setAway(false)
}

func spec(id string) core.Spec {
	return core.Spec{Service: "svc", ID: id, Host: "127.0.0.1", Port: 8080}
}

func (h *host) register(t *testing.T, sp core.Spec) registry.Registered {
	t.Helper()
	got, err := h.Register(t.Context(), registry.RegisterRequest{Spec: sp})
	require.NoError(t, err)
	return got
}

func (h *host) beat(t *testing.T, lease string) core.HeartbeatState {
	t.Helper()
	return h.Heartbeat(t.Context(), []string{lease})[0].State
}

// sleep lets time pass in the bubble and everything settle.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
