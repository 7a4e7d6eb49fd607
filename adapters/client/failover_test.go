package client_test

// failover_test.go: hosts that hang, or have no store, are left for the next one.

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// hang is a host that takes a request and never answers it.
func hang(req *http.Request) (*http.Response, error) {
	httptrace.ContextClientTrace(req.Context()).WroteHeaders()
	return lost(req)
}

// lost is a host whose packets get lost: no connection comes about.
func lost(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// firstIs has host A answer in one way and host B in another.
func firstIs(a func(*http.Request) (*http.Response, error), b func(*http.Request, string) (*http.Response, error)) func(*http.Request, string) (*http.Response, error) {
	return func(req *http.Request, body string) (*http.Response, error) {
		if "http://"+req.URL.Host == hostA {
			return a(req)
		}
		return b(req, body)
	}
}

func nothing(*http.Request, string) (*http.Response, error) { return ok(map[string]any{}) }

func TestAHostThatHangsIsLeft(t *testing.T) {
	for name, stuck := range map[string]func(*http.Request) (*http.Response, error){"hang": hang, "lost": lost} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, h := newClient(t, firstIs(stuck, nothing), hostA, hostB)
				begin := time.Now()
				require.NoError(t, c.Ready(t.Context()))
				assert.Equal(t, 15*time.Second, time.Since(begin), "half of the time that a call has")
				require.NoError(t, c.Ready(t.Context()))
				assert.Equal(t, 15*time.Second, time.Since(begin))
				assert.Equal(t, []string{"GET " + hostA + "/readyz", "GET " + hostB + "/readyz", "GET " + hostB + "/readyz"}, h.requests())
			})
		})
	}
}

func TestRegistrationOutlastsAHostThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatRenewed}
		c, h := newClient(t, b.answer, hostA, hostB)
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		h.answerWith(firstIs(lost, b.answer))
		h.requests()
		pass(5500 * time.Millisecond)
		require.Len(t, h.requests(), 2, "another host gets a heartbeat before the ttl ends")
		pass(time.Minute)
		assert.NotContains(t, h.requests(), "POST "+hostA+"/v1/heartbeats", "once is enough")
		require.NoError(t, r.Close(t.Context()))
	})
}

func TestAHostWithoutItsStoreIsLeftByWhatIsNotRepeated(t *testing.T) {
	c, h := newClient(t, firstIs(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == "/v1/heartbeats" {
			return ok(map[string]any{"results": []any{map[string]any{"state": core.HeartbeatUnavailable}}})
		}
		return refuse(core.ErrUnavailable)
	}, func(req *http.Request, _ string) (*http.Response, error) {
		if req.URL.Path == "/v1/heartbeats" {
			return ok(map[string]any{"results": []any{
				map[string]any{"state": core.HeartbeatUnavailable}, map[string]any{"state": core.HeartbeatRenewed},
			}})
		}
		return ok(registered(t, spec, "lease"))
	}), hostA, hostB)
	_, err := c.RegisterOnce(t.Context(), spec)
	require.ErrorIs(t, err, core.ErrUnavailable)
	assert.Len(t, h.requests(), 1, "what it did is unknown")
	_, err = c.RegisterOnce(t.Context(), spec)
	require.NoError(t, err)
	assert.Equal(t, []string{"PUT " + hostB + "/v1/services/api/instances/api-1"}, h.requests())

	c, h = newClient(t, h.answer, hostA, hostB)
	for range 3 {
		_, err = c.Heartbeat(t.Context(), []string{"x", "y"})
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"POST " + hostA + "/v1/heartbeats", "POST " + hostB + "/v1/heartbeats", "POST " + hostB + "/v1/heartbeats"},
		h.requests(), "one that can renew some leases is kept")
}

