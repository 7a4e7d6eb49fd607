package etcd

// export_test.go: what the tests from outside need of the inside.

import (
	"context"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

// OpenWithoutAudits opens a backend that looks for orphans only when it is told to.
func OpenWithoutAudits(ctx context.Context, o Options) (*Backend, error) {
	return open(ctx, o, 1000*time.Hour)
}

// Audit looks for orphans, whoever's turn it is.
func (b *Backend) Audit(ctx context.Context) error { return b.audit(ctx) }

// Elected reports whether it is this process's turn, which it takes.
func (b *Backend) Elected(ctx context.Context, every time.Duration) (bool, error) {
	return b.elected(ctx, every)
}

// CommitAfter carries out a Put that creates, with something happening between its two steps.
func (b *Backend) CommitAfter(ctx context.Context, rec ports.Record, between func()) error {
	t := table{b}
	loaded, err := t.Load(ctx, []backendkit.Wanted{{Key: rec.Key, Session: rec.Session}})
	if err != nil {
		return err
	}
	d := backendkit.Decide(ports.Mutation{Put: &ports.Put{Record: rec}}, loaded[0].Found, loaded[0].SessionOpen)
	if d.Answer != nil {
		return d.Answer.Err
	}
	between()
	change := backendkit.Change{Key: rec.Key, Was: loaded[0], Session: rec.Session}
	change.Record = d.Put
	return t.Commit(ctx, []backendkit.Change{change})[0].Err
}

// Watched is what comes of a watch of a range that etcd refuses.
func (b *Backend) Watched(ctx context.Context, from, to string) error {
	up, err := b.connect(ctx, span{from, to}, 0)
	if err != nil {
		return err
	}
	defer up.close()
	resp, ok := <-up.got
	if !ok {
		return up.err
	}
	_, err = (&watch{}).take(ctx, resp)
	return err
}
