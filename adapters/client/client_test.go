package client_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

func TestAddressesAreChecked(t *testing.T) {
	for _, bad := range []string{"", "ftp://a", "http://", "http://a/?x=1", "a:b:c", "http://a b"} {
		_, err := client.New(client.Config{Addresses: []string{bad}})
		require.ErrorIs(t, err, core.ErrInvalid, bad)
		require.ErrorContains(t, err, "address")
	}
	for _, secret := range []string{"http://me:hunter2@a", "ftp://me:hunter2@a", "me:hunter2@a/?x=1", "http://me:hunter2@a:0", "http://me:hunter2@a b"} {
		_, err := client.New(client.Config{Addresses: []string{secret}})
		require.ErrorIs(t, err, core.ErrInvalid, secret)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	c, h := newClient(t, func(*http.Request, string) (*http.Response, error) { return ok(nil) }, "a.test:1/")
	require.NoError(t, c.Ready(t.Context()))
	assert.Equal(t, []string{"GET http://a.test:1/readyz"}, h.requests())
}

func TestTheNextHostIsAskedWhenOneCannotBeReached(t *testing.T) {
	down := hostA
	c, h := newClient(t, func(req *http.Request, _ string) (*http.Response, error) {
		if "http://"+req.URL.Host == down {
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		}
		return ok(map[string]any{"services": []any{}})
	}, hostA, hostB)
	_, _, err := c.Services(t.Context())
	require.NoError(t, err)
	_, _, err = c.Services(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"GET " + hostA + "/v1/services", "GET " + hostB + "/v1/services", "GET " + hostB + "/v1/services"},
		h.requests(), "the host that answered is asked first the next time")

	down = hostB
	_, err = c.RegisterOnce(t.Context(), core.Spec{Service: "s", Host: "h", Port: 1})
	require.NoError(t, err, "a request that never went out may go elsewhere")

	h.answerWith(func(*http.Request, string) (*http.Response, error) { return nil, errors.New("connection refused") })
	_, _, err = c.Services(t.Context())
	require.ErrorIs(t, err, core.ErrUnavailable)
	require.ErrorContains(t, err, hostA)
	require.ErrorContains(t, err, hostB)
	assert.NotContains(t, err.Error(), token)
}

// TestWhatMayHaveBeenDoneIsNotRepeated uses real connections, on which a request can be seen
// to have gone out.
func TestWhatMayHaveBeenDoneIsNotRepeated(t *testing.T) {
	asked := 0
	second := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write([]byte("{}"))
	}))
	defer second.Close()
	first := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer first.Close()
	open := func() *client.Client {
		c, err := client.New(client.Config{Addresses: []string{first.URL, second.URL}})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	_, err := open().RegisterOnce(t.Context(), core.Spec{Service: "s", Host: "h", Port: 1})
	require.ErrorIs(t, err, core.ErrUnavailable)
	require.ErrorIs(t, open().Deregister(t.Context(), discovery.DeregisterRequest{Key: core.Key{Service: "s", ID: "i"}}), core.ErrUnavailable)
	assert.Zero(t, asked)
	_, _, err = open().Services(t.Context())
	require.NoError(t, err, "reading may be repeated")
	_, err = open().Heartbeat(t.Context(), []string{"x"})
	require.NoError(t, err, "so may heartbeats")
	assert.Equal(t, 2, asked)
}

func TestAHostThatIsCutOffFromItsStoreIsPassedOverForReads(t *testing.T) {
	c, h := newClient(t, func(req *http.Request, _ string) (*http.Response, error) {
		if "http://"+req.URL.Host == hostA {
			return refuse(core.ErrUnavailable)
		}
		return ok(map[string]any{})
	}, hostA, hostB)
	require.NoError(t, c.Ready(t.Context()))
	h.answerWith(func(*http.Request, string) (*http.Response, error) { return refuse(core.ErrUnavailable) })
	h.requests()
	err := c.Ready(t.Context())
	require.ErrorIs(t, err, core.ErrUnavailable)
	assert.Len(t, h.requests(), 2)
	_, err = c.RegisterOnce(t.Context(), core.Spec{Service: "s", Host: "h", Port: 1})
	require.ErrorIs(t, err, core.ErrUnavailable)
	assert.Len(t, h.requests(), 1, "what it did is unknown")
}

