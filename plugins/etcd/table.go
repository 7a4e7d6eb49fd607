package etcd

// table.go: records as package backendkit reads and writes them: a load is one transaction of
// reads, a change one that compares what stood there.

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// loadAtOnce is how many keys one transaction reads: with will and session of each, and the
	// epoch, it stays below etcd's 128 operations.
	loadAtOnce = 40
	// inFlight is how many transactions of one call are on their way together.
	inFlight = 32
)

// Apply implements ports.Records.
func (b *Backend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	results, err := backendkit.ApplyGuessing(ctx, table{b}, muts)
	if err != nil {
		return nil, b.closing.Or(err)
	}
	return results, nil
}

// Get implements ports.Records.
func (b *Backend) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	if err := b.closing.Enter(ctx); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	found, err := backendkit.Get(ctx, table{b}, keys)
	if err != nil {
		return nil, b.closing.Or(err)
	}
	return found, nil
}

func (b *Backend) load(ctx context.Context, keys []core.Key) ([]backendkit.Loaded, error) {
	wanted := make([]backendkit.Wanted, len(keys))
	for i, k := range keys {
		wanted[i].Key = k
	}
	return table{b}.Load(ctx, wanted)
}

// table implements backendkit.Table.
type table struct{ *Backend }

// Load implements backendkit.Table.
func (t table) Load(ctx context.Context, wanted []backendkit.Wanted) ([]backendkit.Loaded, error) {
	loaded := make([]backendkit.Loaded, len(wanted))
	err := backendkit.Each((len(wanted)+loadAtOnce-1)/loadAtOnce, inFlight, func(chunk int) error {
		from := chunk * loadAtOnce
		to := min(from+loadAtOnce, len(wanted))
		return t.loadSome(ctx, wanted[from:to], loaded[from:to])
	})
	if err != nil {
		return nil, err
	}
	return loaded, nil
}

func (t table) loadSome(ctx context.Context, wanted []backendkit.Wanted, loaded []backendkit.Loaded) error {
	var ops []clientv3.Op
	sessions := make(map[ports.SessionID]int) // where its answer stands
	for _, w := range wanted {
		ops = append(ops, clientv3.OpGet(t.keys.record(w.Key)), clientv3.OpGet(t.keys.will(w.Key)))
	}
	for _, w := range wanted {
		if _, asked := sessions[w.Session]; w.Session != "" && !asked {
			sessions[w.Session] = len(ops)
			ops = append(ops, clientv3.OpGet(t.keys.session(w.Session), clientv3.WithCountOnly()))
		}
	}
	a, err := t.read(ctx, ops...)
	if err != nil {
		return err
	}
	for i, w := range wanted {
		loaded[i] = a.interpret(w.Key, first(a.results[2*i]), first(a.results[2*i+1]))
		if w.Session != "" {
			loaded[i].SessionOpen = a.results[sessions[w.Session]].Count > 0
		}
	}
	return nil
}

func first(r *clientv3.GetResponse) *mvccpb.KeyValue {
	if len(r.Kvs) == 0 {
		return nil
	}
	return r.Kvs[0]
}

// A version is the revision of the record, or where there is none, that of its will.
const recordBit = 1

func version(rev int64, ofRecord bool) uint64 {
	v := uint64(rev) << 1 //nolint:gosec // Revisions are positive and far from overflowing.
	if ofRecord {
		v |= recordBit
	}
	return v
}

// interpret says what stands at a key, by its record and by its will.
func (a *answer) interpret(key core.Key, record, will *mvccpb.KeyValue) backendkit.Loaded {
	var kv *mvccpb.KeyValue
	var at int64
	switch {
	case record != nil:
		kv, at = record, record.ModRevision
	case will != nil && will.Lease != 0: // written again after the end
		kv, at = will, will.ModRevision
	case will != nil: // the end came after the will, and before now
		kv, at = will, a.revision
	default:
		return backendkit.Loaded{}
	}
	loaded := backendkit.Loaded{Version: version(kv.ModRevision, record != nil)}
	doc, err := backendkit.DecodeFor(key, kv.Value)
	if _, newer := errors.AsType[*backendkit.FormatError](err); newer {
		loaded.Err = err
	}
	if err != nil {
		return loaded
	}
	loaded.Document = doc
	switch {
	case doc.Record != nil:
		doc.Record.Revision = a.life.revision(at)
	case doc.Tombstone != nil:
		doc.Tombstone.Revision = a.life.revision(at)
	}
	return loaded
}

