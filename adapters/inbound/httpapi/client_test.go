package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// newRemote is a client of a host; its first address is one where nobody listens.
func newRemote(t *testing.T, h *host) *client.Client {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	c, err := client.New(client.Config{Addresses: []string{ln.Addr().String(), h.url}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

var remoteSpec = core.Spec{
	Service: "api", ID: "a", Host: "10.0.0.7", Port: 8080, Tags: []string{"x"}, TTL: time.Minute, Check: &core.Check{Type: core.CheckNone},
	Metadata: core.MustMetadata(map[string]any{"n": json.Number("9007199254740993")}),
}

// TestClientAgreesWithTheFacade asks the same through the network and directly.
func TestClientAgreesWithTheFacade(t *testing.T) {
	h := newHost(t)
	c := newRemote(t, h)
	ctx := t.Context()
	key := core.Key{Service: "api", ID: "a"}
	require.NoError(t, c.Ready(ctx))

	got, err := c.RegisterOnce(ctx, remoteSpec)
	require.NoError(t, err)
	local, _, err := h.client.Instance(key)
	require.NoError(t, err)
	same(t, local, got.Instance)
	remote, err := c.Instance(ctx, key)
	require.NoError(t, err)
	same(t, local, remote)

	update := remoteSpec
	update.Version, update.Weight = "2", new(7)
	_, err = c.Update(ctx, discovery.UpdateRequest{Lease: got.Lease, Spec: update, IfMatch: core.Revision{Epoch: "x", N: 1}})
	require.ErrorIs(t, err, core.ErrPreconditionFailed)
	updated, err := c.Update(ctx, discovery.UpdateRequest{Lease: got.Lease, Spec: update, IfMatch: remote.Revision})
	require.NoError(t, err)
	assert.Equal(t, 7, updated.Instance.Weight)

	list, fresh, err := c.Instances(ctx, "api", discovery.Query{AnyTags: []string{"x", "y"}, NoTags: []string{"z"}, Status: []core.Status{"healthy"}})
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.False(t, fresh.Stale)
	same(t, updated.Instance, list[0])
	services, _, err := c.Services(ctx)
	require.NoError(t, err)
	assert.Equal(t, []discovery.ServiceSummary{{Name: "api", Instances: 1, Healthy: 1}}, services)

	picked, err := c.Pick(ctx, "api", discovery.PickOptions{})
	require.NoError(t, err)
	assert.Equal(t, "http://10.0.0.7:8080", picked.URL)
	_, err = c.URL(ctx, "api", discovery.PickOptions{Exclude: []string{"a"}})
	require.ErrorIs(t, err, core.ErrNoEligible)
	_, err = c.URL(ctx, "nobody", discovery.PickOptions{})
	require.ErrorIs(t, err, core.ErrNotFound)
	wantExplained, err := h.client.Explain(ctx, "api", discovery.PickOptions{})
	require.NoError(t, err)
	explained, err := c.Explain(ctx, "api", discovery.PickOptions{})
	require.NoError(t, err)
	assert.Equal(t, wantExplained, explained)

	found, satisfied, err := c.Wait(ctx, "api", 1)
	require.NoError(t, err)
	assert.True(t, satisfied)
	assert.Len(t, found, 1)
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	found, satisfied, err = c.Wait(brief, "api", 2)
	require.NoError(t, err)
	assert.False(t, satisfied)
	assert.LessOrEqual(t, len(found), 1)

	probed, err := c.Check(ctx, key)
	require.NoError(t, err)
	assert.Equal(t, 1500*time.Microsecond, probed.Latency)
	require.NoError(t, c.ReportOutcome(ctx, key, true, time.Second))
	down, err := c.SetStatus(ctx, discovery.StatusRequest{Key: key, Status: "maintenance", Reason: "disk"})
	require.NoError(t, err)
	assert.Equal(t, core.StatusMaintenance, down.Status())
	beats, err := c.Heartbeat(ctx, []string{got.Lease, "guess"})
	require.NoError(t, err)
	assert.Equal(t, []discovery.HeartbeatResult{{Lease: got.Lease, State: core.HeartbeatRenewed}, {Lease: "guess", State: core.HeartbeatUnknown}}, beats)

	require.NoError(t, c.Deregister(ctx, discovery.DeregisterRequest{Key: key, Lease: got.Lease, Reason: "over"}))
	require.ErrorIs(t, c.Deregister(ctx, discovery.DeregisterRequest{Key: key}), core.ErrNotFound)
	_, err = c.Update(ctx, discovery.UpdateRequest{Lease: got.Lease, Spec: update})
	require.ErrorIs(t, err, core.ErrDeregistered)

	wantEvents, wantNext, _, err := h.client.Events(discovery.HistoryQuery{Service: "api"})
	require.NoError(t, err)
	events, next, reset, err := c.Events(ctx, discovery.HistoryQuery{Service: "api", Limit: 100})
	require.NoError(t, err)
	assert.False(t, reset)
	assert.Equal(t, wantNext, next)
	require.Len(t, events, len(wantEvents))
	assert.Equal(t, "over", events[len(events)-1].Reason)
}

// same compares instances as they are shown.
func same(t *testing.T, want, got core.Instance) {
	t.Helper()
	assert.JSONEq(t, toJSON(t, want), toJSON(t, got))
}

func TestClientRestoresFieldErrors(t *testing.T) {
	h := newHost(t)
	c := newRemote(t, h)
	bad := remoteSpec
	bad.Port = 0
	_, remote := c.RegisterOnce(t.Context(), bad)
	_, local := h.client.RegisterInstance(t.Context(), discovery.RegisterRequest{Spec: bad})
	fe, ok := errors.AsType[*core.FieldError](remote)
	require.True(t, ok)
	want, ok := errors.AsType[*core.FieldError](local)
	require.True(t, ok)
	assert.Equal(t, want.Error(), fe.Error())
	assert.Equal(t, "port", fe.Field)
	_, _, err := c.Instances(t.Context(), "a/b", discovery.Query{})
	require.ErrorIs(t, err, core.ErrInvalid)
}

func TestClientWatchesAndFollows(t *testing.T) {
	h := newHost(t)
	c := newRemote(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	sub, err := c.Follow(ctx, discovery.SubscribeOptions{Service: "api"})
	require.NoError(t, err)
	defer sub.Close()
	watch, err := c.Watch(ctx, "api")
	require.NoError(t, err)
	defer watch.Close()
	h.register("api", "a")
	event, err := sub.Next(ctx)
	require.NoError(t, err)
	assert.Equal(t, core.EventRegistered, event.Event.Type)
	assert.Equal(t, "a", event.Event.ID)
	var kinds []discovery.WatchKind
	for len(kinds) < 3 {
		item, err := watch.Next(ctx)
		require.NoError(t, err)
		kinds = append(kinds, item.Kind)
	}
	assert.Contains(t, kinds, discovery.WatchPut)
	_, err = c.Watch(ctx, "a/b")
	require.ErrorIs(t, err, core.ErrInvalid)
	_, err = c.Follow(ctx, discovery.SubscribeOptions{Types: []core.EventType{"none"}})
	require.ErrorIs(t, err, core.ErrInvalid)
}

func TestClientRegistrationOverARealHost(t *testing.T) {
	h := newHost(t)
	c := newRemote(t, h)
	ctx := t.Context()
	short := remoteSpec
	short.TTL = 2 * time.Second
	first, err := c.Register(ctx, short)
	require.NoError(t, err)
	require.NoError(t, first.Drain(ctx, "warming up"))
	assert.Equal(t, core.StatusMaintenance, first.Instance().Status())
	second, err := c.Register(ctx, short)
	require.NoError(t, err)
	select {
	case <-first.Done():
		require.ErrorIs(t, first.Err(), core.ErrSuperseded)
	case <-time.After(30 * time.Second):
		t.Fatal("the older registration was never told")
	}
	require.NoError(t, first.Close(ctx))
	_, err = c.Instance(ctx, core.Key{Service: "api", ID: "a"})
	require.NoError(t, err, "the older one must not remove what the newer one owns")
	require.NoError(t, second.Close(ctx))
	_, err = c.Instance(ctx, core.Key{Service: "api", ID: "a"})
	require.ErrorIs(t, err, core.ErrNotFound)
}

// TestClientKnowsEveryFieldOfTheStatus decodes strictly, so that neither side adds a field
// alone.
func TestClientKnowsEveryFieldOfTheStatus(t *testing.T) {
	h := newHost(t, func(o *httpapi.Options) {
		o.Host = func() httpapi.Host { return httpapi.Host{StartedAt: time.Now(), Plugin: &httpapi.Plugin{PID: 1}} }
	})
	raw := h.want(200, "GET", "/v1/status", "").raw
	dec := json.NewDecoder(bytes.NewBufferString(raw))
	dec.DisallowUnknownFields()
	var s client.HostStatus
	require.NoError(t, dec.Decode(&s))
	assert.JSONEq(t, raw, toJSON(t, s))
	s, err := newRemote(t, h).Status(t.Context())
	require.NoError(t, err)
	assert.True(t, s.Ready)
	assert.Equal(t, 1, s.Plugin.PID)
}
