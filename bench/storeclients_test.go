package bench_test

// storeclients_test.go: for each store two of its own clients, one that puts a value of a
// record's size, and one that watches.

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

var recordSized = strings.Repeat("x", 600)

// watching runs a watch until the benchmark ends. It hands keys over by show.
func watching(b *testing.B, watch func(ctx context.Context, show func(key string))) <-chan string {
	b.Helper()
	seen := make(chan string, 16)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		watch(ctx, func(key string) {
			select {
			case seen <- key:
			case <-ctx.Done():
			}
		})
	})
	b.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return seen
}

func etcdClients(b *testing.B, url string) (put func(key string) error, seen <-chan string) {
	b.Helper()
	var clients [2]*clientv3.Client
	for i := range clients {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
		require.NoError(b, err)
		b.Cleanup(func() { _ = c.Close() }) // it says that its context was cancelled
		clients[i] = c
	}
	events := clients[1].Watch(b.Context(), "raw/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events // it is there
	seen = watching(b, func(ctx context.Context, show func(string)) {
		for {
			select {
			case resp, ok := <-events:
				if !ok {
					return
				}
				for _, ev := range resp.Events {
					show(strings.TrimPrefix(string(ev.Kv.Key), "raw/"))
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return func(key string) error {
		_, err := clients[0].Put(b.Context(), "raw/"+key, recordSized)
		return err
	}, seen
}

func redisClients(b *testing.B, url string) (put func(key string) error, seen <-chan string) {
	b.Helper()
	options, err := redis.ParseURL(url)
	require.NoError(b, err)
	writer, reader := redis.NewClient(options), redis.NewClient(options)
	b.Cleanup(func() { require.NoError(b, writer.Close()) })
	seen = watching(b, func(ctx context.Context, show func(string)) {
		stop := context.AfterFunc(ctx, func() { _ = reader.Close() }) // ends a read that blocks
		defer stop()
		for last := "0"; ctx.Err() == nil; {
			streams, err := reader.XRead(ctx, &redis.XReadArgs{Streams: []string{"raw", last}, Block: 0}).Result()
			if err != nil {
				return
			}
			for _, m := range streams[0].Messages {
				last = m.ID
				key, _ := m.Values["key"].(string)
				show(key)
			}
		}
	})
	return func(key string) error {
		return writer.XAdd(b.Context(), &redis.XAddArgs{Stream: "raw", Values: map[string]any{"key": key, "value": recordSized}}).Err()
	}, seen
}

func natsClients(b *testing.B, url string) (put func(key string) error, seen <-chan string) {
	b.Helper()
	var buckets [2]jetstream.KeyValue
	for i := range buckets {
		conn, err := nats.Connect(url)
		require.NoError(b, err)
		b.Cleanup(conn.Close)
		js, err := jetstream.New(conn)
		require.NoError(b, err)
		buckets[i], err = js.CreateOrUpdateKeyValue(b.Context(), jetstream.KeyValueConfig{Bucket: "raw"})
		require.NoError(b, err)
	}
	watcher, err := buckets[1].WatchAll(b.Context(), jetstream.UpdatesOnly())
	require.NoError(b, err)
	b.Cleanup(func() { _ = watcher.Stop() }) // its connection may have ended
	seen = watching(b, func(ctx context.Context, show func(string)) {
		for {
			select {
			case entry := <-watcher.Updates():
				if entry != nil {
					show(entry.Key())
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return func(key string) error {
		_, err := buckets[0].PutString(b.Context(), key, recordSized)
		return err
	}, seen
}

func consulClients(b *testing.B, url string) (put func(key string) error, seen <-chan string) {
	b.Helper()
	var clients [2]*api.Client
	for i := range clients {
		c, err := api.NewClient(&api.Config{Address: url})
		require.NoError(b, err)
		clients[i] = c
	}
	_, err := clients[0].KV().Put(&api.KVPair{Key: "raw", Value: []byte(recordSized)}, nil)
	require.NoError(b, err)
	pair, _, err := clients[1].KV().Get("raw", nil)
	require.NoError(b, err)
	// One key, as a listing of all would grow with them.
	seen = watching(b, func(ctx context.Context, show func(string)) {
		for index := pair.ModifyIndex; ctx.Err() == nil; {
			next, _, err := clients[1].KV().Get("raw", (&api.QueryOptions{WaitIndex: index}).WithContext(ctx))
			if err != nil {
				return
			}
			if next.ModifyIndex > index {
				index = next.ModifyIndex
				show(strings.TrimRight(string(next.Value[:8]), "x"))
			}
		}
	})
	return func(key string) error {
		_, err := clients[0].KV().Put(&api.KVPair{Key: "raw", Value: []byte(key + recordSized)}, nil)
		return err
	}, seen
}
