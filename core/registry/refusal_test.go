package registry_test

// refusal_test.go: a store that can be read and does not take what is written.

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

func TestWhoWritesIsToldWhyTheStoreRefuses(t *testing.T) {
	for _, kind := range []error{ports.ErrUnavailable, ports.ErrPermission} {
		run(t, func(t *testing.T, s *store) {
			var log strings.Builder
			h := newHost(t, s, func(o *registry.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			defer h.stop(t)
			got := h.register(t, spec("one"))
			auto := spec("auto")
			auto.Keepalive = core.KeepaliveAuto // under a session of 15 s
			h.register(t, auto)
			synctest.Wait()
			why := fmt.Errorf("the disk is full, remove something: %w", kind)
			s.refuse(why)
			changed := spec("one")
			changed.Weight = new(5)
			for range 2 {
				for name, err := range map[string]error{
					"register":   registers(h, spec("two")),
					"update":     updates(h, got.Lease, changed),
					"status":     h.set(t, "one", "maintenance", ""),
					"deregister": h.Deregister(t.Context(), registry.DeregisterRequest{Key: got.Instance.Key(), Lease: got.Lease}),
				} {
					require.ErrorIs(t, err, kind, name)
					require.ErrorContains(t, err, "the disk is full, remove something", name)
				}
			}
			sleep(8 * time.Second)
			assert.Equal(t, 1, strings.Count(log.String(), "the store does not take what is written"), log.String())
			assert.Equal(t, 1, strings.Count(log.String(), "sessions cannot be renewed"), log.String())
			assert.Equal(t, 2, strings.Count(log.String(), "the disk is full, remove something"), log.String())
			assert.NotContains(t, log.String(), "again")
			s.refuse(nil)
			h.register(t, spec("two"))
			sleep(20 * time.Second)
			assert.Equal(t, 1, strings.Count(log.String(), "the store takes what is written again"), log.String())
			assert.Equal(t, 1, strings.Count(log.String(), "sessions are renewed again"), log.String())
		})
	}
}

func registers(h *host, sp core.Spec) error {
	_, err := h.Register(context.Background(), registry.RegisterRequest{Spec: sp})
	return err
}

func updates(h *host, lease string, sp core.Spec) error {
	_, err := h.Update(context.Background(), registry.UpdateRequest{Lease: lease, Spec: sp})
	return err
}

// A store that is silent is asked why.
func TestSilenceHasAReason(t *testing.T) {
	run(t, func(t *testing.T, s *store) {
		s.why = context.DeadlineExceeded
		h := newHost(t, s)
		defer h.stop(t)
		s.refuse(fmt.Errorf("the login is refused: %w", ports.ErrPermission))
		s.setAway(true)
		synctest.Wait()
		h.mu.Lock()
		require.Len(t, h.events, 1)
		assert.Equal(t, "the store no longer lets this host read its records", h.events[0].Reason)
		h.mu.Unlock()
		s.refuse(nil)
		s.setAway(false)
	})
}
