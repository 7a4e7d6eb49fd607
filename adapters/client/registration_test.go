package client_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
)

var spec = core.Spec{Service: "api", ID: "api-1", Host: "10.0.0.7", Port: 8080, TTL: 9 * time.Second}

// book answers for a host: registrations get a lease each, heartbeats what state says.
type book struct {
	t *testing.T

	mu       sync.Mutex // guards what follows
	state    core.HeartbeatState
	fail     error       // of everything
	leases   []string    // of registrations
	beats    []string    // leases, as they came
	specs    []core.Spec // of registrations and updates
	deletes  []string    // leases
	duringRe func()      // called once, in the second registration
}

// set changes what the book answers.
func (b *book) set(state core.HeartbeatState, fail error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.fail = state, fail
}

func (b *book) answer(req *http.Request, body string) (*http.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, b.fail
	}
	switch {
	case strings.HasSuffix(req.URL.Path, "/heartbeats"):
		var in struct{ Leases []string }
		require.NoError(b.t, json.Unmarshal([]byte(body), &in))
		b.beats = append(b.beats, in.Leases...)
		return ok(map[string]any{"results": []any{map[string]any{"lease": in.Leases[0], "state": b.state}}})
	case strings.HasSuffix(req.URL.Path, "/status"):
		in, _, err := spec.Resolve(core.StandardDefaults())
		require.NoError(b.t, err)
		in.State.Declared = core.DeclaredMaintenance
		return ok(in)
	case req.Method == http.MethodDelete:
		b.deletes = append(b.deletes, req.Header.Get("Prism-Lease"))
		return respond(http.StatusNoContent, "", ""), nil
	}
	var in core.Spec
	require.NoError(b.t, json.Unmarshal([]byte(body), &in))
	in.Service = "api"
	if req.Header.Get("Prism-Lease") == "" {
		b.leases = append(b.leases, core.NewLease(core.Key{Service: "api", ID: "api-1"}, core.Generation{}.Next()).Token())
	}
	if f := b.duringRe; f != nil && len(b.leases) == 2 {
		b.duringRe = nil
		b.mu.Unlock()
		f()
		b.mu.Lock()
	}
	b.specs = append(b.specs, in)
	return ok(registered(b.t, in, b.leases[len(b.leases)-1]))
}

// pass lets time go by in the bubble.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRegistrationSendsHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatRenewed}
		c, h := newClient(t, b.answer)
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		assert.Equal(t, "api-1", r.Instance().ID)
		assert.Equal(t, []string{"be warned"}, r.Warnings())
		pass(90 * time.Second)
		assert.InDelta(t, 30, len(b.beats), 4, "one each third of a ttl, with jitter")
		assert.Equal(t, b.leases[0], b.beats[0])

		require.NoError(t, r.Close(t.Context()))
		require.NoError(t, r.Err())
		<-r.Done()
		assert.Equal(t, []string{b.leases[0]}, b.deletes)
		sent := len(b.beats)
		pass(time.Minute)
		assert.Len(t, b.beats, sent, "Close ends the heartbeats")
		require.NoError(t, r.Close(t.Context()))
		assert.NotContains(t, h.logged(), b.leases[0])
	})
}

func TestRegistrationRegistersAgain(t *testing.T) {
	for _, state := range []core.HeartbeatState{core.HeartbeatExpired, core.HeartbeatUnknown} {
		synctest.Test(t, func(t *testing.T) {
			b := &book{t: t, state: state}
			c, h := newClient(t, b.answer)
			auto := spec
			auto.ID = "" // the host chooses, and that id stays
			r, err := c.Register(t.Context(), auto)
			require.NoError(t, err)
			require.NoError(t, r.SetStatus(t.Context(), "maintenance", "disk"))
			pass(6 * time.Second)
			b.set(core.HeartbeatRenewed, nil)
			require.GreaterOrEqual(t, len(b.specs), 2)
			assert.Equal(t, r.Instance().ID, b.specs[1].ID)
			assert.Equal(t, "api-10.0.0.7-8080", b.specs[1].ID)
			assert.Equal(t, "maintenance", b.specs[1].Status, "what the owner said goes on")
			assert.Equal(t, b.leases[len(b.leases)-1], r.Lease())
			assert.NotContains(t, h.logged(), r.Lease())
			require.NoError(t, r.Close(t.Context()))
			assert.Equal(t, []string{b.leases[len(b.leases)-1]}, b.deletes)
		})
	}
}

func TestRegistrationStopsLoudlyAndNeverFightsBack(t *testing.T) {
	for state, want := range map[core.HeartbeatState]error{
		core.HeartbeatSuperseded: core.ErrSuperseded, core.HeartbeatDeregistered: core.ErrDeregistered,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &book{t: t, state: state}
			c, h := newClient(t, b.answer)
			r, err := c.Register(t.Context(), spec)
			require.NoError(t, err)
			<-r.Done()
			require.ErrorIs(t, r.Err(), want)
			assert.Contains(t, h.logged(), "level=ERROR")
			pass(time.Hour)
			assert.Len(t, b.beats, 1)
			assert.Len(t, b.leases, 1)
			require.NoError(t, r.Close(t.Context()))
			assert.Empty(t, b.deletes)
		})
	}
}

func TestRegistrationOutlastsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatRenewed}
		c, _ := newClient(t, b.answer)
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		b.set(core.HeartbeatRenewed, errors.New("connection refused"))
		pass(time.Hour)
		b.set(core.HeartbeatUnavailable, nil)
		pass(time.Hour)
		b.set(core.HeartbeatExpired, nil)
		pass(4 * time.Second)
		assert.Greater(t, len(b.leases), 1, "it registers again within a ttl of the host's answering")
		require.NoError(t, r.Err())
		require.NoError(t, r.Close(t.Context()))
	})
}

func TestRegistrationDoesNotLoseAnUpdateWhileItRegistersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatExpired}
		c, _ := newClient(t, b.answer)
		var kept atomic.Pointer[client.Registration]
		b.duringRe = func() {
			b.set(core.HeartbeatRenewed, nil)
			next := spec
			next.Version = "2"
			assert.NoError(t, kept.Load().Update(t.Context(), next))
		}
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		kept.Store(r)
		pass(20 * time.Second)
		require.NotEmpty(t, b.specs)
		assert.Equal(t, "2", b.specs[len(b.specs)-1].Version)
		assert.Equal(t, "2", r.Instance().Version)
		require.NoError(t, r.Close(t.Context()))
	})
}

func TestRegistrationThatTheHostKeepsSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatRenewed}
		c, _ := newClient(t, b.answer)
		auto := spec
		auto.Keepalive = core.KeepaliveAuto
		r, err := c.Register(t.Context(), auto)
		require.NoError(t, err)
		pass(time.Hour)
		assert.Empty(t, b.beats)
		require.NoError(t, r.Close(t.Context()))
		assert.Len(t, b.deletes, 1)
	})
}

func TestCloseOfTheClientEndsHeartbeatsAndRemovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{t: t, state: core.HeartbeatRenewed}
		c, _ := newClient(t, b.answer)
		r, err := c.Register(t.Context(), spec)
		require.NoError(t, err)
		c.Close()
		<-r.Done()
		assert.Empty(t, b.deletes)
		_, err = c.Register(t.Context(), spec)
		require.ErrorIs(t, err, core.ErrClosed)
	})
}
