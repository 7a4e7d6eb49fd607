package registry_test

// silence_test.go: a store that says nothing for a while without ending a stream.

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

// mute is a store that for a while says nothing and renews nothing, without ending a stream: one
// that elects a leader, or that is behind a network which loses packets.
type mute struct {
	*store
	until atomic.Pointer[time.Time]
}

func (m *mute) silent() time.Duration {
	if until := m.until.Load(); until != nil {
		return time.Until(*until)
	}
	return 0
}

func (m *mute) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if m.silent() > 0 {
		return nil, ports.ErrUnavailable
	}
	return m.store.RenewSessions(ctx, ids)
}

func (m *mute) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := m.store.Watch(ctx, req)
	return &muteWatcher{Watcher: w, of: m}, err
}

type muteWatcher struct {
	ports.Watcher
	of *mute
}

func (w *muteWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	ev, err := w.Watcher.Next(ctx)
	<-time.After(w.of.silent())
	return ev, err
}

// What expired while the stream was silent is not believed either, though it never ended.
func TestExpiriesOfASilentTimeAreWaitedOut(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		m := &mute{store: s}
		short := func(o *registry.Options) { o.SessionTTL = 5 * time.Second }
		a := newHost(t, &store{Backend: m, cut: make(chan struct{})}, short)
		b := newHost(t, &store{Backend: m, cut: make(chan struct{})}, short)
		defer a.stop(t)
		defer b.stop(t)
		auto := spec("one")
		auto.Keepalive = core.KeepaliveAuto
		a.register(t, auto)
		auto.ID = "dies"
		its := &store{Backend: m, cut: make(chan struct{})}
		dead := newHost(t, its, short)
		dead.register(t, auto)
		sleep(20 * time.Second)
		require.Len(t, b.taken(), 2)

		until := time.Now().Add(5500 * time.Millisecond) // less than what ends a stream
		m.until.Store(&until)
		dead.crash(t, its)
		sleep(time.Until(until))
		require.Empty(t, b.taken())
		sleep(7 * time.Second)
		for _, h := range []*host{a, b} {
			assert.Equal(t, core.StatusUnknown, h.status("one"))
		}
		assert.Empty(t, b.taken(), "nobody sees an event for an instance that did not change")
		assert.Equal(t, core.StatusUnknown, b.status("dies"))
		sleep(time.Second)
		assert.Equal(t, []string{"service_expired dies expired"}, b.taken(), "one and a half session_ttl after the silence")
	})
}
