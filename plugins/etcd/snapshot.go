package etcd

// snapshot.go: every record at one revision, page by page.

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
)

// snapshotPage is how many records are read at once: about 0.3 MB of common ones, 25 MB of the
// largest.
const snapshotPage = 256

// snapshot sends a Reset, the records and a Synced. Afterwards w is at the revision of the
// snapshot. Where etcd compacts its history meanwhile, the snapshot begins anew.
func (w *watch) snapshot(ctx context.Context, reason string) error {
	for {
		err := w.trySnapshot(ctx, reason)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
		reason = "the history was compacted while the snapshot was read"
	}
}

func (w *watch) trySnapshot(ctx context.Context, reason string) error {
	if err := w.feed.Reset(ctx, reason); err != nil {
		return err
	}
	spans := []span{w.backend.keys.all()}
	if len(w.services) > 0 {
		spans = spans[:0]
		for _, service := range w.services {
			spans = append(spans, w.backend.keys.of(service))
		}
	}
	a, err := w.backend.read(ctx, spans[0].get(clientv3.WithLimit(snapshotPage)))
	if err != nil {
		return err
	}
	w.life = a.life
	page := a.results[0]
	for i, s := range spans {
		if i > 0 {
			if page, err = w.page(ctx, s, a.revision); err != nil {
				return err
			}
		}
		for {
			if err := w.sendPage(ctx, page.Kvs); err != nil {
				return err
			}
			if !page.More {
				break
			}
			s.from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
			if page, err = w.page(ctx, s, a.revision); err != nil {
				return err
			}
		}
	}
	w.sent, w.synced = a.revision, true
	return w.feed.Synced(ctx, w.life.revision(w.sent))
}

func (w *watch) page(ctx context.Context, s span, revision int64) (*clientv3.GetResponse, error) {
	resp, err := w.backend.client.Do(ctx, s.get(clientv3.WithLimit(snapshotPage), clientv3.WithRev(revision)))
	if err == nil {
		return resp.Get(), nil
	}
	if err = rpctypes.Error(err); errors.Is(err, rpctypes.ErrCompacted) {
		return nil, err
	}
	return nil, fail(err)
}

func (w *watch) sendPage(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	for _, kv := range kvs {
		key, doc, err := w.decode(kv)
		switch {
		case err != nil:
			err = w.feed.Skipped(ctx, key, err)
		case doc.Record != nil:
			err = w.feed.Put(ctx, doc.Record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decode reads a document with its revision. The error says why it cannot be read.
func (w *watch) decode(kv *mvccpb.KeyValue) (core.Key, backendkit.Document, error) {
	key, ok := w.backend.keys.key(string(kv.Key))
	if !ok {
		return core.Key{}, backendkit.Document{}, core.Invalid("key", string(kv.Key), "it is none of a record")
	}
	doc, err := backendkit.DecodeFor(key, kv.Value)
	if err != nil {
		return key, backendkit.Document{}, err
	}
	revision := w.life.revision(kv.ModRevision)
	switch {
	case doc.Record != nil:
		doc.Record.Revision = revision
	case doc.Tombstone != nil:
		doc.Tombstone.Revision = revision
	}
	return key, doc, nil
}