func TestErrorsComeBackAsTheCoresOwn(t *testing.T) {
	var sent error
	c, _ := newClient(t, func(*http.Request, string) (*http.Response, error) { return refuse(sent) })
	for _, sent = range []error{
		core.ErrInvalid, core.ErrNotFound, core.ErrConflict, core.ErrPreconditionFailed, core.ErrSuperseded, core.ErrLeaseExpired,
		core.ErrDeregistered, core.ErrNoEligible, core.ErrUnavailable, core.ErrPermission, core.ErrUnauthenticated, core.ErrTooLarge,
		core.ErrUnsupported, core.ErrRateLimited,
	} {
		_, err := c.Pick(t.Context(), "s", discovery.PickOptions{})
		require.ErrorIs(t, err, sent)
	}
	sent = core.Invalid("port", 0, "use 1–65535")
	_, err := c.RegisterOnce(t.Context(), core.Spec{Service: "s"})
	fe, isField := errors.AsType[*core.FieldError](err)
	require.True(t, isField)
	assert.Equal(t, sent.Error(), fe.Error())
}

func TestAnswersThatAreNotPrismsAreSaidToBeSo(t *testing.T) {
	for status, want := range map[int]error{
		200: core.ErrUnavailable, 301: core.ErrUnsupported, 401: core.ErrUnauthenticated, 403: core.ErrPermission,
		404: core.ErrUnsupported, 502: core.ErrUnavailable,
	} {
		c, _ := newClient(t, func(*http.Request, string) (*http.Response, error) {
			return respond(status, "text/html", "<html>"), nil
		})
		_, _, err := c.Services(t.Context())
		require.ErrorIs(t, err, want, status)
		assert.NotErrorIs(t, err, core.ErrNotFound, status)
	}
}

func TestTheTokenIsSentAndNeverShown(t *testing.T) {
	var got string
	c, h := newClient(t, func(req *http.Request, _ string) (*http.Response, error) {
		got = req.Header.Get("Authorization")
		return nil, errors.New("broken")
	})
	err := c.Ready(t.Context())
	require.Error(t, err)
	assert.Equal(t, "Bearer "+token, got)
	assert.NotContains(t, err.Error()+h.logged(), token)
}

func TestQueriesThatHTTPHasNoParameterForBecomeFilters(t *testing.T) {
	c, h := newClient(t, func(*http.Request, string) (*http.Response, error) { return ok(map[string]any{}) })
	filter, err := core.ParseFilter(`weight > 1 || zone == "a"`)
	require.NoError(t, err)
	_, _, err = c.Instances(t.Context(), "s", discovery.Query{
		Status: []core.Status{"healthy"}, Tags: []string{"t"}, AnyTags: []string{"a", "b"}, NoTags: []string{"c"}, Filter: filter,
	})
	require.NoError(t, err)
	_, err = c.Pick(t.Context(), "s", discovery.PickOptions{Exclude: []string{"x", "y"}, Key: "k", Endpoint: "e", Policy: "p"})
	require.NoError(t, err)
	_, err = c.Explain(t.Context(), "s", discovery.PickOptions{Exclude: []string{"x", "y"}, Key: "k", Endpoint: "e", Policy: "p"})
	require.NoError(t, err)
	requests := h.requests()
	require.Len(t, requests, 3)
	picking := map[string]string{"filter": `(not (id in ["x", "y"]))`, "key": "k", "endpoint": "e", "policy": "p"}
	for i, want := range []map[string]string{{
		"status": "healthy", "tag": "t",
		"filter": `("a" in tags || "b" in tags) && (not ("c" in tags)) && (weight > 1 || zone == "a")`,
	}, picking, picking} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, requests[i][len("GET "):], http.NoBody)
		require.NoError(t, err)
		for name, value := range want {
			assert.Equal(t, value, req.URL.Query().Get(name))
		}
		_, err = core.ParseFilter(req.URL.Query().Get("filter"))
		require.NoError(t, err)
	}
}

func TestCallsEnd(t *testing.T) {
	h := &hosts{answer: func(req *http.Request, _ string) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}}
	c, err := client.New(client.Config{HTTPClient: &http.Client{Transport: h}, Timeout: 10 * time.Millisecond})
	require.NoError(t, err)
	err = c.Ready(t.Context())
	require.ErrorIs(t, err, core.ErrUnavailable, "a call without a deadline gets one")
	c.Close()
	require.ErrorIs(t, c.Ready(t.Context()), core.ErrClosed)
	_, err = c.Watch(t.Context())
	require.ErrorIs(t, err, core.ErrClosed)
}
