package backendkit_test

// feed_test.go: the queue between a backend's goroutine and whoever reads its watch.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func TestAFeedHandsOverEverythingInOrder(t *testing.T) {
	var feeds backendkit.Feeds
	defer feeds.Close()
	rec, tomb, at := fullRecord(), &ports.Tombstone{Cause: core.CauseExpired}, core.Revision{Epoch: "e", N: 7}
	feed, err := feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
		return errors.Join(to.Reset(ctx, "why"), to.Put(ctx, rec), to.Skipped(ctx, key("x"), errors.New("corrupt")),
			to.Synced(ctx, at), to.Delete(ctx, tomb), to.Bookmark(ctx, at), io.EOF)
	})
	require.NoError(t, err)
	for _, want := range []ports.WatchEvent{
		{Kind: ports.WatchReset, Reason: "why"},
		{Kind: ports.WatchPut, Record: rec},
		{Kind: ports.WatchSkipped, Key: key("x"), Reason: "corrupt"},
		{Kind: ports.WatchSynced, Cursor: at},
		{Kind: ports.WatchDelete, Tombstone: tomb},
		{Kind: ports.WatchBookmark, Cursor: at},
	} {
		came, err := feed.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, came)
	}
	for range 2 {
		_, err = feed.Next(t.Context())
		require.ErrorIs(t, err, io.EOF)
	}
	require.NoError(t, feed.Close())
}

func TestAFullQueueHoldsTheProducerBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var feeds backendkit.Feeds
		sent := 0
		feed, err := feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
			for {
				if err := to.Bookmark(ctx, core.Revision{}); err != nil {
					return err
				}
				sent++
			}
		})
		require.NoError(t, err)
		synctest.Wait()
		held := sent
		require.Positive(t, held)
		_, err = feed.Next(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, held+1, sent, "one read, one sent")
		feeds.Close()
		_, err = feed.Next(t.Context())
		require.ErrorIs(t, err, ports.ErrClosed, "whatever is left in the queue")
	})
}

func TestABlockedReaderReturnsAtOnce(t *testing.T) {
	lasting := func(ctx context.Context, _ *backendkit.Feed) error { <-ctx.Done(); return ctx.Err() }
	for name, tt := range map[string]struct {
		end  func(feeds *backendkit.Feeds, feed ports.Watcher, cancel func())
		want error
	}{
		"the backend closes": {func(feeds *backendkit.Feeds, _ ports.Watcher, _ func()) { feeds.Close() }, ports.ErrClosed},
		"the watch closes":   {func(_ *backendkit.Feeds, feed ports.Watcher, _ func()) { _ = feed.Close() }, ports.ErrClosed},
		"the context ends":   {func(_ *backendkit.Feeds, _ ports.Watcher, cancel func()) { cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var feeds backendkit.Feeds
				feed, err := feeds.Open(lasting)
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var ended error
				go func() { _, ended = feed.Next(ctx) }()
				synctest.Wait()
				tt.end(&feeds, feed, cancel)
				synctest.Wait()
				require.ErrorIs(t, ended, tt.want)
				_, again := feed.Next(t.Context())
				require.ErrorIs(t, again, tt.want, "it is dead")
				feeds.Close()
				require.NoError(t, feed.Close(), "a second time, too")
			})
		})
	}
}

func TestAProducersErrorComesAfterWhatItSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var feeds backendkit.Feeds
		feed, err := feeds.Open(func(ctx context.Context, to *backendkit.Feed) error {
			return errors.Join(to.Reset(ctx, "r"), fmt.Errorf("lost: %w", ports.ErrUnavailable))
		})
		require.NoError(t, err)
		synctest.Wait()
		ev, err := feed.Next(t.Context())
		require.NoError(t, err)
		assert.Equal(t, ports.WatchReset, ev.Kind)
		_, err = feed.Next(t.Context())
		require.ErrorIs(t, err, ports.ErrUnavailable)

		silent, err := feeds.Open(func(context.Context, *backendkit.Feed) error { return nil })
		require.NoError(t, err)
		_, err = silent.Next(t.Context())
		require.ErrorIs(t, err, ports.ErrUnavailable, "an end that nobody explains")
		feeds.Close()
	})
}

func TestCloseWaitsForProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var feeds backendkit.Feeds
		ended := false
		_, err := feeds.Open(func(ctx context.Context, _ *backendkit.Feed) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return ctx.Err()
		})
		require.NoError(t, err)
		feeds.Close()
		assert.True(t, ended)
		_, err = feeds.Open(func(context.Context, *backendkit.Feed) error { return nil })
		require.ErrorIs(t, err, ports.ErrClosed)
	})
}
