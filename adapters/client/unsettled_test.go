package client_test

// unsettled_test.go: registering again when the answer to that is lost, late or refused.

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
)

// later calls again with the answer to a registration after the first, which the book has
// noted by then.
func later(b *book, again func(req *http.Request, res *http.Response) (*http.Response, error)) func(*http.Request, string) (*http.Response, error) {
	return func(req *http.Request, body string) (*http.Response, error) {
		res, err := b.answer(req, body)
		if err == nil && req.Method == http.MethodPut && b.registrations() > 1 {
			return again(req, res)
		}
		return res, err
	}
}

func (b *book) registrations() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.leases)
}

func TestALostAnswerToRegisteringAgainIsOutlasted(t *testing.T) {
	for name, loss := range map[string]func() (*http.Response, error){
		"reset":       func() (*http.Response, error) { return nil, errors.New("connection reset by peer") },
		"unavailable": func() (*http.Response, error) { return refuse(core.ErrUnavailable) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &book{t: t, state: core.HeartbeatExpired}
				c, _ := newClient(t, later(b, func(_ *http.Request, res *http.Response) (*http.Response, error) {
					if b.registrations() == 2 {
						b.set(core.HeartbeatSuperseded, nil) // the old lease, by the one that nobody got
						return loss()
					}
					b.set(core.HeartbeatRenewed, nil)
					return res, nil
				}))
				once := spec
				once.CreateOnly = true
				r, err := c.Register(t.Context(), once)
				require.NoError(t, err)
				pass(time.Minute)
				require.NoError(t, r.Err())
				require.NoError(t, r.Close(t.Context()))
				require.Len(t, b.specs, 3)
				assert.True(t, b.specs[1].CreateOnly)
				assert.False(t, b.specs[2].CreateOnly, "what is there may be its own")
				assert.Equal(t, []string{b.leases[2]}, b.deletes)
				assert.Contains(t, b.beats, b.leases[2])
			})
		})
	}
}

func TestARefusalToRegisterAgainLeavesTheLeaseInQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatExpired}
		c, _ := newClient(t, later(b, func(*http.Request, *http.Response) (*http.Response, error) {
			b.set(core.HeartbeatSuperseded, nil) // by somebody else
			return refuse(core.ErrRateLimited)
		}))
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		<-r.Done()
		require.ErrorIs(t, r.Err(), core.ErrSuperseded)
		assert.Equal(t, 2, b.registrations(), "nothing was carried out, so this is no work of its own")
	})
}

func TestCloseRemovesWhatIsJustBeingRegisteredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatExpired}
		under := make(chan struct{})
		c, _ := newClient(t, later(b, func(req *http.Request, res *http.Response) (*http.Response, error) {
			close(under)
			select {
			case <-time.After(2 * time.Second):
				return res, nil
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}))
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		<-under
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.NoError(t, r.Close(ctx))
		assert.Equal(t, []string{b.leases[1]}, b.deletes)
	})
}

func TestCloseSaysThatMoreMayBeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatExpired}
		under := make(chan struct{})
		c, _ := newClient(t, later(b, func(req *http.Request, _ *http.Response) (*http.Response, error) {
			close(under)
			return lost(req)
		}))
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		<-under
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err = r.Close(ctx)
		require.ErrorIs(t, err, core.ErrUnavailable)
		require.ErrorContains(t, err, "api/api-1")
		assert.Equal(t, 2500*time.Millisecond, time.Since(begin), "half of the time is left to deregister in")
		assert.Equal(t, []string{b.leases[0]}, b.deletes)
		require.NoError(t, r.Err())
	})
}

func TestCloseOfTheClientWaitsForNoRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatExpired}
		under := make(chan struct{})
		c, _ := newClient(t, later(b, func(req *http.Request, _ *http.Response) (*http.Response, error) {
			close(under)
			return lost(req)
		}))
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		<-under
		begin := time.Now()
		c.Close()
		<-r.Done()
		assert.Zero(t, time.Since(begin))
		assert.Empty(t, b.deletes)
	})
}
