package consul

// state.go: what has moved, as one transaction shows it. Three levels, so that a change costs a
// watcher the same however many records there are: one key that names the records written last, and
// shows them where they are small; a version for each bucket, which shows whether others were written too; and in a bucket a
// key for each record, which shows which.

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/core"
)

const (
	// maxNamed is how many records of one transaction the latest write names.
	maxNamed = 8
	// maxShown is how many bytes of their documents it holds: each bookmark of each watch brings
	// them again.
	maxShown = 2 << 10
)

// latestJSON is the value of the key that watchers block on. It cannot say what was written
// before, as nobody who writes it reads it.
type latestJSON struct {
	V     int      `json:"v"`
	Write string   `json:"write"` // random: a value that was there before moves no index
	Epoch string   `json:"epoch,omitempty"`
	Keys  []string `json:"keys"` // the first records of the transaction
	// Documents are what stands at the first keys since then, as far as they are small. As text, as
	// JSON within JSON would not come back byte for byte.
	Documents []string `json:"documents,omitempty"`
}

// note adds a record.
func (j *latestJSON) note(k core.Key, document []byte) {
	if len(j.Keys) == maxNamed {
		return
	}
	size := len(document)
	for _, d := range j.Documents {
		size += len(d)
	}
	if len(j.Documents) == len(j.Keys) && size <= maxShown {
		j.Documents = append(j.Documents, string(document))
	}
	j.Keys = append(j.Keys, k.String())
}

func (j latestJSON) encode() []byte {
	j.V = 1
	out, _ := json.Marshal(j) // Plain values always marshal.
	return out
}

// written is a record that the latest write names.
type written struct {
	key      core.Key
	document string // "" where it is not shown
}

// readLatest gives the records that the latest write names, and the epoch that it is of; none
// where it cannot be read.
func readLatest(value []byte) (epoch string, of []written) {
	var j latestJSON
	if json.Unmarshal(value, &j) != nil {
		return "", nil
	}
	for i, name := range j.Keys[:min(len(j.Keys), maxNamed)] {
		k, ok := keyOf(name)
		if !ok {
			continue
		}
		w := written{key: k}
		if i < len(j.Documents) {
			w.document = j.Documents[i]
		}
		of = append(of, w)
	}
	return j.Epoch, of
}

// state is what stands at one time.
type state struct {
	epoch   epoch
	index   uint64            // of the latest write of a record
	buckets map[string]uint64 // when a record of each was last written
	moves   map[string]moves  // of the buckets that were asked for
	records map[core.Key]*api.KVPair
}

// moves says when each record of a bucket was last written.
type moves map[core.Key]uint64

// state reads the versions, some buckets, and some records with their buckets.
func (b *Backend) state(q *api.QueryOptions, keys []core.Key, whole []string) (state, error) {
	ops := api.TxnOps{b.op(api.KVGetOrEmpty, b.keys.latest(), nil, 0), b.op(api.KVGetTree, b.keys.versions(), nil, 0)}
	s := state{buckets: make(map[string]uint64, buckets), moves: make(map[string]moves), records: make(map[core.Key]*api.KVPair, len(keys))}
	for _, k := range keys {
		ops = append(ops, b.op(api.KVGetOrEmpty, b.keys.record(k), nil, 0))
		whole = append(whole, bucketOf(k))
	}
	for _, bucket := range whole {
		if s.moves[bucket] == nil {
			s.moves[bucket] = make(moves)
			ops = append(ops, b.op(api.KVGetTree, b.keys.moves(bucket), nil, 0))
		}
	}
	pairs, err := b.look(q, ops)
	if err != nil {
		return state{}, err
	}
	if len(pairs) == 0 || pairs[0].Key != b.keys.latest() {
		return state{}, b.hidden()
	}
	s.index = pairs[0].ModifyIndex
	for _, pair := range pairs[1:] {
		if pair.Key == b.keys.epoch() {
			s.epoch = readEpoch(pair)
		} else if bucket, ok := strings.CutPrefix(pair.Key, b.keys.versions()); ok {
			s.buckets[bucket] = pair.ModifyIndex
		} else if rest, ok := strings.CutPrefix(pair.Key, b.keys.allMoves()); ok {
			bucket, name, _ := strings.Cut(rest, "/")
			if k, ok := keyOf(name); ok && s.moves[bucket] != nil {
				s.moves[bucket][k] = pair.ModifyIndex
			}
		} else if k, ok := keyOf(strings.TrimPrefix(pair.Key, b.keys.allRecords())); ok {
			s.records[k] = pair
		}
	}
	return s, nil
}

// stateFrom is state for somebody who knows of a write: only where the answer does not have it yet,
// the leader has to prove itself.
func (b *Backend) stateFrom(ctx context.Context, index uint64, keys []core.Key, whole []string) (state, error) {
	s, err := b.state((&api.QueryOptions{}).WithContext(ctx), keys, whole)
	if err == nil && (s.index < index || s.epoch.id == "") {
		s, err = b.state(b.consistent(ctx), keys, whole)
	}
	return s, err
}

// standing is the state, in an epoch: one is made where there is none, or where what watchers
// block on was removed.
func (b *Backend) standing(ctx context.Context) (state, error) {
	for {
		s, err := b.state(b.consistent(ctx), nil, nil)
		if err != nil {
			return state{}, err
		}
		if s.epoch.id != "" && s.index != 0 {
			b.epochs.see(s.epoch)
			return s, nil
		}
		if _, err := b.newEpoch(ctx, s.epoch.index); err != nil {
			return state{}, err
		}
	}
}

// writtenSince lists the records that were written after they were told, in the order in which
// that was.
func (m moves) writtenSince(a account) []core.Key {
	var written []core.Key
	for k, index := range m {
		if index > a.of(k).index {
			written = append(written, k)
		}
	}
	slices.SortFunc(written, func(x, y core.Key) int {
		return cmp.Or(cmp.Compare(m[x], m[y]), cmp.Compare(x.Service, y.Service), cmp.Compare(x.ID, y.ID))
	})
	return written
}
