package etcd

// sessions.go: a session is a lease whose id follows from the session's, so that any process
// can renew it without asking first. Two keys tell its state: sessions/{id} goes with the
// lease and is what Puts are conditional on; opened/{id} stays, so that the id is never open again.

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// lease is that of a session.
func (b *Backend) lease(id ports.SessionID) clientv3.LeaseID {
	sum := sha256.Sum256([]byte(b.keys.session(id)))
	return clientv3.LeaseID(max(1, int64(binary.BigEndian.Uint64(sum[:8])&math.MaxInt64))) //nolint:gosec // The mask makes it positive.
}

type sessionJSON struct {
	V            int    `json:"v"`
	Host         string `json:"host,omitempty"`
	Program      string `json:"program,omitempty"`
	TTL          int64  `json:"ttl"` // seconds, as granted
	OpenedAt     string `json:"opened_at"`
	OldestFormat int    `json:"oldest_format,omitempty"`
	NewestFormat int    `json:"newest_format,omitempty"`
}

// OpenSession implements ports.Sessions.
func (b *Backend) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	if err := backendkit.CheckSession(spec); err != nil {
		return ports.Session{}, fmt.Errorf("open a session: %w", err)
	}
	if err := b.closing.Enter(ctx); err != nil {
		return ports.Session{}, fmt.Errorf("open a session: %w", err)
	}
	for {
		s, err := b.openSession(ctx, spec)
		if noLease(err) && ctx.Err() == nil {
			continue // it ran out between two steps; what that means shows in the next attempt
		}
		if err != nil {
			return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, b.closing.Or(fail(err)))
		}
		return s, nil
	}
}

func (b *Backend) openSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	lease := b.lease(spec.ID)
	gone := fmt.Errorf("it ended: %w", ports.ErrSessionGone)
	opened, open, err := b.sessionState(ctx, spec.ID)
	switch {
	case err != nil:
		return ports.Session{}, err
	case open:
		granted, err := b.renewals.renew(ctx, []clientv3.LeaseID{lease})
		if err == nil && granted[0] == 0 {
			err = gone
		}
		return ports.Session{ID: spec.ID, TTL: granted0(granted)}, err
	case opened:
		return ports.Session{}, gone
	}
	granted, err := b.grant(ctx, lease, spec.TTL)
	if err != nil {
		return ports.Session{}, err
	}
	if granted < spec.TTL {
		return ports.Session{}, fmt.Errorf("its id was used before for a session of %s that was never opened; choose another id: %w", granted, ports.ErrSessionGone)
	}
	value, err := json.Marshal(sessionJSON{
		V: 1, Host: spec.Host, Program: spec.Program, TTL: int64(granted / time.Second), OpenedAt: core.FormatTime(time.Now()),
		OldestFormat: spec.OldestFormat, NewestFormat: spec.NewestFormat,
	})
	if err != nil {
		return ports.Session{}, err
	}
	resp, err := b.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(b.keys.opened(spec.ID)), "=", 0)).
		Then(clientv3.OpPut(b.keys.session(spec.ID), string(value), clientv3.WithLease(lease)), clientv3.OpPut(b.keys.opened(spec.ID), string(value))).
		Else(clientv3.OpGet(b.keys.session(spec.ID), clientv3.WithCountOnly())).
		Commit()
	if err != nil {
		return ports.Session{}, err
	}
	if !resp.Succeeded && resp.Responses[0].GetResponseRange().Count == 0 {
		return ports.Session{}, gone
	}
	// The stream of renewals is made now and not when the first is due: a server that is asked to
	// end takes no new stream, for seconds in which it goes on to end what is not renewed.
	if renewed, err := b.renewals.renew(ctx, []clientv3.LeaseID{lease}); err == nil && renewed[0] == 0 {
		return ports.Session{}, gone
	}
	return ports.Session{ID: spec.ID, TTL: granted}, nil
}

func granted0(granted []time.Duration) time.Duration {
	if len(granted) == 0 {
		return 0
	}
	return granted[0]
}

// grant makes the lease of a session, or renews it where others were faster, and returns its TTL.
func (b *Backend) grant(ctx context.Context, lease clientv3.LeaseID, ttl time.Duration) (time.Duration, error) {
	resp, err := b.renewals.remote.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{ID: int64(lease), TTL: seconds(ttl)}, grpc.WaitForReady(true))
	if err == nil {
		return time.Duration(resp.TTL) * time.Second, nil
	}
	if !errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseExist) {
		return 0, err
	}
	granted, err := b.renewals.renew(ctx, []clientv3.LeaseID{lease})
	if err == nil && granted[0] == 0 {
		err = rpctypes.ErrLeaseNotFound
	}
	return granted0(granted), err
}

