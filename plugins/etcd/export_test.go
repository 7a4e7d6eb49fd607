package etcd

// export_test.go: what the tests from outside need of the inside.

import (
	"context"
	"time"
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
