package redis_test

// nowrites_test.go: a server that answers and takes no writes. What it has can be read, and
// nothing is said to have ended that could only not be written.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/redis"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// snapshotsFail makes the server's last snapshot one that failed, as on a full disk, of which it
// takes no notice yet: a folder stands in the way of the file.
func snapshotsFail(t *testing.T, client *goredis.Client) {
	t.Helper()
	ctx := backendtest.Within(t)
	do(t, client, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no", "save", "3600 1")
	about, err := client.ConfigGet(ctx, "dir").Result()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(about["dir"], "dump.rdb", "x"), 0o700))
	do(t, client, "BGSAVE")
	require.Eventually(t, func() bool {
		return strings.Contains(client.Info(ctx, "persistence").Val(), "rdb_last_bgsave_status:err")
	}, backendtest.Patience, 10*time.Millisecond)
}

// overdue waits until the deadline of a session is past, by the server's clock.
func overdue(t *testing.T, client *goredis.Client, session string) {
	t.Helper()
	ctx := backendtest.Within(t)
	deadline, err := client.ZScore(ctx, "{prism:prism}:sessions", session).Result()
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return float64(client.Time(ctx).Val().UnixMilli()) > deadline
	}, backendtest.Patience, 10*time.Millisecond)
}

func TestAServerThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	for name, why := range map[string]struct {
		prepare func(t *testing.T, client *goredis.Client)
		setting [3]string // its name, what makes the server refuse, and what ends that
		words   []string
	}{
		"its disk is full":        {snapshotsFail, [3]string{"stop-writes-on-bgsave-error", "yes", "no"}, []string{"cannot write to its disk", "look at its log and its disk"}},
		"it has too few replicas": {nil, [3]string{"min-replicas-to-write", "1", "0"}, []string{"too few replicas", "min-replicas-to-write"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := stores.ForTest(t, stores.Redis, stores.Options{})
			client := raw(t, store, 0)
			b := open(t, redis.Options{URL: store.URL()})
			if why.prepare != nil {
				why.prepare(t, client)
			}
			backendtest.Session(t, b, "s", time.Hour)
			backendtest.Session(t, b, "short", 3*time.Second)
			rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
			backendtest.Put(t, b, backendtest.Record("b", "short"), core.Generation{})
			do(t, client, "CONFIG", "SET", why.setting[0], why.setting[1])
			said := func(err error) {
				t.Helper()
				backendtest.Said(t, err, ports.ErrUnavailable, append(why.words, "redis", "backend_config.url")...)
			}
			ctx := backendtest.Within(t)
			renew := func(ids ...ports.SessionID) error {
				_, err := b.RenewSessions(ctx, ids)
				return err
			}
			reopen := func(id ports.SessionID) error {
				_, err := b.OpenSession(ctx, ports.SessionSpec{ID: id, TTL: time.Hour, Host: "test"})
				return err
			}

			// Sessions are neither renewed nor gone.
			said(renew("s"))
			said(renew("never", "s"))
			said(reopen("s"))
			said(reopen("new"))
			said(b.CloseSession(ctx, "s"))
			said(tryPut(t, b, *rec, rec.Generation).Err)
			said(b.Health(ctx))
			refused(t, redis.Options{URL: store.URL()}, ports.ErrUnavailable, why.words...)

			// Reads go on, and so do proofs that nothing was missed.
			require.NotNil(t, backendtest.Get(t, b, "a").Record)
			w := backendtest.Follow(t, b, core.Revision{})
			assert.Len(t, backendtest.Until(t, w, backendtest.Is(ports.WatchSynced)), 4, "a Reset, a, b, and the end")
			for range 3 { // the first may be of before, and one may have been under way
				backendtest.Until(t, w, backendtest.Is(ports.WatchBookmark))
			}

			// Whether a session is over whose time has passed shows when the server takes writes:
			// one that is restarted before gives it its whole time again.
			overdue(t, client, "short")
			said(renew("short"))
			said(reopen("short"))
			said(tryPut(t, b, backendtest.Record("c", "short"), core.Generation{}).Err)
			require.NotNil(t, backendtest.Get(t, b, "b").Record)
			backendtest.Until(t, w, backendtest.Is(ports.WatchBookmark))

			do(t, client, "CONFIG", "SET", why.setting[0], why.setting[2])
			assert.True(t, renewed(t, b, "s"))
			assert.False(t, renewed(t, b, "short"))
			gone := backendtest.Last(backendtest.Until(t, w, backendtest.Is(ports.WatchDelete)))
			assert.Equal(t, core.Key{Service: "api", ID: "b"}, gone.Tombstone.Key)
			assert.Equal(t, core.CauseExpired, gone.Tombstone.Cause)
			works(t, b)
		})
	}
}
