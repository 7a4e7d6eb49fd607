package consul

// compare.go: makes changes of states. Blocking queries show what stands, not what happened;
// the difference from what was sent is what a watcher has to be told.

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// sent is what a watcher was last told of one key.
type sent struct {
	index      uint64
	stands     bool // a record, by what it was told
	generation core.Generation
	session    ports.SessionID
}

// account is all that one watcher was told, by service and id. It is not safe for concurrent use.
type account map[string]map[string]sent

// compare sends what is new in the list of a service. In a snapshot, only what stands is news.
func (a account) compare(ctx context.Context, to *backendkit.Feed, l layout, service string, pairs api.KVPairs, e epoch, now uint64, snapshot bool) error {
	told := a[service]
	if told == nil {
		told = make(map[string]sent)
		a[service] = told
	}
	listed := make(map[string]bool, len(pairs))
	for _, pair := range pairs {
		k := core.Key{Service: service, ID: strings.TrimPrefix(pair.Key, l.records(service))}
		if k.Validate() != nil {
			continue // not Prism's
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		listed[k.ID] = true
		before := told[k.ID]
		if before.index == pair.ModifyIndex {
			continue
		}
		d, err := backendkit.DecodeFor(k, pair.Value)
		stamp(&d.Found, e.at(pair.ModifyIndex))
		switch {
		case err != nil:
			before.index = pair.ModifyIndex
			told[k.ID] = before
			err = to.Skipped(ctx, k, err)
		case d.Record != nil:
			told[k.ID] = sent{pair.ModifyIndex, true, d.Record.Generation, d.Record.Session}
			err = to.Put(ctx, d.Record)
		default:
			told[k.ID] = sent{index: pair.ModifyIndex}
			if !snapshot {
				err = to.Delete(ctx, d.Tombstone)
			}
		}
		if err != nil {
			return err
		}
	}
	for id, before := range told {
		if listed[id] {
			continue
		}
		delete(told, id)
		if !before.stands {
			continue // its tombstone was forgotten
		}
		if err := to.Delete(ctx, &ports.Tombstone{
			Key: core.Key{Service: service, ID: id}, Generation: before.generation, Session: before.session,
			Cause: core.CauseUnknown, Revision: e.at(max(now, before.index+1)),
		}); err != nil {
			return err
		}
	}
	if len(told) == 0 {
		delete(a, service)
	}
	return nil
}

// versions is what the first level of the watch shows.
type versions struct {
	epoch   epoch
	index   uint64            // everything up to here is in it
	buckets map[string]uint64 // when a record of the bucket was last written
	hints   map[string]string // the service of that record
}

func (b *Backend) readVersions(pairs api.KVPairs, index uint64) versions {
	v := versions{index: index, buckets: make(map[string]uint64, len(pairs)), hints: make(map[string]string, len(pairs))}
	for _, pair := range pairs {
		if pair.Key == b.keys.epoch() {
			v.epoch = readEpoch(pair)
			continue
		}
		bucket := strings.TrimPrefix(pair.Key, b.keys.versions())
		v.buckets[bucket] = pair.ModifyIndex
		var service string
		if n, err := fmt.Sscanf(string(pair.Value), `{"v":1,"service":%q`, &service); n == 1 && err == nil {
			v.hints[bucket] = service
		}
	}
	return v
}
