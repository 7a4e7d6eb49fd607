package consul

// compare.go: makes changes of states. Blocking queries show what stands, not what happened;
// the difference from what was sent is what a watcher has to be told.

import (
	"context"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// sent is what a watcher was last told of one key.
type sent struct {
	index      uint64
	stands     bool // a record, by what it was told
	skipped    bool // and since then, that it cannot be read
	generation core.Generation
	session    ports.SessionID
}

// account is all that one watcher was told, by bucket. It is not safe for concurrent use.
type account map[string]map[core.Key]sent

func (a account) of(k core.Key) sent { return a[bucketOf(k)][k] }

func (a account) stands(k core.Key) bool { return a.of(k).stands }

func (a account) set(k core.Key, s sent) {
	bucket := bucketOf(k)
	if a[bucket] == nil {
		a[bucket] = make(map[core.Key]sent)
	}
	a[bucket][k] = s
}

func (a account) drop(k core.Key) {
	bucket := bucketOf(k)
	if delete(a[bucket], k); len(a[bucket]) == 0 {
		delete(a, bucket)
	}
}

// tell sends what stands at a key where that is new. In a snapshot, only a record is news.
func (a account) tell(ctx context.Context, to *backendkit.Feed, k core.Key, pair *api.KVPair, e epoch, snapshot bool) error {
	before := a.of(k)
	if before.index == pair.ModifyIndex {
		return nil
	}
	d, err := backendkit.DecodeFor(k, pair.Value)
	stamp(&d.Found, e.at(pair.ModifyIndex))
	switch {
	case err != nil:
		before.index, before.skipped = pair.ModifyIndex, true
		a.set(k, before)
		return to.Skipped(ctx, k, err)
	case d.Record != nil:
		a.set(k, sent{index: pair.ModifyIndex, stands: true, generation: d.Record.Generation, session: d.Record.Session})
		return to.Put(ctx, d.Record)
	}
	a.set(k, sent{index: pair.ModifyIndex})
	if snapshot {
		return nil
	}
	return to.Delete(ctx, d.Tombstone)
}

// gone forgets a key where nothing stands any more, as of an index, and sends that where it was told
// of a record, or of what could not be read. A tombstone that was forgotten is no news.
func (a account) gone(ctx context.Context, to *backendkit.Feed, k core.Key, e epoch, now uint64) error {
	before := a.of(k)
	a.drop(k)
	if !before.stands && !before.skipped {
		return nil
	}
	return to.Delete(ctx, &ports.Tombstone{
		Key: k, Generation: before.generation, Session: before.session,
		Cause: core.CauseUnknown, Revision: e.at(max(now, before.index+1)),
	})
}
