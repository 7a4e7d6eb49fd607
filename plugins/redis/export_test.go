package redis

// export_test.go: what tests of the package from outside need from its inside.

import "context"

// Position asks how far the store is, as the process does now and then.
func (b *Backend) Position(ctx context.Context) (uint64, error) {
	r, err := b.run(ctx, positionScript)
	return r.revision, err
}
