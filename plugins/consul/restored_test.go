package consul_test

// restored_test.go: a Consul that is set back to a backup under living processes.

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/consul"
	"github.com/marketprism/prism/ports"
)

// backup saves what stands now, and returns what brings it back.
func backup(t *testing.T, c *api.Client) (restore func()) {
	t.Helper()
	saved, _, err := c.Snapshot().Save(nil)
	require.NoError(t, err)
	content, err := io.ReadAll(saved)
	require.NoError(t, err)
	require.NoError(t, saved.Close())
	return func() { require.NoError(t, c.Snapshot().Restore(nil, strings.NewReader(string(content)))) }
}

// Consul that is set back to a backup shows an epoch of its own.
func TestARestoredBackupIsANewEpoch(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	session(t, b, "s-1", time.Hour)
	kept := apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "kept", "s-1")}})
	restore := backup(t, c)
	lost := apply(t, b, ports.Mutation{Put: &ports.Put{Record: newRecord("api", "lost", "s-1")}})

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w, err := b.Watch(ctx, ports.WatchRequest{Follow: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSynced })
	restore()
	reset := next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchReset })
	assert.Contains(t, reset.Reason, "set back")
	put := next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchPut })
	assert.Equal(t, kept.Key, put.Record.Key)
	assert.NotEqual(t, kept.Revision.Epoch, put.Record.Revision.Epoch)
	synced := next(ctx, t, w, func(ev ports.WatchEvent) bool { return ev.Kind == ports.WatchSynced })
	assert.NotEqual(t, lost.Revision.Epoch, synced.Cursor.Epoch)
	found, err := b.Get(t.Context(), []core.Key{lost.Key})
	require.NoError(t, err)
	assert.Nil(t, found[0].Record)
}

// Sessions that the backup has are renewed at once, whatever they were renewed to since.
func TestSessionsOfABackupAreRenewed(t *testing.T) {
	t.Parallel()
	store, c := server(t)
	b := opened(t, consul.Options{URL: store.URL()})
	ids := []ports.SessionID{"s-1", "s-2"}
	for _, id := range ids {
		session(t, b, id, time.Hour)
	}
	restore := backup(t, c)
	session(t, b, "lost", time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := b.RenewSessions(ctx, ids)
	require.NoError(t, err)
	restore()
	for range 2 {
		renewed, err := b.RenewSessions(ctx, append(ids, "lost"))
		require.NoError(t, err)
		for i, id := range ids {
			assert.Equal(t, ports.RenewResult{ID: id, TTL: time.Hour}, renewed[i])
		}
		assert.True(t, renewed[2].Gone)
	}
}
