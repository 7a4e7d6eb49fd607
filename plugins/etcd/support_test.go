package etcd_test

// support_test.go: records, sessions and streams in few words.

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/plugins/etcd"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

const namespace = "prism"

// open opens a backend for the time of a test. Where the options name no endpoint, it is the store.
func open(t *testing.T, store *stores.Cluster, o etcd.Options) *etcd.Backend {
	t.Helper()
	o.URLs = store.URLs()
	b, err := etcd.OpenWithoutAudits(backendtest.Within(t), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// raw is a client of the store itself, for a server without TLS. name is "" where it asks for no user.
func raw(t *testing.T, store *stores.Cluster, name, password string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: store.URLs(), Username: name, Password: password, Logger: zap.NewNop(), DialTimeout: backendtest.Patience})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() }) // it says that its context was cancelled
	return client
}

// runOut ends a session now as etcd does when its TTL is over: by revoking the lease.
func runOut(t *testing.T, client *clientv3.Client, id ports.SessionID) {
	t.Helper()
	resp, err := client.Get(backendtest.Within(t), namespace+"/sessions/"+string(id))
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
	_, err = client.Revoke(backendtest.Within(t), clientv3.LeaseID(resp.Kvs[0].Lease))
	require.NoError(t, err)
}