func TestThatNothingIsEligibleIsNoFailureOfTheHost(t *testing.T) {
	c, h := newClient(t, func(*http.Request, string) (*http.Response, error) { return refuse(core.ErrNoEligible) }, hostA, hostB)
	for range 2 {
		_, err := c.URL(t.Context(), "api", discovery.PickOptions{})
		require.ErrorIs(t, err, core.ErrNoEligible)
	}
	assert.Equal(t, []string{"GET " + hostA + "/v1/services/api/pick", "GET " + hostA + "/v1/services/api/pick"}, h.requests())
}

func TestWhatIsNotRepeatedGetsAllTheTimeOnceItWentOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := newClient(t, firstIs(func(req *http.Request) (*http.Response, error) {
			httptrace.ContextClientTrace(req.Context()).WroteHeaders()
			select {
			case <-time.After(29 * time.Second):
				return ok(registered(t, spec, "lease"))
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}, nothing), hostA, hostB)
		_, err := c.RegisterOnce(t.Context(), spec)
		require.NoError(t, err)

		h.answerWith(firstIs(hang, nothing))
		h.requests()
		_, err = c.RegisterOnce(t.Context(), spec)
		require.ErrorIs(t, err, core.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Len(t, h.requests(), 1)
		require.NoError(t, c.Ready(t.Context()))
		assert.Equal(t, []string{"GET " + hostB + "/readyz"}, h.requests(), "only the next call goes elsewhere")
	})
}

func TestGivingUpIsNoFailureOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := newClient(t, firstIs(hang, nothing), hostA, hostB)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		require.ErrorIs(t, c.Ready(ctx), context.Canceled)
		h.answerWith(nothing)
		h.requests()
		require.NoError(t, c.Ready(t.Context()))
		assert.Equal(t, []string{"GET " + hostA + "/readyz"}, h.requests())
	})
}

func TestWaitLeavesAHostThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := newClient(t, firstIs(hang, func(*http.Request, string) (*http.Response, error) {
			return ok(map[string]any{"satisfied": true})
		}), hostA, hostB)
		begin := time.Now()
		_, satisfied, err := c.Wait(t.Context(), "api", 1)
		require.NoError(t, err)
		assert.True(t, satisfied)
		assert.Less(t, time.Since(begin), 30*time.Second)

		h.answerWith(func(req *http.Request, _ string) (*http.Response, error) { return hang(req) })
		_, _, err = c.Wait(t.Context(), "api", 1)
		require.ErrorIs(t, err, core.ErrUnavailable, "nobody answers, and no deadline says when to give up")
	})
}

func TestWaitGoesOnWhileTheHostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := func(req *http.Request, _ string) (*http.Response, error) {
			timeout, err := time.ParseDuration(req.URL.Query().Get("timeout") + "s")
			require.NoError(t, err)
			select {
			case <-time.After(timeout):
				return ok(map[string]any{"satisfied": false})
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}
		c, h := newClient(t, waits, hostA, hostB)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		_, satisfied, err := c.Wait(ctx, "api", 1)
		require.NoError(t, err)
		assert.False(t, satisfied)
		assert.Equal(t, 5*time.Minute, time.Since(begin))
		h.requests()
		h.answerWith(nothing)
		require.NoError(t, c.Ready(t.Context()))
		assert.Equal(t, []string{"GET " + hostA + "/readyz"}, h.requests(), "a wait that ends is no failure of the host")
	})
}

func TestAStreamLeavesAHostThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		c, h := newClient(t, w.answer, hostA, hostB)
		sub, err := c.Follow(t.Context(), discovery.SubscribeOptions{})
		require.NoError(t, err)
		defer sub.Close()
		assert.Equal(t, "a.test:8640", (<-w.opened).Host)
		pass(time.Minute)
		require.NotEmpty(t, w.opened)
		assert.Equal(t, "b.test:8640", (<-w.opened).Host, "it fell silent")
		sub.Close()

		h.answerWith(func(req *http.Request, body string) (*http.Response, error) {
			if "http://"+req.URL.Host == hostB {
				return hang(req)
			}
			return w.answer(req, body)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		sub, err = c.Follow(ctx, discovery.SubscribeOptions{})
		require.NoError(t, err, "opening leaves time to ask the other one")
		sub.Close()
	})
}
