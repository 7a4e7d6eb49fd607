package etcd

// upstream.go: one watch of etcd on a stream of its own. The client's own Watcher reconnects in
// silence, so a store that was wiped meanwhile would go unnoticed, and reads ahead without a
// bound; here a break shows, and a reader that is slow holds the stream back: etcd then keeps
// no more for it than a place in its history.

import (
	"context"
	"math"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// upstream is used by one goroutine.
type upstream struct {
	stream etcdserverpb.Watch_WatchClient
	got    chan *etcdserverpb.WatchResponse // closed when the stream has ended, for the reason in err
	err    error

	cancel    context.CancelFunc
	receiving sync.WaitGroup
}

// connect opens a watch of a range from a revision on. The context is that of the stream.
func (b *Backend) connect(ctx context.Context, s span, from int64) (*upstream, error) {
	// A member that has lost the others ends the stream rather than being silent.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	stream, err := etcdserverpb.NewWatchClient(b.client.ActiveConnection()).Watch(ctx, grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err == nil {
		err = stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: &etcdserverpb.WatchCreateRequest{
			Key: []byte(s.from), RangeEnd: []byte(s.to), StartRevision: from, PrevKv: true, Fragment: true,
		}}})
	}
	if err != nil {
		cancel()
		return nil, fail(err)
	}
	u := &upstream{stream: stream, got: make(chan *etcdserverpb.WatchResponse), cancel: cancel}
	u.receiving.Go(func() {
		defer close(u.got)
		u.err = u.receive(ctx)
	})
	return u, nil
}

// receive hands over whole responses, the fragments of one joined.
func (u *upstream) receive(ctx context.Context) error {
	var whole *etcdserverpb.WatchResponse
	for {
		resp, err := u.stream.Recv()
		if err != nil {
			return fail(err)
		}
		switch {
		case whole != nil && len(resp.Events) > 0:
			whole.Events = append(whole.Events, resp.Events...)
		default:
			whole = resp
		}
		if resp.Fragment {
			continue
		}
		select {
		case u.got <- whole:
			whole = nil
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
}

// requestProgress asks for a response without events, whose revision is one up to which
// everything was sent. It comes when the watch has caught up, and may not come at all.
func (u *upstream) requestProgress() error {
	if err := u.stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_ProgressRequest{ProgressRequest: &etcdserverpb.WatchProgressRequest{}}}); err != nil {
		return fail(err)
	}
	return nil
}

func (u *upstream) close() {
	u.cancel()
	u.receiving.Wait()
}

// refusal is why etcd ended a watch other than for its history. It says so in gRPC's words.
func refusal(resp *etcdserverpb.WatchResponse) error {
	why := resp.CancelReason
	if _, said, ok := strings.Cut(why, " desc = "); ok {
		why = said
	}
	if why == "" {
		why = "it ended a watch and gives no reason"
	}
	return fail(status.Error(codes.Unknown, why))
}
