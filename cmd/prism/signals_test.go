package main

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnlyALaterSignalIsASecondOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 4)
		ended := make(chan error)
		go func() {
			ended <- leave(signals, func() error {
				time.Sleep(time.Minute)
				return nil
			})
		}()
		for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGHUP} {
			signals <- s
			time.Sleep(100 * time.Millisecond)
		}
		select {
		case err := <-ended:
			require.Fail(t, "it ended", err)
		default:
		}
		time.Sleep(300 * time.Millisecond)
		signals <- syscall.SIGHUP // asks for no end
		synctest.Wait()
		signals <- syscall.SIGTERM
		require.ErrorIs(t, <-ended, errForced)
		time.Sleep(time.Minute) // what was given up ends too
	})
}

func TestAnEndInGoodOrderIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		require.NoError(t, leave(make(chan os.Signal), func() error {
			time.Sleep(time.Minute)
			return nil
		}))
		assert.Equal(t, time.Minute, time.Since(begun))
	})
}
