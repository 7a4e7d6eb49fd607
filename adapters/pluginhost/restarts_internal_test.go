package pluginhost

// restarts_internal_test.go: pauses and the breaker, without processes.

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPausesGrowAndStayInBounds(t *testing.T) {
	r := newRestarts()
	r.ended(time.Second, false)
	pause, broken := r.next()
	assert.Zero(t, pause, "the first restart is at once")
	assert.False(t, broken)
	var total time.Duration
	for range 50 {
		r.ended(time.Second, false)
		pause, broken = r.next()
		assert.False(t, broken, "processes that served a call never open the breaker")
		assert.GreaterOrEqual(t, pause, 250*time.Millisecond)
		assert.LessOrEqual(t, pause, 30*time.Second)
		total += pause
	}
	assert.Greater(t, total, 5*time.Minute, "they grow")
}

func TestStableProcessResetsPauses(t *testing.T) {
	r := newRestarts()
	for range 10 {
		r.ended(time.Second, false)
		r.next()
	}
	r.ended(stableAfter, false)
	pause, _ := r.next()
	assert.Zero(t, pause)
	r.ended(time.Second, false)
	pause, _ = r.next()
	assert.LessOrEqual(t, pause, 750*time.Millisecond)
}

func TestBreakerCountsUselessProcesses(t *testing.T) {
	r := newRestarts()
	broken := func() bool { _, broken := r.next(); return broken }
	for range breakAfter - 1 {
		r.ended(time.Second, true)
		assert.False(t, broken())
	}
	r.ended(time.Second, false) // One served a call.
	for range breakAfter - 1 {
		r.ended(time.Second, true)
		assert.False(t, broken())
	}
	r.ended(time.Second, true)
	pause, open := r.next()
	assert.True(t, open)
	assert.Equal(t, brokenPause, pause)
	r.ended(time.Second, true)
	assert.True(t, broken(), "it stays open")
	r.ended(stableAfter, true) // It was not called, but it lived.
	assert.False(t, broken())
}
