package consul

// tidy.go: forgets tombstones after an hour and the ids of ended sessions after a day. No
// clock of any host is asked how old they are: whoever holds seat 0 writes down the revision
// every ten minutes, and what is older than the seventh revision before is older than an hour.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// endedLife is how long the id of an ended session is refused. Ids are random and opened once,
// so only a call that was on its way as its session ended could bring one back.
const endedLife = 24 * time.Hour

// ticksJSON holds the revisions of earlier ticks, oldest first; the latest is its own.
type ticksJSON struct {
	V     int      `json:"v"`
	Ticks []uint64 `json:"ticks"`
}

// before is the revision at the latest tick that is a whole life ago, one tick added for
// sweepers that take turns; 0 when there is none.
func (t ticksJSON) before(life, tick time.Duration) uint64 {
	back := int((life+tick-1)/tick) + 1
	if len(t.Ticks) < back {
		return 0
	}
	return t.Ticks[len(t.Ticks)-back]
}

// startTidying does in the background what must not keep sessions waiting.
func (s *sweeper) startTidying(ctx context.Context) {
	s.working.Go(func() {
		bounded, cancel := context.WithTimeout(ctx, s.times.tick)
		defer cancel()
		if err := s.tidy(bounded); err != nil && ctx.Err() == nil {
			s.b.log.WarnContext(ctx, "what is over could not be forgotten; another try comes later", "error", err)
		}
	})
}

func (s *sweeper) tidy(ctx context.Context) error {
	b := s.b
	pairs, err := b.read(ctx, b.keys.ticks())
	if err != nil {
		return err
	}
	t := ticksJSON{V: 1}
	if at := pairs[0].ModifyIndex; at != 0 {
		_ = json.Unmarshal(pairs[0].Value, &t) // A damaged one begins anew.
		t.Ticks = append(t.Ticks, at)
	}
	if most := int(endedLife/s.times.tick) + 2; len(t.Ticks) > most {
		t.Ticks = t.Ticks[len(t.Ticks)-most:]
	}
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	errs, err := b.writeAll(ctx, api.TxnOps{b.op(api.KVCAS, b.keys.ticks(), value, pairs[0].ModifyIndex)})
	if err != nil || len(errs) > 0 {
		return err // Somebody else ticks.
	}
	if err := b.forgetEnded(ctx, t.before(endedLife, s.times.tick)); err != nil {
		return err
	}
	return b.tidyRecords(ctx, t.before(ports.TombstoneLife, s.times.tick))
}

// forgetEnded removes the marks of sessions that ended up to a revision.
func (b *Backend) forgetEnded(ctx context.Context, upTo uint64) error {
	if upTo == 0 {
		return nil
	}
	pairs, err := b.list(ctx, b.keys.endedPrefix())
	if err != nil {
		return err
	}
	return b.removeOld(ctx, pairs, upTo)
}

// removeOld deletes what has not moved since it was listed and is not newer than a revision, each
// with other keys that go with it.
func (b *Backend) removeOld(ctx context.Context, pairs api.KVPairs, upTo uint64, with ...func(key string) string) error {
	pairs = slices.DeleteFunc(pairs, func(p *api.KVPair) bool { return p.ModifyIndex > upTo })
	for part := range slices.Chunk(pairs, maxOps/(1+len(with))) {
		var ops api.TxnOps
		for _, pair := range part {
			ops = append(ops, b.op(api.KVDeleteCAS, pair.Key, nil, pair.ModifyIndex))
			for _, other := range with {
				ops = append(ops, b.op(api.KVDelete, other(pair.Key), nil, 0))
			}
		}
		// Where one has moved, none is deleted: the next tick sees to the others.
		if _, err := b.writeAll(ctx, ops); err != nil {
			return err
		}
	}
	return nil
}

