package registry

// timers_internal_test.go: timers do not pile up.

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/memory"
)

func TestTimersOfAnInstanceDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, err := memory.Open(t.Context(), memory.Options{Namespace: "test"})
		require.NoError(t, err)
		r := New(backend, Options{Defaults: core.StandardDefaults()})
		require.NoError(t, r.Start(t.Context()))
		spec := core.Spec{Service: "svc", ID: "one", Host: "127.0.0.1", Port: 1, TTL: 10 * time.Second}
		got, err := r.Register(t.Context(), RegisterRequest{Spec: spec})
		require.NoError(t, err)
		for i := range 50 {
			spec.Weight = new(i)
			_, err := r.Update(t.Context(), UpdateRequest{Lease: got.Lease, Spec: spec})
			require.NoError(t, err)
		}
		for range 20 {
			time.Sleep(9 * time.Second)
			require.Equal(t, core.HeartbeatRenewed, r.Heartbeat(t.Context(), []string{got.Lease})[0].State)
		}
		r.mu.Lock()
		assert.LessOrEqual(t, len(r.timers), 2)
		r.mu.Unlock()
		require.NoError(t, r.Close(context.WithoutCancel(t.Context()), true))
		require.NoError(t, backend.Close())
	})
}
