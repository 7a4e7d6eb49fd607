package etcd

// epoch.go: which life of the store a revision belongs to. The epoch stands in the namespace
// together with the id of the cluster that it was made for. Where it is missing, where the
// cluster is another one, or where revisions run backwards, the store was wiped, replaced or
// restored: a new epoch is made, once, by whoever sees it first.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// life is an epoch as this process knows it.
type life struct {
	epoch   string
	stored  string // the value of the key, which writes are conditional on
	cluster uint64
	seen    atomic.Int64 // the highest revision that was read in it
}

func (l *life) revision(n int64) core.Revision { return core.Revision{Epoch: l.epoch, N: uint64(n)} } //nolint:gosec // Revisions of etcd are positive.

// note keeps the highest revision.
func (l *life) note(n int64) {
	for {
		seen := l.seen.Load()
		if n <= seen || l.seen.CompareAndSwap(seen, n) {
			return
		}
	}
}

type epochJSON struct {
	V       int    `json:"v"`
	Epoch   string `json:"epoch"`
	Cluster string `json:"cluster"`
}

// answer is what a linearizable read gave, at one revision of one life.
type answer struct {
	life     *life
	revision int64
	results  []*clientv3.GetResponse // of each op
}

const (
	// maxEpochRounds is how often a read is repeated because the epoch was just made anew.
	maxEpochRounds = 8
	// attemptTimeout is how long one member may take for what can be asked of another as well.
	attemptTimeout = 3 * time.Second
	retryPause     = 50 * time.Millisecond // before the next attempt
)

// read carries out gets, at most 127, in one linearizable step, and says of which life of the
// store the answer is.
func (b *Backend) read(ctx context.Context, gets ...clientv3.Op) (*answer, error) {
	ops := append([]clientv3.Op{clientv3.OpGet(b.keys.epoch())}, gets...)
	for range maxEpochRounds {
		before := b.life.Load()
		var floor int64
		if before != nil {
			floor = before.seen.Load()
		}
		resp, err := b.ask(ctx, ops)
		if err != nil {
			return nil, fail(err)
		}
		var stored *mvccpb.KeyValue
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			stored = kvs[0]
		}
		now, why, err := b.judge(stored, resp.Header.ClusterId, resp.Header.Revision, before, floor)
		if err != nil {
			return nil, err
		}
		if why != "" {
			if err := b.renewEpoch(ctx, stored, resp.Header.ClusterId); err != nil {
				return nil, err
			}
			if before != nil {
				b.log.Warn("the store began a new epoch", "reason", why)
			}
			continue
		}
		now.note(resp.Header.Revision)
		a := &answer{life: now, revision: resp.Header.Revision}
		for _, r := range resp.Responses[1:] {
			a.results = append(a.results, (*clientv3.GetResponse)(r.GetResponseRange()))
		}
		return a, nil
	}
	return nil, fmt.Errorf("etcd: the epoch of the namespace changes all the time: %w", ports.ErrUnavailable)
}

// ask reads from one member after the other while they hang or are lost, which the client does not
// do for a transaction. A store that is away is waited for.
func (b *Backend) ask(ctx context.Context, gets []clientv3.Op) (*clientv3.TxnResponse, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		resp, err := b.client.Txn(attempt).Then(gets...).Commit()
		again := err != nil && (attempt.Err() != nil || code(rpctypes.Error(err)) == codes.Unavailable)
		cancel()
		if !again {
			return resp, err
		}
		timer := time.NewTimer(retryPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		case <-b.closing.Begun():
			timer.Stop()
			return nil, err
		}
	}
}

// judge returns the life that an answer belongs to, or why a new one has to begin.
func (b *Backend) judge(stored *mvccpb.KeyValue, cluster uint64, revision int64, before *life, floor int64) (now *life, why string, err error) {
	if stored == nil {
		return nil, "the namespace has none", nil
	}
	if before == nil || before.stored != string(stored.Value) {
		if now, err = b.parseEpoch(stored.Value); err != nil {
			return nil, "", err
		}
		floor = 0
	} else {
		now = before
	}
	switch {
	case now.cluster != cluster:
		return nil, "it was made for another cluster", nil
	case revision < floor:
		return nil, "revisions run backwards", nil
	}
	if now != before && !b.life.CompareAndSwap(before, now) {
		if others := b.life.Load(); others.stored == now.stored {
			now = others
		}
	}
	return now, "", nil
}

func (b *Backend) parseEpoch(value []byte) (*life, error) {
	var j epochJSON
	err := json.Unmarshal(value, &j)
	cluster, hexErr := strconv.ParseUint(j.Cluster, 16, 64)
	if err != nil || hexErr != nil || j.V != 1 || j.Epoch == "" {
		return nil, b.foreign(b.keys.epoch())
	}
	return &life{epoch: j.Epoch, stored: string(value), cluster: cluster}, nil
}

func (b *Backend) foreign(key string) error {
	return fmt.Errorf("etcd: the namespace holds keys that are not Prism's: %w", core.Invalid(
		backendkit.OptionField(ports.OptionNamespace), key, "choose a namespace that nothing else uses, or remove that key"))
}

// renewEpoch makes a new epoch where still the same one, or none, is stored.
func (b *Backend) renewEpoch(ctx context.Context, stored *mvccpb.KeyValue, cluster uint64) error {
	var unchanged clientv3.Cmp
	if stored != nil {
		unchanged = clientv3.Compare(clientv3.ModRevision(b.keys.epoch()), "=", stored.ModRevision)
	} else {
		if err := b.refuseForeign(ctx); err != nil {
			return err
		}
		unchanged = clientv3.Compare(clientv3.CreateRevision(b.keys.epoch()), "=", 0)
	}
	value, err := json.Marshal(epochJSON{V: 1, Epoch: newEpoch(), Cluster: strconv.FormatUint(cluster, 16)})
	if err != nil {
		return fmt.Errorf("the epoch: %w", err)
	}
	if _, err := b.client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(b.keys.epoch(), string(value))).Commit(); err != nil {
		return fail(err)
	}
	return nil
}

// looksAt is how many keys of a namespace without an epoch are looked at.
const looksAt = 256

// refuseForeign refuses a namespace that something else than Prism uses.
func (b *Backend) refuseForeign(ctx context.Context) error {
	resp, err := b.client.Do(ctx, under(string(b.keys)).get(clientv3.WithKeysOnly(), clientv3.WithLimit(looksAt)))
	if err != nil {
		return fail(err)
	}
	for _, kv := range resp.Get().Kvs {
		if !b.keys.ours(string(kv.Key)) {
			return b.foreign(string(kv.Key))
		}
	}
	return nil
}

// newEpoch is a random UUID.
func newEpoch() string {
	var u [16]byte
	rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
