package pluginrpc

// client.go: the host's half. What Open returns is a ports.Backend that lives in the plugin.

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// closeTimeout bounds the remote part of Close, which has no context.
const closeTimeout = 10 * time.Second

// Client speaks to one plugin. It is safe for concurrent use.
type Client struct {
	rpc backendv1.RegistryBackendClient
}

// NewClient makes the client of a connection, which stays the caller's.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{rpc: backendv1.NewRegistryBackendClient(conn)}
}

// Describe asks the plugin what it is. It needs no Open. A connection that is lost is
// ports.ErrUnavailable.
func (c *Client) Describe(ctx context.Context) (Description, error) {
	resp, err := c.rpc.Describe(ctx, &backendv1.DescribeRequest{})
	if err != nil {
		return Description{}, fromCall(ctx, err)
	}
	info := infoFromWire(resp.GetInfo())
	return Description{
		Name: info.Name, Version: info.Version, Contract: int(resp.GetContract()),
		Capabilities: info.Capabilities, Limits: info.Limits,
		Options: withNamespace(each(resp.GetOptions(), optionFromWire)),
	}, nil
}

// Open configures the plugin with a JSON object (see ValidateOptions) and returns the backend
// in it. A plugin has one open backend at a time: a second Open before Close is
// ports.ErrConflict. Options that can never work are ports.ErrInvalid, with a *core.FieldError
// where one is at fault; a store that does not answer is ports.ErrUnavailable.
func (c *Client) Open(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
	resp, err := c.rpc.Open(ctx, &backendv1.OpenRequest{Options: options})
	if err != nil {
		return nil, fromCall(ctx, err)
	}
	life, end := context.WithCancel(context.Background())
	return &remoteBackend{rpc: c.rpc, info: infoFromWire(resp.GetInfo()), life: life, end: end}, nil
}

// remoteBackend implements ports.Backend over the wire.
type remoteBackend struct {
	rpc  backendv1.RegistryBackendClient
	info ports.Info

	closing sync.Once
	life    context.Context // ends with Close; no call bounds it
	end     context.CancelFunc
}

// Info implements ports.Backend.
func (b *remoteBackend) Info() ports.Info { return b.info }

// Health implements ports.Backend.
func (b *remoteBackend) Health(ctx context.Context) error {
	if err := b.open(); err != nil {
		return err
	}
	_, err := b.rpc.Health(ctx, &backendv1.HealthRequest{})
	return fromCall(ctx, err)
}

// open returns ErrClosed after Close.
func (b *remoteBackend) open() error {
	if b.life.Err() != nil {
		return ports.ErrClosed
	}
	return nil
}

// Close returns ErrUnavailable when the plugin is no longer there to be closed.
func (b *remoteBackend) Close() error {
	var err error
	b.closing.Do(func() {
		b.end()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_, err = b.rpc.Close(ctx, &backendv1.CloseRequest{})
		err = fromCall(ctx, err)
	})
	return err
}

// OpenSession implements ports.Backend.
func (b *remoteBackend) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	if err := b.open(); err != nil {
		return ports.Session{}, err
	}
	resp, err := b.rpc.OpenSession(ctx, &backendv1.OpenSessionRequest{
		Id: text(string(spec.ID)), Ttl: durationToWire(spec.TTL), Host: text(spec.Host), Program: text(spec.Program),
		OldestFormat: int64(spec.OldestFormat), NewestFormat: int64(spec.NewestFormat),
	})
	if err != nil {
		return ports.Session{}, fromCall(ctx, err)
	}
	return ports.Session{ID: ports.SessionID(resp.GetId()), TTL: resp.GetTtl().AsDuration()}, nil
}

// RenewSessions implements ports.Backend.
func (b *remoteBackend) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	resp, err := b.rpc.RenewSessions(ctx, &backendv1.RenewSessionsRequest{
		Ids: each(ids, func(id ports.SessionID) string { return text(string(id)) }),
	}, largeAnswer)
	if err != nil {
		return nil, fromCall(ctx, err)
	}
	return answered("RenewSessions", len(ids), each(resp.GetResults(), func(r *backendv1.RenewResult) ports.RenewResult {
		return ports.RenewResult{ID: ports.SessionID(r.GetId()), Gone: r.GetGone(), TTL: r.GetTtl().AsDuration()}
	}))
}

// CloseSession implements ports.Backend.
func (b *remoteBackend) CloseSession(ctx context.Context, id ports.SessionID) error {
	if err := b.open(); err != nil {
		return err
	}
	_, err := b.rpc.CloseSession(ctx, &backendv1.CloseSessionRequest{Id: text(string(id))})
	return fromCall(ctx, err)
}

// Apply implements ports.Backend.
func (b *remoteBackend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	resp, err := b.rpc.Apply(ctx, &backendv1.ApplyRequest{Mutations: each(muts, mutationToWire)}, largeAnswer)
	if err != nil {
		return nil, fromCall(ctx, err)
	}
	return answered("Apply", len(muts), each(resp.GetResults(), resultFromWire))
}

// Get implements ports.Backend.
func (b *remoteBackend) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	resp, err := b.rpc.Get(ctx, &backendv1.GetRequest{Keys: each(keys, keyToWire)}, largeAnswer)
	if err != nil {
		return nil, fromCall(ctx, err)
	}
	return answered("Get", len(keys), each(resp.GetFound(), foundFromWire))
}

// answered checks that a batch got as many answers as it asked for: callers match them by
// position.
func answered[T any](method string, asked int, results []T) ([]T, error) {
	if len(results) != asked {
		return nil, fmt.Errorf("%w: %s was asked for %d items and answered for %d; the plugin breaks its contract",
			ports.ErrUnavailable, method, asked, len(results))
	}
	return results, nil
}
