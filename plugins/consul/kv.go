package consul

// kv.go: the ways in which everything here speaks to Consul: read keys and prefixes at one
// time, wait for a key or a prefix, list names, and write in one transaction.

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

const (
	// maxOps is what a transaction may hold; Consul refuses 129 operations with status 413.
	maxOps = 128
	// maxTransaction is when a request is full. Consul takes 512 KiB; the likeness of an instance
	// in the catalog, with all the tags and metadata that there can be, comes on top.
	maxTransaction = 380 << 10
)

// consistent asks the leader, which proves first that it still is one.
func (b *Backend) consistent(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

// read returns what stands at keys, in their order, linearizably. What is absent has the
// index 0.
func (b *Backend) read(ctx context.Context, keys ...string) ([]*api.KVPair, error) {
	pairs := make([]*api.KVPair, 0, len(keys))
	for part := range slices.Chunk(keys, maxOps) {
		ops := make(api.TxnOps, len(part))
		for i, key := range part {
			ops[i] = b.op(api.KVGetOrEmpty, key, nil, 0)
		}
		found, err := b.look(b.consistent(ctx), ops)
		if err != nil {
			return nil, err
		}
		if len(found) != len(part) {
			return nil, b.hidden()
		}
		pairs = append(pairs, found...)
	}
	return pairs, nil
}

// hidden is the error of a read that lacks something: Consul leaves out what the token may not
// read.
func (b *Backend) hidden() error {
	return b.denied(fmt.Sprintf("lacks permission 'key:read' on %q", b.keys.root()))
}

// look runs a transaction that only reads, and returns what it shows, in order.
func (b *Backend) look(q *api.QueryOptions, ops api.TxnOps) (api.KVPairs, error) {
	ok, resp, _, err := b.client.Txn().Txn(ops, q)
	if err != nil {
		return nil, b.failure(q.Context(), err)
	}
	if !ok {
		return nil, b.broken(resp.Errors)
	}
	pairs := make(api.KVPairs, len(resp.Results))
	for i, res := range resp.Results {
		pairs[i] = res.KV
	}
	return pairs, nil
}

// list returns everything under a prefix, linearizably.
func (b *Backend) list(ctx context.Context, prefix string) (api.KVPairs, error) {
	pairs, _, err := b.client.KV().List(prefix, b.consistent(ctx))
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	return pairs, nil
}

// listAfter is list with its index, which waits until that is above after, or for a while.
func (b *Backend) listAfter(ctx context.Context, prefix string, after uint64, wait time.Duration) (api.KVPairs, uint64, error) {
	q := b.consistent(ctx)
	q.WaitIndex, q.WaitTime = after, wait
	pairs, meta, err := b.client.KV().List(prefix, q)
	if err != nil {
		return nil, 0, b.failure(ctx, err)
	}
	return pairs, meta.LastIndex, nil
}

// getAfter reads one key as listAfter lists. What is absent has the index 0.
func (b *Backend) getAfter(ctx context.Context, key string, after uint64, wait time.Duration) (*api.KVPair, error) {
	q := b.consistent(ctx)
	q.WaitIndex, q.WaitTime = after, wait
	pair, _, err := b.client.KV().Get(key, q)
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	if pair == nil {
		pair = &api.KVPair{Key: key}
	}
	return pair, nil
}

// names returns the keys under a prefix, linearizably, up to and including a separator.
func (b *Backend) names(ctx context.Context, prefix, separator string) ([]string, error) {
	names, _, err := b.client.KV().Keys(prefix, separator, b.consistent(ctx))
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	return names, nil
}

// write runs a transaction. It was made if there are neither errors nor an error; the errors
// say which conditions did not hold. After an error its outcome is unknown, unless that wraps
// ErrPermission or ErrTooLarge.
func (b *Backend) write(ctx context.Context, ops api.TxnOps) (api.TxnResults, api.TxnErrors, error) {
	ok, resp, _, err := b.client.Txn().Txn(ops, (&api.QueryOptions{}).WithContext(ctx))
	switch {
	case err != nil:
		return nil, nil, b.failure(ctx, err)
	case ok:
		return resp.Results, nil, nil
	}
	if slices.ContainsFunc(resp.Errors, isTooOld) {
		return nil, nil, b.broken(resp.Errors)
	}
	return nil, resp.Errors, nil
}

// writeAll is write for callers to whom a denial is an error like any other.
func (b *Backend) writeAll(ctx context.Context, ops api.TxnOps) (api.TxnErrors, error) {
	_, errs, err := b.write(ctx, ops)
	for _, e := range errs {
		if isDenial(e) {
			return nil, b.denied(e.What)
		}
	}
	return errs, err
}

// broken says why a transaction failed that has no conditions.
func (b *Backend) broken(errs api.TxnErrors) error {
	for _, e := range errs {
		switch {
		case isDenial(e):
			return b.denied(e.What)
		case isTooOld(e):
			return fmt.Errorf("consul at %s (%s) is too old (%s); use 1.15 or later: %w", b.way.where(), backendkit.OptionField("url"), e.What, ports.ErrUnsupported)
		}
	}
	what := "no reason given"
	if len(errs) > 0 {
		what = errs[0].What
	}
	return b.failing(fmt.Sprintf("refused a transaction (%s)", oneLine(what)))
}

// op is one operation on a key.
func (b *Backend) op(verb api.KVOp, key string, value []byte, index uint64) *api.TxnOp {
	return &api.TxnOp{KV: &api.KVTxnOp{
		Verb: verb, Key: key, Value: value, Index: index, Namespace: b.options.ConsulNamespace, Partition: b.options.Partition,
	}}
}

// indexOf is the index at which a transaction wrote a key.
func indexOf(results api.TxnResults, key string) uint64 {
	for _, res := range results {
		if res.KV != nil && res.KV.Key == key {
			return res.KV.ModifyIndex
		}
	}
	return 0
}
