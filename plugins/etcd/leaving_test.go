package etcd_test

// leaving_test.go: a server that is asked to end, and takes its time.

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/etcd"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// TestSessionsOfAServerThatIsLeavingAreRenewed is about a server that is asked to end: for
// seconds it refuses new connections and streams, answers on those that are there, and ends
// sessions that are not renewed.
func TestSessionsOfAServerThatIsLeavingAreRenewed(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{})
	b := open(t, store, etcd.Options{})
	backendtest.Until(t, backendtest.Follow(t, b, core.Revision{}), backendtest.Is(ports.WatchSynced)) // it keeps the server from ending at once
	backendtest.Session(t, b, "new", 5*time.Second)
	ended := make(chan error, 1)
	go func() { ended <- store.Stop(context.WithoutCancel(t.Context())) }()
	require.Eventually(t, func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", store.Addresses()[0])
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 10*time.Second, 10*time.Millisecond, "the server takes connections")

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	results, err := b.RenewSessions(ctx, []ports.SessionID{"new"})
	require.NoError(t, err)
	require.False(t, results[0].Gone)
	require.NoError(t, <-ended)
}