// tidyRecords forgets tombstones up to a revision, tells watchers of records that somebody
// removed by hand, and puts right what the catalog shows. What this process may not show or hide is
// passed over, and the last of it is the error.
func (b *Backend) tidyRecords(ctx context.Context, upTo uint64) error {
	moved, err := b.list(ctx, b.keys.allMoves()) // before the records, so that none of them is newer
	if err != nil {
		return err
	}
	services, err := b.services(ctx)
	if err != nil {
		return err
	}
	shown, err := b.shownServices(ctx)
	if err != nil {
		return err
	}
	stands := make(map[core.Key]bool)
	var refused error
	for _, service := range services {
		pairs, err := b.list(ctx, b.keys.records(service))
		if err != nil {
			return err
		}
		var old api.KVPairs
		for _, pair := range pairs {
			k := core.Key{Service: service, ID: strings.TrimPrefix(pair.Key, b.keys.records(service))}
			stands[k] = true
			d, err := backendkit.DecodeFor(k, pair.Value)
			switch {
			case err != nil:
			case d.Tombstone != nil:
				old = append(old, pair)
			default:
				switch err := b.showAgain(ctx, d.Record, pair.ModifyIndex, shown); {
				case errors.Is(err, ports.ErrPermission):
					refused = err
				case err != nil:
					return err
				}
			}
		}
		move := func(key string) string {
			return b.keys.move(core.Key{Service: service, ID: strings.TrimPrefix(key, b.keys.records(service))})
		}
		if err := b.removeOld(ctx, old, upTo, move); err != nil {
			return err
		}
	}
	for _, pair := range moved {
		_, name, _ := strings.Cut(strings.TrimPrefix(pair.Key, b.keys.allMoves()), "/")
		if k, ok := keyOf(name); ok && !stands[k] {
			if err := b.removeMove(ctx, k, pair); err != nil {
				return err
			}
		}
	}
	return cmp.Or(b.hideStrays(ctx, shown), refused)
}

// removeMove takes a record that is not there out of its bucket, which watchers see.
func (b *Backend) removeMove(ctx context.Context, k core.Key, move *api.KVPair) error {
	write := newID()
	_, err := b.writeAll(ctx, api.TxnOps{
		b.op(api.KVCheckNotExists, b.keys.record(k), nil, 0),
		b.op(api.KVDeleteCAS, move.Key, nil, move.ModifyIndex),
		b.op(api.KVSet, b.keys.version(bucketOf(k)), []byte(write), 0),
		b.op(api.KVSet, b.keys.latest(), latestJSON{Write: write}.encode(), 0),
	})
	return err // Conditions that do not hold show that it is there again.
}

// shownServices lists what the catalog has on our nodes, by id; nil when nothing is mirrored.
// Those that are found to stand are removed from it, so that strays are left.
func (b *Backend) shownServices(ctx context.Context) (map[string]*api.AgentService, error) {
	if !*b.options.Mirror {
		return nil, nil //nolint:nilnil // A nil map is an answer.
	}
	shown := make(map[string]*api.AgentService)
	for n := range uint32(nodeCount) {
		node, _, err := b.client.Catalog().NodeServiceList(b.mirror.nth(n), b.consistent(ctx))
		if err != nil {
			return nil, b.failure(ctx, err)
		}
		if node == nil {
			continue
		}
		for _, service := range node.Services {
			shown[service.ID] = service
		}
	}
	return shown, nil
}

// showAgain puts a record into the catalog that is not there, if it has not moved meanwhile.
func (b *Backend) showAgain(ctx context.Context, r *ports.Record, index uint64, shown map[string]*api.AgentService) error {
	if shown == nil {
		return nil
	}
	id := b.mirror.serviceID(r.Key)
	if _, there := shown[id]; there {
		delete(shown, id)
		return nil
	}
	ops := b.mirror.ops(r.Key, nil, r, false)
	if len(ops) == 0 {
		return nil
	}
	_, err := b.writeAll(ctx, append(api.TxnOps{b.op(api.KVCheckIndex, b.keys.record(r.Key), nil, index), b.mirror.nodeSet(b.mirror.node(r.Key))}, ops...))
	return err
}

// hideStrays takes out of the catalog what has no record.
func (b *Backend) hideStrays(ctx context.Context, shown map[string]*api.AgentService) (refused error) {
	for id := range shown {
		service, instance, ok := strings.Cut(strings.TrimPrefix(id, "prism:"), ":")
		k := core.Key{Service: service, ID: instance}
		if !ok || k.Validate() != nil {
			continue // not ours, whoever put it on our node
		}
		loaded, err := table{b}.Load(ctx, []backendkit.Wanted{{Key: k}})
		if err != nil {
			return err
		}
		if loaded[0].Record != nil || loaded[0].Err != nil {
			continue
		}
		still := b.op(api.KVCheckIndex, b.keys.record(k), nil, loaded[0].Version)
		if loaded[0].Version == 0 {
			still = b.op(api.KVCheckNotExists, b.keys.record(k), nil, 0)
		}
		switch _, err := b.writeAll(ctx, api.TxnOps{still, b.mirror.remove(k)}); {
		case errors.Is(err, ports.ErrPermission):
			refused = err
		case err != nil:
			return err
		}
	}
	return refused
}
