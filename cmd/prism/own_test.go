package main

// own_test.go: configured services that move while the store does not answer.

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

// mute is a store whose answers to writes can be lost, with the writes or after them.
type mute struct {
	ports.Backend

	away, deaf atomic.Bool
}

func (m *mute) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if m.away.Load() {
		return nil, ports.ErrUnavailable
	}
	results, err := m.Backend.Apply(ctx, muts)
	if m.deaf.Load() {
		return nil, ports.ErrUnavailable
	}
	return results, err
}

func (m *mute) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if m.away.Load() || m.deaf.Load() {
		return nil, ports.ErrUnavailable
	}
	return m.Backend.Get(ctx, keys)
}

func TestConfiguredServicesMoveDuringAnOutage(t *testing.T) {
	at := func(port int) []core.Spec {
		return []core.Spec{{Service: "one", Host: "127.0.0.1", Port: port, Keepalive: core.KeepaliveAuto}}
	}
	only := func(zone string) []core.Spec {
		list := at(1)
		list[0].Zone, list[0].CreateOnly = zone, true
		return list
	}
	for name, tc := range map[string]struct {
		trouble func(*mute) *atomic.Bool
		wishes  [][]core.Spec
		want    string
	}{
		"gone, and back elsewhere":             {func(m *mute) *atomic.Bool { return &m.away }, [][]core.Spec{nil, at(2)}, "[2]"},
		"gone, and back":                       {func(m *mute) *atomic.Bool { return &m.away }, [][]core.Spec{nil, at(1)}, "[1]"},
		"gone, and to be created":              {func(m *mute) *atomic.Bool { return &m.away }, [][]core.Spec{nil, only("b")}, "[1b]"},
		"elsewhere, and back":                  {func(m *mute) *atomic.Bool { return &m.away }, [][]core.Spec{at(2), at(1)}, "[1]"},
		"elsewhere, and back, answers lost":    {func(m *mute) *atomic.Bool { return &m.deaf }, [][]core.Spec{at(2), at(1)}, "[1]"},
		"elsewhere, and further, answers lost": {func(m *mute) *atomic.Bool { return &m.deaf }, [][]core.Spec{at(2), at(3)}, "[3]"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, err := memory.Open(t.Context(), memory.Options{Namespace: "prism"})
				require.NoError(t, err)
				m := &mute{Backend: store}
				client, err := discovery.Open(t.Context(), m, discovery.WithDrainTimeout(0))
				require.NoError(t, err)
				defer client.Close(context.Background())
				own := startOwnServices(client, at(1), quiet)
				defer own.close()
				time.Sleep(time.Second)
				shown := func() string {
					list, _, err := client.Instances(t.Context(), "one", anyInstance)
					require.NoError(t, err)
					listed := []string{}
					for _, in := range list {
						listed = append(listed, fmt.Sprint(in.Port)+in.Zone)
					}
					return fmt.Sprint(listed)
				}
				require.Equal(t, "[1]", shown())
				trouble := tc.trouble(m)
				trouble.Store(true)
				for _, wish := range tc.wishes {
					own.want(wish)
					time.Sleep(20 * time.Second)
				}
				trouble.Store(false)
				time.Sleep(5 * time.Minute)
				assert.Equal(t, tc.want, shown())
			})
		})
	}
}
