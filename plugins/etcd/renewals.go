package etcd

// renewals.go: leases are kept alive on one lasting stream. A stream for each renewal, as the
// client's KeepAliveOnce makes it, logs in each time, which costs a server with authentication
// a password hash.

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/marketprism/prism/ports"
)

// renewals are made one call at a time. etcd answers on a stream in the order of the requests.
type renewals struct {
	remote  etcdserverpb.LeaseClient
	closing <-chan struct{} // of the backend
	turn    chan struct{}   // capacity 1; who has put into it owns what is below

	stream etcdserverpb.Lease_LeaseKeepAliveClient // nil when there is none
	cancel context.CancelFunc
}

func newRenewals(client *clientv3.Client, closing <-chan struct{}) *renewals {
	return &renewals{remote: etcdserverpb.NewLeaseClient(client.ActiveConnection()), closing: closing, turn: make(chan struct{}, 1)}
}

// renew starts the TTL of leases anew and returns what is granted, in their order: 0 for one that
// is gone. A stream that broke is made anew until the context ends.
func (r *renewals) renew(ctx context.Context, leases []clientv3.LeaseID) ([]time.Duration, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, fail(ctx.Err())
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		granted, err := r.try(attempt, leases)
		cancel()
		if err == nil {
			return granted, nil
		}
		r.drop()
		if ctx.Err() != nil {
			return nil, fail(ctx.Err())
		}
		if err = fail(err); !retriable(err) {
			return nil, err
		}
		timer := time.NewTimer(retryPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		case <-r.closing:
			timer.Stop()
			return nil, err
		}
	}
}

func (r *renewals) try(ctx context.Context, leases []clientv3.LeaseID) ([]time.Duration, error) {
	if r.stream == nil {
		// The stream outlives the call that opens it.
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		release := context.AfterFunc(ctx, cancel)
		stream, err := r.remote.LeaseKeepAlive(life, grpc.WaitForReady(true))
		if err != nil {
			cancel()
			return nil, err
		}
		release()
		r.stream, r.cancel = stream, cancel
	}
	defer context.AfterFunc(ctx, r.cancel)() // a blocked Recv ends with the call's context
	for _, lease := range leases {
		if err := r.stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(lease)}); err != nil {
			_, err = r.stream.Recv() // why the stream ended
			return nil, err
		}
	}
	granted := make([]time.Duration, len(leases))
	for i, lease := range leases {
		resp, err := r.stream.Recv()
		if err != nil {
			return nil, err
		}
		if resp.ID != int64(lease) {
			return nil, fmt.Errorf("etcd answered for lease %x instead of %x: %w", resp.ID, lease, ports.ErrUnavailable)
		}
		granted[i] = time.Duration(max(resp.TTL, 0)) * time.Second
	}
	return granted, nil
}

// drop ends the stream.
func (r *renewals) drop() {
	if r.stream != nil {
		r.cancel()
		r.stream, r.cancel = nil, nil
	}
}

// close is called once the client has ended, which makes a call that is running return.
func (r *renewals) close() {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	r.drop()
}
