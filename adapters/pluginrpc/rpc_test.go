package pluginrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var (
	testTime = time.Date(2031, 4, 5, 6, 7, 8, 9, time.UTC)
	testKey  = core.Key{Service: "orders", ID: "orders-1"}
)

func testRecord(id string) ports.Record {
	return ports.Record{
		Key: core.Key{Service: "orders", ID: id}, Generation: core.Generation{N: 3, Random: "AB"}, Session: "s-1",
		Owner: "o", LeaseHash: "h",
		State: core.State{
			Declared: core.DeclaredUp, Observed: core.ObservedUnhealthy, ByOperator: true, Actor: "check", Reason: "refused",
			Streak: -3, ChangedAt: testTime,
		},
		Body: []byte(`{"v":1}`), RegisteredAt: testTime, UpdatedAt: testTime.Add(time.Millisecond),
		Revision: core.Revision{Epoch: "e", N: 1 << 60},
	}
}

func testTombstone() ports.Tombstone {
	return ports.Tombstone{
		Key: testKey, Generation: core.Generation{N: 3, Random: "AB"}, Session: "s-1", Cause: core.CauseOperator,
		Actor: "operator", Reason: "moved", Revision: core.Revision{Epoch: "e", N: 9},
	}
}

func TestDescribe(t *testing.T) {
	p := (&fake{}).plugin()
	p.Options = []ports.Option{
		{Name: "url", Type: ports.OptionString, Default: "http://127.0.0.1", Required: true, Doc: "Where."},
		{Name: "password", Type: ports.OptionString, Secret: true},
		{Name: "db", Type: ports.OptionInt},
		{Name: "mirror", Type: ports.OptionBool},
		{Name: "timeout", Type: ports.OptionDuration},
		{Name: "urls", Type: ports.OptionList},
	}
	p.Open = nil // Describe never opens.
	client, _ := connect(t, p)
	d, err := client.Describe(t.Context())
	require.NoError(t, err)
	assert.Equal(t, ports.OptionNamespace, d.Options[0].Name)
	assert.Equal(t, "prism", d.Options[0].Default)
	d.Options = d.Options[1:]
	assert.Equal(t, pluginrpc.Description{
		Name: "fake", Version: "1.2.3", Contract: ports.ContractVersion,
		Capabilities: fakeInfo.Capabilities, Limits: fakeInfo.Limits, Options: p.Options,
	}, d)
}

func TestOpenGivesTheBackendItsOptions(t *testing.T) {
	var got json.RawMessage
	f := &fake{}
	p := f.plugin()
	p.Options = []ports.Option{
		{Name: "db", Type: ports.OptionInt, Default: "0"},
		{Name: "timeout", Type: ports.OptionDuration, Default: "5"},
	}
	p.Open = func(_ context.Context, raw json.RawMessage) (ports.Backend, error) {
		got = raw
		return f, nil
	}
	client, _ := connect(t, p)

	_, err := client.Open(t.Context(), json.RawMessage(`{"dbb":1}`))
	fe, ok := errors.AsType[*core.FieldError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "backend_config.dbb", fe.Field)
	require.ErrorIs(t, err, ports.ErrInvalid)
	_, err = client.Open(t.Context(), json.RawMessage(`[]`))
	require.ErrorIs(t, err, ports.ErrInvalid)
	assert.Nil(t, got)

	valid, err := pluginrpc.ValidateOptions(p.Options, map[string]any{"db": "3", "timeout": 90})
	require.NoError(t, err)
	b, err := client.Open(t.Context(), valid)
	require.NoError(t, err)
	assert.JSONEq(t, `{"namespace":"prism","db":3,"timeout":"90s"}`, string(got))
	assert.Equal(t, fakeInfo, b.Info())
}

func TestOneBackendAtATime(t *testing.T) {
	f := &fake{}
	client, _ := connect(t, f.plugin())
	first, err := client.Open(t.Context(), nil)
	require.NoError(t, err)
	_, err = client.Open(t.Context(), nil)
	require.ErrorIs(t, err, ports.ErrConflict)

	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "a second Close does nothing")
	assert.EqualValues(t, 1, f.closes.Load())
	require.ErrorIs(t, first.Health(t.Context()), ports.ErrClosed)
	second, err := client.Open(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, first.Close(), "it closes nobody else's")
	require.NoError(t, second.Health(t.Context()))
	require.ErrorIs(t, first.Health(t.Context()), ports.ErrClosed)
}

