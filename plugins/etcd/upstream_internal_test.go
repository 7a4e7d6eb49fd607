package etcd

// upstream_internal_test.go: why etcd ends a watch, in the words in which it says so.

import (
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/ports"
)

func TestWhyAWatchEnds(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]struct {
		sentinel error
		words    []string
	}{
		rpctypes.ErrGRPCPermissionDenied.Error(): {ports.ErrPermission, []string{"backend_config.username", "grant its role readwrite"}},
		rpctypes.ErrGRPCUserEmpty.Error():        {ports.ErrPermission, []string{"set backend_config.username and backend_config.password"}},
		rpctypes.ErrGRPCInvalidAuthToken.Error(): {ports.ErrUnavailable, []string{"the login has ended", "backend_config.username"}},
		rpctypes.ErrGRPCAuthOldRevision.Error():  {ports.ErrUnavailable, []string{"users or roles were changed", "backend_config.username"}},
		"mvcc: something new":                    {ports.ErrUnavailable, []string{"mvcc: something new", "look at backend_config.url"}},
		"":                                       {ports.ErrUnavailable, []string{"gives no reason", "look at backend_config.url"}},
	} {
		err := refusal(&etcdserverpb.WatchResponse{Canceled: true, CancelReason: reason})
		backendtest.Said(t, err, want.sentinel, append(want.words, "etcd")...)
	}
}
