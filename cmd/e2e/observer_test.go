//go:build unix

package e2e

// observer_test.go: what somebody who follows a host's event stream sees.

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/cmd/internal/programtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// observer keeps all that comes on a host's event stream.
type observer struct {
	host *programtest.Process
	sub  *client.Subscription

	mu     sync.Mutex
	events []seenEvent
	ended  chan struct{}
}

type seenEvent struct {
	core.Event

	at time.Time // when it came here
}

func observe(t *testing.T, host *programtest.Process) *observer {
	t.Helper()
	sub, err := host.Client.Follow(t.Context(), discovery.SubscribeOptions{})
	require.NoError(t, err)
	o := &observer{host: host, sub: sub, ended: make(chan struct{})}
	go func() {
		defer close(o.ended)
		for {
			item, err := sub.Next(context.Background())
			if err != nil {
				return
			}
			o.mu.Lock()
			if item.Reset || item.Lagged > 0 { // shown as an event, so that no test passes over it
				item.Event.Reason = fmt.Sprintf("reset %v, lagged %d", item.Reset, item.Lagged)
			}
			o.events = append(o.events, seenEvent{item.Event, time.Now()})
			o.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		sub.Close()
		<-o.ended
	})
	return o
}

func (o *observer) all() []seenEvent {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.events)
}

// await waits for the first event of a type about an instance.
func (o *observer) await(kind core.EventType, key core.Key) (found seenEvent) {
	o.host.Until(fmt.Sprintf("%s of %s is seen", kind, key), func(context.Context) bool {
		for _, e := range o.all() {
			if e.Type == kind && e.Service == key.Service && e.ID == key.ID {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// sawOnly requires that nothing came but events of these types, and that whatever comes is still seen.
func (o *observer) sawOnly(t *testing.T, allowed ...core.EventType) {
	t.Helper()
	select {
	case <-o.ended:
		assert.Fail(t, "the event stream ended by itself")
	default:
	}
	for _, e := range o.all() {
		assert.Contains(t, allowed, e.Type, "an event that nothing happened for: %+v", e.Event)
	}
}
