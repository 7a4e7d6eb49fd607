package etcd

// fading.go: leases for what shall be forgotten after a while. One lease takes everything of a
// whole life, so their number does not grow with what is forgotten.

import (
	"context"
	"time"

	"go.etcd.io/etcd/client/v3"
)

// fading is safe for concurrent use.
type fading struct {
	client *clientv3.Client
	life   time.Duration
	turn   chan struct{} // capacity 1; who has put into it owns what is below

	lease   clientv3.LeaseID // 0: none
	granted time.Time        // before the request for it
}

func newFading(client *clientv3.Client, life time.Duration) *fading {
	return &fading{client: client, life: life, turn: make(chan struct{}, 1)}
}

// get returns a lease that lives as long as what is attached to it now must, or longer.
func (f *fading) get(ctx context.Context) (clientv3.LeaseID, error) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return 0, fail(ctx.Err())
	}
	if f.lease != 0 && time.Since(f.granted) < f.life {
		return f.lease, nil
	}
	before := time.Now()
	resp, err := f.client.Grant(ctx, seconds(2*f.life))
	if err != nil {
		return 0, fail(err)
	}
	f.lease, f.granted = resp.ID, before
	return f.lease, nil
}

// lost forgets a lease that the store does not know any more.
func (f *fading) lost(ctx context.Context, lease clientv3.LeaseID) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return
	}
	if f.lease == lease {
		f.lease = 0
	}
}