// seconds are whole ones, rounded up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// sessionState says whether a session was ever opened, and whether it is open.
func (b *Backend) sessionState(ctx context.Context, id ports.SessionID) (opened, open bool, err error) {
	a, err := b.read(ctx, clientv3.OpGet(b.keys.opened(id), clientv3.WithCountOnly()), clientv3.OpGet(b.keys.session(id), clientv3.WithCountOnly()))
	if err != nil {
		return false, false, err
	}
	return a.results[0].Count > 0, a.results[1].Count > 0, nil
}

// RenewSessions implements ports.Sessions.
func (b *Backend) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if err := backendkit.CheckBatch("sessions", len(ids)); err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	leases := make([]clientv3.LeaseID, len(ids))
	for i, id := range ids {
		leases[i] = b.lease(id)
	}
	granted, err := b.renewals.renew(ctx, leases)
	if err != nil {
		return nil, fmt.Errorf("renew sessions: %w", b.closing.Or(err))
	}
	results := make([]ports.RenewResult, len(ids))
	for i, id := range ids {
		results[i] = ports.RenewResult{ID: id, TTL: granted[i], Gone: granted[i] == 0}
	}
	return results, nil
}

// CloseSession implements ports.Sessions. The session's key goes first: from then on no Put
// under it succeeds, so its records become fewer until none is left.
func (b *Backend) CloseSession(ctx context.Context, id ports.SessionID) error {
	if err := b.closing.Enter(ctx); err != nil {
		return fmt.Errorf("close session %s: %w", id, err)
	}
	if err := b.closeSession(ctx, id); err != nil {
		return fmt.Errorf("close session %s: %w", id, b.closing.Or(fail(err)))
	}
	return nil
}

func (b *Backend) closeSession(ctx context.Context, id ports.SessionID) error {
	a, err := b.read(ctx, clientv3.OpGet(b.keys.opened(id)))
	if err != nil || len(a.results[0].Kvs) == 0 {
		return err
	}
	if err := b.endSession(ctx, id, a.results[0].Kvs[0]); err != nil {
		return err
	}
	lease := b.lease(id)
	for {
		left, err := b.recordsOf(ctx, id, lease)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			break
		}
		for len(left) > 0 {
			n := min(len(left), ports.MaxBatch)
			results, err := backendkit.Apply(ctx, table{b}, left[:n])
			if err != nil {
				return err
			}
			for _, res := range results {
				if res.Err != nil && !errors.Is(res.Err, ports.ErrNotFound) && !errors.Is(res.Err, ports.ErrConflict) && !errors.Is(res.Err, ports.ErrContention) {
					return res.Err
				}
			}
			left = left[n:]
		}
	}
	if _, err := b.client.Revoke(ctx, lease); err != nil && !noLease(err) {
		return err
	}
	return nil
}

// endSession removes the session's key and lets its id fade.
func (b *Backend) endSession(ctx context.Context, id ports.SessionID, opened *mvccpb.KeyValue) error {
	end := clientv3.OpDelete(b.keys.session(id))
	for {
		fades, err := b.ended.get(ctx)
		if err != nil {
			return err
		}
		_, err = b.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(string(opened.Key)), "=", opened.ModRevision)).
			Then(end, clientv3.OpPut(string(opened.Key), string(opened.Value), clientv3.WithLease(fades))).
			Else(end).
			Commit()
		if !noLease(err) {
			return err
		}
		b.ended.lost(ctx, fades)
	}
}

// recordsOf are the deletions of what stands under a session.
func (b *Backend) recordsOf(ctx context.Context, id ports.SessionID, lease clientv3.LeaseID) ([]ports.Mutation, error) {
	resp, err := b.client.TimeToLive(ctx, lease, clientv3.WithAttachedKeys())
	if err != nil {
		return nil, err
	}
	var keys []core.Key
	for _, attached := range resp.Keys {
		if key, ok := b.keys.key(string(attached)); ok {
			keys = append(keys, key)
		}
	}
	found, err := b.load(ctx, keys)
	if err != nil {
		return nil, err
	}
	var deletions []ports.Mutation
	for _, f := range found {
		if f.Record != nil && f.Record.Session == id {
			deletions = append(deletions, ports.Mutation{Delete: &ports.Delete{
				Key: f.Record.Key, Generation: f.Record.Generation, Session: id, Cause: core.CauseDeregistered,
			}})
		}
	}
	return deletions, nil
}
