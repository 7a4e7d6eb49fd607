package backendkit_test

// closing_test.go: operations around Close, requests that are under way together, and what
// errors are.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestClosingRefusesWhatComesAfterClose(t *testing.T) {
	c := backendkit.NewClosing("toy")
	failed := errors.New("failed")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, c.Enter(t.Context()))
	require.ErrorIs(t, c.Enter(ended), context.Canceled)
	require.NoError(t, c.Err())
	assert.Equal(t, failed, c.Or(failed))
	require.NoError(t, c.Or(nil))
	select {
	case <-c.Begun():
		assert.Fail(t, "nobody has closed it")
	default:
	}

	ends := 0
	c.Close(func() {
		ends++
		<-c.Begun()
		require.ErrorIs(t, c.Err(), ports.ErrClosed, "it is closed before it ends")
	})
	c.Close(func() { ends++ })
	assert.Equal(t, 1, ends)
	for _, err := range []error{c.Err(), c.Enter(t.Context()), c.Enter(ended), c.Or(failed)} {
		require.ErrorIs(t, err, ports.ErrClosed)
		require.EqualError(t, err, "the toy backend is "+ports.ErrClosed.Error())
	}
}

func TestEveryCloseReturnsWhenItHasEnded(t *testing.T) {
	c := backendkit.NewClosing("toy")
	ending, release := make(chan struct{}), make(chan struct{})
	var ended atomic.Bool
	var others sync.WaitGroup
	others.Go(func() {
		c.Close(func() {
			close(ending)
			<-release
			ended.Store(true)
		})
	})
	<-ending
	others.Go(func() { close(release) })
	c.Close(func() { assert.Fail(t, "it was ended twice") })
	assert.True(t, ended.Load())
	others.Wait()
}

func TestEachHasSomeUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		seen := make(map[int]bool)
		err := backendkit.Each(7, 3, func(i int) error {
			<-time.After(time.Second)
			mu.Lock()
			defer mu.Unlock()
			seen[i] = true
			if i == 4 || i == 5 {
				return fmt.Errorf("number %d", i)
			}
			return nil
		})
		require.EqualError(t, err, "number 4")
		assert.Len(t, seen, 7, "a failure keeps none from being tried")
		assert.Equal(t, 3*time.Second, time.Since(began))
	})
	require.NoError(t, backendkit.Each(0, 3, func(int) error { return errors.New("called") }))
	require.EqualError(t, backendkit.Each(1, 3, func(i int) error { return fmt.Errorf("number %d", i) }), "number 0")
}

func TestSentinelsAreKnown(t *testing.T) {
	for _, s := range []error{
		ports.ErrInvalid, ports.ErrNotFound, ports.ErrConflict, ports.ErrUnsupported, ports.ErrUnavailable, ports.ErrPermission,
		ports.ErrTooLarge, ports.ErrClosed, ports.ErrSessionGone, ports.ErrContention, core.Invalid("ttl", 0, "more"),
	} {
		assert.True(t, backendkit.HasSentinel(fmt.Errorf("put: %w", s)), s)
	}
	for _, other := range []error{nil, errors.New("closed"), context.Canceled, backendkit.ErrStale} {
		assert.False(t, backendkit.HasSentinel(other), other)
	}
}

func TestUnansweredIsTheEndOfACall(t *testing.T) {
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		err := backendkit.Unanswered("toy", fmt.Errorf("read tcp: %w", ended))
		require.ErrorIs(t, err, ended)
		require.ErrorIs(t, err, ports.ErrUnavailable)
		require.ErrorContains(t, err, "toy did not answer before the call ended; look at backend_config.url")
	}
	for _, other := range []error{nil, errors.New("read tcp")} {
		require.NoError(t, backendkit.Unanswered("toy", other))
	}
}
