package events_test

// handlers_test.go: functions that are called with events.

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/events"
)

func TestHandlersAreCalledInOrderUntilRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, 8)
		var got []string
		var remove func()
		remove, err := b.Handle([]core.EventType{core.EventRegistered}, func(e core.Event) {
			got = append(got, e.ID)
			if e.ID == "3" {
				remove()
			}
		})
		require.NoError(t, err)
		publish(b, 1, 2)
		b.Publish(core.Event{Type: core.EventExpired, ID: "another type"})
		publish(b, 3, 5)
		synctest.Wait()
		assert.Equal(t, []string{"1", "2", "3"}, got)
		_, err = b.Handle([]core.EventType{"service_exploded"}, func(core.Event) {})
		require.ErrorIs(t, err, core.ErrInvalid)
	})
}

func TestHandlerThatPanicsGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := events.New(events.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		var got []string
		_, err := b.Handle(nil, func(e core.Event) {
			got = append(got, e.ID)
			if e.ID == "1" {
				panic("the handler's fault")
			}
		})
		require.NoError(t, err)
		publish(b, 1, 2)
		require.NoError(t, b.Close(t.Context()))
		assert.Equal(t, []string{"1", "2"}, got)
		assert.Contains(t, log.String(), "the handler's fault")
	})
}

func TestSlowHandlerHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := events.New(events.Options{History: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		release := make(chan struct{})
		var got []string
		_, err := b.Handle(nil, func(e core.Event) {
			<-release
			got = append(got, e.ID)
		})
		require.NoError(t, err)
		publish(b, 1, 1)
		synctest.Wait() // it is in hand
		publish(b, 2, 10)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.Close(ctx), context.DeadlineExceeded, "Close does not wait for ever")
		close(release)
		require.NoError(t, b.Close(t.Context()))
		assert.Equal(t, []string{"1", "7", "8", "9", "10"}, got)
		assert.Contains(t, log.String(), "missed=5")
	})
}
