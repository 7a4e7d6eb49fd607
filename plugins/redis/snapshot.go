package redis

// snapshot.go: every record at one revision. Few come from one script. Many are read page by
// page while others write, and what the log says of that time is put on top.

import "context"

const (
	// fewRecords is how many one script may return without holding up others.
	fewRecords = 512
	// scanPage is how many records are asked for at once.
	scanPage = 256
	// maxScans is how often pages are tried, while the log is trimmed faster than they are read,
	// before everything is asked for at once.
	maxScans = 3
)

// snapshot sends a Reset, the records and a Synced. Afterwards w is at the revision of the
// snapshot. Nothing is sent before all is known.
func (w *watch) snapshot(ctx context.Context, reason string) error {
	all, err := w.backend.everything(ctx, w.services)
	if err != nil {
		return err
	}
	if err := w.feed.Reset(ctx, reason); err != nil {
		return err
	}
	for _, c := range all.changes {
		if !w.wants(c.key.Service) {
			continue
		}
		if err := w.hand(ctx, all.life, c); err != nil {
			return err
		}
	}
	w.life, w.sent, w.synced = all.life, all.revision, true
	return w.feed.Synced(ctx, w.life.revision(w.sent))
}

// collection is every record, by field, at one revision.
type collection struct {
	life     *life
	revision uint64
	changes  map[string]change
}

func (c *collection) add(fields []string) {
	for i := 0; i+1 < len(fields); i += 2 {
		c.changes[fields[i]] = parseChange(0, map[string]any{"key": fields[i], "record": fields[i+1]})
	}
}

// everything collects the records.
func (b *Backend) everything(ctx context.Context, services []string) (*collection, error) {
	for try := 0; ; try++ {
		few := fewRecords
		if try >= maxScans {
			few = 1 << 30
		}
		r, err := b.run(ctx, snapshotScript, few)
		if err != nil {
			return nil, err
		}
		c := &collection{life: r.life, revision: r.revision, changes: make(map[string]change)}
		if len(r.items) > 0 {
			list, err := r.list(0, -1)
			if err != nil {
				return nil, err
			}
			fields := make([]string, len(list))
			for i := range list {
				fields[i] = asText(list[i])
			}
			c.add(fields)
			return c, nil
		}
		complete, err := b.scan(ctx, c, services)
		if err != nil {
			return nil, err
		}
		if complete {
			return c, nil
		}
	}
}

// scan reads the records page by page, and then the log from where it began. False says that
// the log does not lead from there to the end.
func (b *Backend) scan(ctx context.Context, c *collection, services []string) (complete bool, err error) {
	match := "*"
	if len(services) == 1 {
		match = services[0] + "/*" // names have no characters that mean something here
	}
	for cursor := uint64(0); ; {
		err := b.scanPage(ctx, cursor, match, func(page []string, next uint64) {
			c.add(page)
			cursor = next
		})
		if err != nil {
			return false, err
		}
		if cursor == 0 {
			break
		}
	}
	end, err := b.run(ctx, positionScript)
	if err != nil {
		return false, err
	}
	// The life must be the same, not only the epoch: a server that took over in the middle may
	// have served pages before it was noticed.
	if end.life != c.life {
		return false, nil
	}
	for c.revision < end.revision {
		changes, err := b.rangeLog(ctx, c.life, c.revision)
		if err != nil {
			return false, err
		}
		if len(changes) == 0 || changes[0].revision != c.revision+1 {
			return false, nil
		}
		for _, ch := range changes {
			if ch.revision != c.revision+1 {
				return false, nil
			}
			c.revision = ch.revision
			if name := field(ch.key); ch.removed {
				delete(c.changes, name)
			} else {
				c.changes[name] = ch
			}
		}
	}
	return true, nil
}

// scanPage reads one page of the records, and hands it over with where the next one begins.
func (b *Backend) scanPage(ctx context.Context, cursor uint64, match string, take func(page []string, next uint64)) error {
	var page []string
	err := b.await(ctx, func(ctx context.Context) error {
		client, err := b.store.primary(ctx)
		if err != nil {
			return err
		}
		page, cursor, err = client.HScan(ctx, b.keys.records(), cursor, match, scanPage).Result()
		return err
	})
	if err != nil {
		return fail(err)
	}
	take(page, cursor)
	return nil
}
