package redis_test

// support_test.go: records, sessions and streams in few words.

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/redis"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// open opens a backend for the time of a test.
func open(t *testing.T, o redis.Options) *redis.Backend {
	t.Helper()
	b, err := redis.Open(backendtest.Within(t), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// raw is a client of a server itself, for one without TLS and authentication.
func raw(t *testing.T, store *stores.Cluster, node int) *goredis.Client {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: store.Addresses()[node]})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// do sends a command.
func do(t *testing.T, client *goredis.Client, command ...any) {
	t.Helper()
	require.NoError(t, client.Do(backendtest.Within(t), command...).Err(), "%v", command)
}

func renewed(t *testing.T, b ports.Backend, id ports.SessionID) bool {
	t.Helper()
	res, err := b.RenewSessions(backendtest.Within(t), []ports.SessionID{id})
	require.NoError(t, err)
	return !res[0].Gone
}

func tryPut(t *testing.T, b ports.Backend, rec ports.Record, replaces core.Generation) ports.MutationResult {
	t.Helper()
	res, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Put: &ports.Put{Record: rec, Replaces: replaces}}})
	require.NoError(t, err)
	return res[0]
}

func isPut(rec *ports.Record) func(ev ports.WatchEvent) bool {
	return func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == rec.Revision }
}

// works uses every part of a backend, beside a session that stays.
func works(t *testing.T, b ports.Backend) {
	t.Helper()
	backendtest.Session(t, b, "works-"+ports.SessionID(core.Generation{}.Next().Random), time.Hour)
	backendtest.Works(t, b)
}
