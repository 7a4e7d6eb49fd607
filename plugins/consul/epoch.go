package consul

// epoch.go: the identity of the store. A UUID in the namespace; that it is lost, or that
// revisions run backwards, shows that Consul has lost or replaced its data.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// epoch is the store's identity and where it was read: writes check that it still stands.
type epoch struct {
	id    string
	index uint64
}

func (e epoch) at(n uint64) core.Revision { return core.Revision{Epoch: e.id, N: n} }

// epochs is the epoch that was seen last.
type epochs struct {
	mu   sync.Mutex
	last epoch // guarded by mu
}

func (e *epochs) get() epoch {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

// see takes in an epoch that was read; a later write of it wins whoever comes last.
func (e *epochs) see(seen epoch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = seen
}

type epochJSON struct {
	V     int    `json:"v"`
	Epoch string `json:"epoch"`
}

// readEpoch reads a stored epoch. A corrupt one counts as lost.
func readEpoch(pair *api.KVPair) epoch {
	var j epochJSON
	if pair == nil || pair.ModifyIndex == 0 || json.Unmarshal(pair.Value, &j) != nil {
		return epoch{}
	}
	return epoch{id: j.Epoch, index: pair.ModifyIndex}
}

// currentEpoch makes sure that a pair read from the store holds an epoch, or makes one. It
// reports whether the pair was as it should be.
func (b *Backend) currentEpoch(ctx context.Context, pair *api.KVPair) (e epoch, stood bool, err error) {
	if e := readEpoch(pair); e.id != "" {
		b.epochs.see(e)
		return e, true, nil
	}
	at := uint64(0)
	if pair != nil {
		at = pair.ModifyIndex
	}
	e, err = b.newEpoch(ctx, at)
	return e, false, err
}

// newEpoch begins an epoch where the one at an index, or none, stands, and answers with what
// stands then: somebody else may have been faster. It also shows whether the token may write.
func (b *Backend) newEpoch(ctx context.Context, index uint64) (epoch, error) {
	value, err := json.Marshal(epochJSON{V: 1, Epoch: rand.Text()})
	if err != nil {
		return epoch{}, fmt.Errorf("encode an epoch: %w", err)
	}
	ops := api.TxnOps{
		b.op(api.KVCAS, b.keys.epoch(), value, index),
		b.op(api.KVSet, b.keys.latest(), latestJSON{Write: newID()}.encode(), 0), // It wakes the watchers.
		b.op(api.KVSet, b.keys.sessionFormat(), []byte(`{"v":1}`), 0),
	}
	if *b.options.Mirror {
		ops = append(ops, b.mirror.nodeSet(b.mirror.nth(0)))
	}
	if _, err := b.writeAll(ctx, ops); err != nil {
		return epoch{}, err
	}
	pairs, err := b.read(ctx, b.keys.epoch())
	if err != nil {
		return epoch{}, err
	}
	e := readEpoch(pairs[0])
	if e.id == "" {
		return epoch{}, b.failing(fmt.Sprintf("keeps no epoch under %q: it vanished as it was written", b.keys.epoch()))
	}
	b.epochs.see(e)
	return e, nil
}

// checkEpoch makes a transaction fail where another epoch stands than e.
func (b *Backend) checkEpoch(e epoch) *api.TxnOp {
	return b.op(api.KVCheckIndex, b.keys.epoch(), nil, e.index)
}

// refuseForeign looks whether the namespace holds what is not Prism's.
func (b *Backend) refuseForeign(ctx context.Context) error {
	names, err := b.names(ctx, b.keys.root(), "/")
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for _, name := range b.keys.known() {
		known[name] = true
	}
	foreign, ours := "", false
	for _, name := range names {
		if known[name] {
			ours = true
		} else if foreign == "" {
			foreign = name
		}
	}
	if foreign != "" && !ours {
		return core.Invalid(backendkit.OptionField(ports.OptionNamespace), b.options.Namespace,
			fmt.Sprintf("Consul's KV store holds data there that is not Prism's (%q); choose another name, or remove it", foreign))
	}
	return nil
}
