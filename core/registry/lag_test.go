package registry_test

// lag_test.go: the lag of the watch, over a store whose stream is late.

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

// late is a store whose changes are shown after a while.
type late struct {
	*store
	by time.Duration
}

func (l late) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	w, err := l.store.Watch(ctx, req)
	return &lateWatcher{Watcher: w, by: l.by}, err
}

type lateWatcher struct {
	ports.Watcher
	by     time.Duration
	synced bool
}

func (w *lateWatcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	ev, err := w.Watcher.Next(ctx)
	if err == nil && w.synced {
		<-time.After(w.by)
	}
	w.synced = w.synced || ev.Kind == ports.WatchSynced
	return ev, err
}

func TestTheLagOfTheWatchIsMeasuredOnOwnWrites(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		r := registry.New(late{store: s, by: 700 * time.Millisecond}, registry.Options{Defaults: core.StandardDefaults()})
		defer func() { require.NoError(t, r.Close(context.WithoutCancel(t.Context()), true)) }()
		require.NoError(t, r.Start(t.Context()))
		h := &host{Registry: r}
		sleep(10 * time.Second)
		assert.Zero(t, r.Status().WatchLag, "nothing was written yet")
		in := h.register(t, clientSpec("a", time.Minute)).Instance
		sleep(300 * time.Millisecond)
		assert.Equal(t, 300*time.Millisecond, r.Status().WatchLag, "under way")
		sleep(4 * time.Second)
		measured := r.Status().WatchLag
		assert.GreaterOrEqual(t, measured, 700*time.Millisecond)
		assert.Less(t, measured, 1500*time.Millisecond, "a bookmark may have been shown first")
		require.NoError(t, r.Deregister(t.Context(), registry.DeregisterRequest{Key: in.Key()}))
		sleep(10 * time.Second)
		assert.Less(t, r.Status().WatchLag, 1500*time.Millisecond)
		assert.NotZero(t, r.Status().WatchLag)
	})
}

func TestTheLagIsNoneWhereTheWatchIsFaster(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		h := newHost(t, s)
		defer h.stop(t)
		s.hooks(nil, func(ports.Mutation) error {
			sleep(time.Second) // the answer comes when the watch has shown the change
			return nil
		})
		h.register(t, clientSpec("a", time.Minute))
		sleep(time.Second)
		assert.Zero(t, h.Status().WatchLag)
	})
}