// Commit implements backendkit.Table.
func (t table) Commit(ctx context.Context, changes []backendkit.Change) []backendkit.Committed {
	done := make([]backendkit.Committed, len(changes))
	_ = backendkit.Each(len(changes), inFlight, func(i int) error { // each has an error of its own
		done[i].Revision, done[i].Err = t.commit(ctx, changes[i])
		return nil
	})
	return done
}

// commit makes one change. The epoch is compared too, so that no write into a store that was
// wiped is answered with a revision of the one before.
func (t table) commit(ctx context.Context, c backendkit.Change) (core.Revision, error) {
	now := t.life.Load()
	if was := c.Was; was.Record != nil && was.Record.Revision.Epoch != now.epoch || was.Tombstone != nil && was.Tombstone.Revision.Epoch != now.epoch {
		return core.Revision{}, backendkit.ErrStale
	}
	writes, fades, err := t.writes(ctx, c)
	if err != nil {
		return core.Revision{}, err
	}
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.Value(t.keys.epoch()), "=", now.stored)}
	record, will, rev := t.keys.record(c.Key), t.keys.will(c.Key), int64(c.Was.Version>>1) //nolint:gosec // It was an int64.
	if c.Was.Version&recordBit != 0 {
		conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(record), "=", rev))
	} else {
		conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(record), "=", 0), clientv3.Compare(clientv3.ModRevision(will), "=", rev))
	}
	var otherwise []clientv3.Op
	if c.Session != "" {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(t.keys.session(c.Session)), ">", 0))
		otherwise = append(otherwise, clientv3.OpGet(t.keys.session(c.Session), clientv3.WithCountOnly()))
	}
	resp, err := t.client.Txn(ctx).If(conditions...).Then(writes...).Else(otherwise...).Commit()
	gone := fmt.Errorf("put %s: session %s ended: %w", c.Key, c.Session, ports.ErrSessionGone)
	switch {
	case noLease(err) && fades != 0:
		t.tombs.lost(ctx, fades)
		return core.Revision{}, backendkit.ErrStale
	case noLease(err):
		return core.Revision{}, gone
	case err != nil:
		return core.Revision{}, fmt.Errorf("write %s: %w", c.Key, t.closing.Or(fail(err)))
	case !resp.Succeeded && len(otherwise) > 0 && resp.Responses[0].GetResponseRange().Count == 0:
		return core.Revision{}, gone
	case !resp.Succeeded:
		return core.Revision{}, backendkit.ErrStale
	}
	now.note(resp.Header.Revision)
	return now.revision(resp.Header.Revision), nil
}

// writes are what a change writes. fades is the lease of the tombstone, 0 for a record.
func (t table) writes(ctx context.Context, c backendkit.Change) (ops []clientv3.Op, fades clientv3.LeaseID, err error) {
	c.Write = "" // the client sends nothing twice
	value, err := backendkit.Encode(c.Document)
	if err != nil {
		return nil, 0, err
	}
	record, will := t.keys.record(c.Key), t.keys.will(c.Key)
	rec, was := c.Record, c.Was.Record
	if rec == nil {
		if fades, err = t.tombs.get(ctx); err != nil {
			return nil, 0, err
		}
		return []clientv3.Op{clientv3.OpPut(record, string(value), clientv3.WithLease(fades)), clientv3.OpDelete(will)}, fades, nil
	}
	if was != nil && was.Session == rec.Session {
		// Whatever it is attached to: SetState must not fail for a lease that runs out just now.
		ops = append(ops, clientv3.OpPut(record, string(value), clientv3.WithIgnoreLease()))
	} else {
		ops = append(ops, clientv3.OpPut(record, string(value), clientv3.WithLease(t.lease(rec.Session))))
	}
	if was != nil && was.Session == rec.Session && was.Generation == rec.Generation {
		return ops, 0, nil
	}
	last, err := backendkit.Encode(backendkit.Document{Found: ports.Found{Tombstone: &ports.Tombstone{
		Key: rec.Key, Generation: rec.Generation, Session: rec.Session, Cause: core.CauseExpired,
	}}})
	return append(ops, clientv3.OpPut(will, string(last))), 0, err
}
