package consul

// setback.go: how a watch notices that Consul was set back to a backup. Its indexes run backwards
// then, but only until somebody writes.

import (
	"context"
	"errors"
)

// errSetBack says that what stands is of an earlier time than what was told.
var errSetBack = errors.New("the store was set back")

// follows tells whether a state comes after what was seen. That a backup was restored may show only
// once others have written to it, as indexes go on above those that were lost: then what they have
// not written stands at a lower one than before.
func (w *watch) follows(now state) bool {
	if now.index < w.at.index {
		return false
	}
	for _, seen := range []map[string]uint64{w.at.buckets, w.shown} {
		for bucket, index := range seen {
			if now.buckets[bucket] < index {
				return false
			}
		}
	}
	return true
}

// anew begins an epoch after the one that was set back, unless somebody else was faster. A snapshot
// starts from what stands then.
func (w *watch) anew(ctx context.Context, old epoch) (err error) {
	if _, err = w.b.newEpoch(ctx, old.index); err != nil {
		return err
	}
	now, err := w.b.standing(ctx)
	if err == nil {
		w.at = now
	}
	return err
}

// stillStands fails with errSetBack where a record of some buckets stands at a lower index than it was
// told of at. That its move alone does is no proof: people who edit a record leave that as it is.
func (w *watch) stillStands(ctx context.Context, now state, buckets []string) error {
	var keys []string
	var told []uint64
	for _, bucket := range buckets {
		for k, sent := range w.sent[bucket] {
			// What was read after this state may be newer than its moves.
			if index, listed := now.moves[bucket][k]; listed && index < sent.index && sent.index <= now.index {
				keys, told = append(keys, w.b.keys.record(k)), append(told, sent.index)
			}
		}
	}
	pairs, err := w.b.read(ctx, keys...)
	if err != nil {
		return err
	}
	for i, pair := range pairs {
		if pair.ModifyIndex != 0 && pair.ModifyIndex < told[i] {
			return errSetBack
		}
	}
	return nil
}