func TestOpenThatFailsCanBeTriedAgain(t *testing.T) {
	f := &fake{}
	p := f.plugin()
	failures := 2
	p.Open = func(context.Context, json.RawMessage) (ports.Backend, error) {
		failures--
		switch failures {
		case 1:
			return nil, fmt.Errorf("dial: %w", ports.ErrUnavailable)
		case 0:
			panic("in Open")
		}
		return f, nil
	}
	client, _ := connect(t, p)
	for range 2 {
		_, err := client.Open(t.Context(), nil)
		require.ErrorIs(t, err, ports.ErrUnavailable)
	}
	_, err := client.Open(t.Context(), nil)
	require.NoError(t, err)
}

func TestOpenThatNobodyWaitsForIsClosed(t *testing.T) {
	f := &fake{}
	p := f.plugin()
	ctx, giveUp := context.WithCancel(t.Context())
	closed := make(chan struct{})
	f.close = func() error { close(closed); return nil }
	p.Open = func(ctx context.Context, _ json.RawMessage) (ports.Backend, error) {
		giveUp()
		<-ctx.Done()
		return f, nil
	}
	client, _ := connect(t, p)
	_, err := client.Open(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	wait(t, closed, "the backend that nobody knows of is closed")
}

func TestEveryMethodAfterCloseIsClosed(t *testing.T) {
	f := &fake{}
	client, _ := connect(t, f.plugin())
	ours, err := client.Open(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, ours.Close())
	for name, err := range everyMethod(t.Context(), ours) {
		require.ErrorIs(t, err, ports.ErrClosed, name)
	}
}

// TestEveryMethodOfAPluginThatIsNotOpenIsClosed asks the server itself, as a careless host does.
func TestEveryMethodOfAPluginThatIsNotOpenIsClosed(t *testing.T) {
	f := &fake{}
	srv := pluginrpc.NewServer(f.plugin())
	s := grpc.NewServer(pluginrpc.ServerOptions()...)
	backendv1.RegisterRegistryBackendServer(s, srv)
	client, _ := serveInMemory(t, s)
	b, err := client.Open(t.Context(), nil)
	require.NoError(t, err)
	for range 2 {
		_, err = srv.Close(t.Context(), &backendv1.CloseRequest{})
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, f.closes.Load())
	for name, err := range everyMethod(t.Context(), b) {
		require.ErrorIs(t, err, ports.ErrClosed, name)
		require.ErrorContains(t, err, "no backend is open", name)
	}
}

// everyMethod calls each method that has a context and returns what it failed with.
func everyMethod(ctx context.Context, b ports.Backend) map[string]error {
	out := map[string]error{"Health": b.Health(ctx), "CloseSession": b.CloseSession(ctx, "s")}
	_, out["OpenSession"] = b.OpenSession(ctx, ports.SessionSpec{ID: "s", TTL: time.Second})
	_, out["RenewSessions"] = b.RenewSessions(ctx, []ports.SessionID{"s"})
	_, out["Apply"] = b.Apply(ctx, []ports.Mutation{{Delete: &ports.Delete{Key: testKey}}})
	_, out["Get"] = b.Get(ctx, []core.Key{testKey})
	_, out["Watch"] = b.Watch(ctx, ports.WatchRequest{})
	return out
}

func TestSessionsCross(t *testing.T) {
	spec := ports.SessionSpec{ID: "s-1", TTL: 1500 * time.Millisecond, Host: "h", Program: "p 1", OldestFormat: 1, NewestFormat: 2}
	var opened ports.SessionSpec
	var closed ports.SessionID
	b := openFake(t, &fake{
		openSession: func(_ context.Context, s ports.SessionSpec) (ports.Session, error) {
			opened = s
			return ports.Session{ID: s.ID, TTL: 2 * time.Second}, nil
		},
		renew: func(_ context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
			return []ports.RenewResult{{ID: ids[0], TTL: time.Second}, {ID: ids[1], Gone: true}}, nil
		},
		closeSession: func(_ context.Context, id ports.SessionID) error {
			closed = id
			return nil
		},
	})
	got, err := b.OpenSession(t.Context(), spec)
	require.NoError(t, err)
	assert.Equal(t, ports.Session{ID: "s-1", TTL: 2 * time.Second}, got)
	assert.Equal(t, spec, opened)
	results, err := b.RenewSessions(t.Context(), []ports.SessionID{"a", "b"})
	require.NoError(t, err)
	assert.Equal(t, []ports.RenewResult{{ID: "a", TTL: time.Second}, {ID: "b", Gone: true}}, results)
	require.NoError(t, b.CloseSession(t.Context(), "s-9"))
	assert.Equal(t, ports.SessionID("s-9"), closed)
}

func TestApplyAndGetCross(t *testing.T) {
	muts := []ports.Mutation{
		{Put: &ports.Put{Record: testRecord("a"), Replaces: core.Generation{N: 2, Random: "X"}, IfRevision: core.Revision{Epoch: "e", N: 4}}},
		{Put: &ports.Put{Record: testRecord("b")}},
		{SetState: &ports.SetState{
			Key: testKey, Generation: core.Generation{N: 1, Random: "Y"}, Session: "s", At: testTime,
			Declared:   &ports.DeclaredState{Declared: core.DeclaredMaintenance, ByOperator: true, Actor: "operator", Reason: "disk"},
			Observed:   &ports.ObservedState{Observed: core.ObservedHealthy, Streak: 7},
			IfRevision: core.Revision{Epoch: "e", N: 5},
		}},
		{SetState: &ports.SetState{Key: testKey, Observed: &ports.ObservedState{}}},
		{Delete: &ports.Delete{
			Key: testKey, Generation: core.Generation{N: 1, Random: "Y"}, Session: "s", Cause: core.CauseExpired, Actor: "a", Reason: "r",
			IfRevision: core.Revision{Epoch: "e", N: 6},
		}},
	}
	answers := []ports.MutationResult{
		{Record: new(testRecord("a"))},
		{Record: new(testRecord("b")), Err: ports.ErrConflict},
		{Tombstone: new(testTombstone()), Err: ports.ErrNotFound},
		{Err: ports.ErrSessionGone},
		{},
	}
	found := []ports.Found{{Record: new(testRecord("a"))}, {Tombstone: new(testTombstone())}, {}}
	var seen []ports.Mutation
	var keys []core.Key
	b := openFake(t, &fake{
		apply: func(_ context.Context, got []ports.Mutation) ([]ports.MutationResult, error) {
			seen = got
			return answers, nil
		},
		get: func(_ context.Context, got []core.Key) ([]ports.Found, error) {
			keys = got
			return found, nil
		},
	})
	got, err := b.Apply(t.Context(), muts)
	require.NoError(t, err)
	assert.Equal(t, muts, seen)
	assert.Equal(t, answers, got)
	asked := []core.Key{testKey, {Service: "a", ID: "b"}, {Service: "a", ID: "c"}}
	gotFound, err := b.Get(t.Context(), asked)
	require.NoError(t, err)
	assert.Equal(t, asked, keys)
	assert.Equal(t, found, gotFound)
}

func TestSizesAreEnforcedBeforeTheBackendSeesThem(t *testing.T) {
	b := openFake(t, &fake{
		apply: func(context.Context, []ports.Mutation) ([]ports.MutationResult, error) { panic("seen") },
		get:   func(context.Context, []core.Key) ([]ports.Found, error) { panic("seen") },
		renew: func(context.Context, []ports.SessionID) ([]ports.RenewResult, error) { panic("seen") },
	})
	put := func(size int) ports.Mutation {
		return ports.Mutation{Put: &ports.Put{Record: ports.Record{Key: testKey, Body: bytes.Repeat([]byte("x"), size)}}}
	}
	_, err := b.Apply(t.Context(), make([]ports.Mutation, ports.MaxBatch+1))
	require.ErrorIs(t, err, ports.ErrInvalid)
	require.ErrorContains(t, err, "257")
	_, err = b.Apply(t.Context(), []ports.Mutation{put(ports.MaxBatchBytes), put(1)})
	require.ErrorIs(t, err, ports.ErrTooLarge)
	_, err = b.Apply(t.Context(), []ports.Mutation{put(40 << 20)})
	require.ErrorIs(t, err, ports.ErrTooLarge, "above what gRPC takes, too")
	_, err = b.Get(t.Context(), make([]core.Key, ports.MaxBatch+1))
	require.ErrorIs(t, err, ports.ErrInvalid)
	_, err = b.RenewSessions(t.Context(), make([]ports.SessionID, ports.MaxBatch+1))
	require.ErrorIs(t, err, ports.ErrInvalid)
}

// An item that sets nothing, or more than one, is one bad item among others.
func TestItemsThatSetNothingReachTheBackend(t *testing.T) {
	refused := []ports.MutationResult{{Err: ports.ErrInvalid}, {}, {Err: ports.ErrInvalid}}
	var seen []ports.Mutation
	b := openFake(t, &fake{apply: func(_ context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
		seen = muts
		return refused, nil
	}})
	good := ports.Mutation{Delete: &ports.Delete{Key: testKey}}
	results, err := b.Apply(t.Context(), []ports.Mutation{{}, good, {Put: &ports.Put{}, Delete: &ports.Delete{}}})
	require.NoError(t, err)
	assert.Equal(t, []ports.Mutation{{}, good, {}}, seen)
	require.Len(t, results, 3)
	for i, want := range refused {
		require.ErrorIs(t, results[i].Err, want.Err)
	}
}

// TestLargestMessages sends the largest that the contract allows each way.
func TestLargestMessages(t *testing.T) {
	body := bytes.Repeat([]byte("x"), ports.MaxBodyBytes)
	full := func(i int) ports.Record {
		r := testRecord(strconv.Itoa(i))
		r.Body = body
		return r
	}
	b := openFake(t, &fake{get: func(_ context.Context, keys []core.Key) ([]ports.Found, error) {
		out := make([]ports.Found, len(keys))
		for i := range out {
			out[i].Record = new(full(i))
		}
		return out, nil
	}})
	found, err := b.Get(t.Context(), make([]core.Key, ports.MaxBatch))
	require.NoError(t, err)
	assert.Equal(t, full(ports.MaxBatch-1), *found[ports.MaxBatch-1].Record)

	muts := make([]ports.Mutation, ports.MaxBatch)
	for i := range muts {
		r := testRecord(strconv.Itoa(i))
		r.Body = body[:ports.MaxBatchBytes/ports.MaxBatch]
		r.State.Reason = strings.Repeat("é", 10_000)
		muts[i].Put = &ports.Put{Record: r}
	}
	results, err := b.Apply(t.Context(), muts)
	require.NoError(t, err)
	for i := range muts {
		require.Equal(t, muts[i].Put.Record, *results[i].Record)
	}
}

func TestWrongNumberOfAnswersIsUnavailable(t *testing.T) {
	b := openFake(t, &fake{
		apply: func(context.Context, []ports.Mutation) ([]ports.MutationResult, error) { return nil, nil },
		get:   func(context.Context, []core.Key) ([]ports.Found, error) { return make([]ports.Found, 2), nil },
		renew: func(context.Context, []ports.SessionID) ([]ports.RenewResult, error) { return nil, nil },
	})
	_, err := b.Apply(t.Context(), []ports.Mutation{{Delete: &ports.Delete{}}})
	require.ErrorIs(t, err, ports.ErrUnavailable)
	_, err = b.Get(t.Context(), []core.Key{testKey})
	require.ErrorIs(t, err, ports.ErrUnavailable)
	_, err = b.RenewSessions(t.Context(), []ports.SessionID{"s"})
	require.ErrorIs(t, err, ports.ErrUnavailable)
}

func TestPanicsBecomeErrorsAndThePluginLives(t *testing.T) {
	f := &fake{
		openSession:  func(context.Context, ports.SessionSpec) (ports.Session, error) { panic("a secret") },
		renew:        func(context.Context, []ports.SessionID) ([]ports.RenewResult, error) { panic("a secret") },
		closeSession: func(context.Context, ports.SessionID) error { panic("a secret") },
		apply:        func(context.Context, []ports.Mutation) ([]ports.MutationResult, error) { panic("a secret") },
		get:          func(context.Context, []core.Key) ([]ports.Found, error) { panic("a secret") },
		watch:        func(context.Context, ports.WatchRequest) (ports.Watcher, error) { panic("a secret") },
		health:       func(context.Context) error { panic("a secret") },
		close:        func() error { panic("a secret") },
	}
	b := openFake(t, f)
	for name, err := range everyMethod(t.Context(), b) {
		require.ErrorIs(t, err, ports.ErrUnavailable, name)
		require.ErrorContains(t, err, name)
		assert.NotContains(t, err.Error(), "secret")
	}
	f.health = nil
	require.NoError(t, b.Health(t.Context()))

	f.watch = func(context.Context, ports.WatchRequest) (ports.Watcher, error) {
		return newScript(func(context.Context) (ports.WatchEvent, error) { panic("a secret") }), nil
	}
	w, err := b.Watch(t.Context(), ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	_, err = w.Next(t.Context())
	require.ErrorIs(t, err, ports.ErrUnavailable)
	assert.NotContains(t, err.Error(), "secret")

	require.ErrorIs(t, b.Close(), ports.ErrUnavailable)
}

func TestDeadlinesAndCancellationCross(t *testing.T) {
	seen := make(chan error, 1)
	b := openFake(t, &fake{health: func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			return ports.ErrInvalid
		}
		<-ctx.Done()
		seen <- ctx.Err()
		return ctx.Err()
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.Health(ctx), context.DeadlineExceeded)
	require.Error(t, <-seen)

	ctx, cancel = context.WithTimeout(t.Context(), limit)
	go cancel()
	require.ErrorIs(t, b.Health(ctx), context.Canceled)
}
