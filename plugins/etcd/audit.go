package etcd

// audit.go: a session that runs out leaves two things that nothing removes: the wills of its
// records and its own id. Now and then one process of all looks for them and attaches them to
// leases that fade. Nobody waits for it: until then they merely stay longer.

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/adapters/backendkit"
)

const (
	// auditEvery is how often a namespace is looked through, however many processes use it.
	auditEvery = 10 * time.Minute
	// auditPage is how many keys are read at once.
	auditPage = 500
)

func (b *Backend) auditForever(ctx context.Context, every time.Duration) {
	for {
		timer := time.NewTimer(every/2 + rand.N(every)) //nolint:gosec // Jitter, not a secret.
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		elected, err := b.elected(ctx, every)
		if err == nil && elected {
			err = b.audit(ctx)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("the namespace could not be looked through for what shall be forgotten; it is tried again", "error", err)
		}
	}
}

// elected reports whether it is this process's turn: nobody audited for a while.
func (b *Backend) elected(ctx context.Context, every time.Duration) (bool, error) {
	a, err := b.read(ctx, clientv3.OpGet(b.keys.audit(), clientv3.WithCountOnly()))
	if err != nil || a.results[0].Count > 0 {
		return false, err
	}
	lease, err := b.client.Grant(ctx, seconds(every))
	if err != nil {
		return false, fail(err)
	}
	resp, err := b.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(b.keys.audit()), "=", 0)).
		Then(clientv3.OpPut(b.keys.audit(), "", clientv3.WithLease(lease.ID))).
		Commit()
	if err != nil {
		return false, fail(err)
	}
	if !resp.Succeeded {
		if _, err := b.client.Revoke(ctx, lease.ID); err != nil {
			return false, fail(err)
		}
	}
	return resp.Succeeded, nil
}

// audit lets orphans fade: wills without a record or tombstone, and ids of sessions that are
// not open.
func (b *Backend) audit(ctx context.Context) error {
	if err := b.fadeOrphans(ctx, willsRoom, recordsRoom, b.tombs); err != nil {
		return err
	}
	return b.fadeOrphans(ctx, openedRoom, sessionsRoom, b.ended)
}

// fadeOrphans looks for the keys of one room that have no partner of the same name in another.
func (b *Backend) fadeOrphans(ctx context.Context, room, partners string, by *fading) error {
	room, partners = string(b.keys)+room, string(b.keys)+partners
	for next := under(room); ; {
		page, err := b.client.Do(ctx, next.get(clientv3.WithLimit(auditPage)))
		if err != nil {
			return fail(err)
		}
		lasting := make(map[string]*mvccpb.KeyValue)
		var lowest, highest string
		for _, kv := range page.Get().Kvs {
			highest = strings.TrimPrefix(string(kv.Key), room)
			if kv.Lease != 0 {
				continue // fades already
			}
			if lowest == "" {
				lowest = highest
			}
			lasting[highest] = kv
		}
		if len(lasting) > 0 {
			living, err := b.client.Do(ctx, span{partners + lowest, partners + highest + "\x00"}.get(clientv3.WithKeysOnly()))
			if err != nil {
				return fail(err)
			}
			for _, kv := range living.Get().Kvs {
				delete(lasting, strings.TrimPrefix(string(kv.Key), partners))
			}
			if err := b.fade(ctx, lasting, partners, by); err != nil {
				return err
			}
		}
		if !page.Get().More {
			return nil
		}
		next.from = room + highest + "\x00"
	}
}

// fade attaches orphans to a lease, each if it still is as it was and has no partner.
func (b *Backend) fade(ctx context.Context, orphans map[string]*mvccpb.KeyValue, partners string, by *fading) error {
	if len(orphans) == 0 {
		return nil
	}
	lease, err := by.get(ctx)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(orphans))
	for name := range orphans {
		names = append(names, name)
	}
	return backendkit.Each(len(names), inFlight, func(i int) error {
		kv := orphans[names[i]]
		_, err := b.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision), clientv3.Compare(clientv3.CreateRevision(partners+names[i]), "=", 0)).
			Then(clientv3.OpPut(string(kv.Key), string(kv.Value), clientv3.WithLease(lease))).
			Commit()
		if noLease(err) {
			by.lost(ctx, lease) // the next audit has another
		}
		if err != nil {
			return fail(err)
		}
		return nil
	})
}
