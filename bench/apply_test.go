package bench_test

// apply_test.go: what a write through a plugin costs beside the least that go-plugin can do.

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// BenchmarkApply compares one Apply of one record, in the memory backend's own process, with
// go-plugin's ping (gRPC's health check) of an empty plugin. Both go over a Unix socket (on
// Windows TCP) and mutual TLS. The aim is a ratio of 1.3 at most.
func BenchmarkApply(b *testing.B) {
	dir := b.TempDir() + string(filepath.Separator)
	build(b, dir, "..", "./plugins/memory/cmd/prism-backend-memory")
	build(b, dir, ".", "./emptyplugin")

	path, err := pluginhost.Find("memory", "", []string{dir})
	require.NoError(b, err)
	host, err := pluginhost.Open(b.Context(), pluginhost.Launch{Path: path, Name: "memory"})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, host.Close()) })
	peer, stop := startEmpty(b, filepath.Join(dir, emptyPlugin))
	b.Cleanup(stop)

	rec := store(b, host)
	now := time.Now().UTC()
	for _, m := range []struct {
		name     string
		mutation func(i int) ports.Mutation
	}{
		{"set-state", func(i int) ports.Mutation {
			observed := core.ObservedHealthy
			if i%2 == 1 {
				observed = core.ObservedUnhealthy
			}
			return ports.Mutation{SetState: &ports.SetState{
				Key: rec.Key, Generation: rec.Generation, Session: rec.Session, At: now,
				Observed: &ports.ObservedState{Observed: observed, Streak: 1},
			}}
		}},
		{"put", func(int) ports.Mutation {
			return ports.Mutation{Put: &ports.Put{Record: rec, Replaces: rec.Generation}}
		}},
	} {
		b.Run(m.name, func(b *testing.B) {
			i := 0
			compare(b, 100, timed(b, func() error {
				i++
				results, err := host.Apply(b.Context(), []ports.Mutation{m.mutation(i)})
				if err != nil {
					return err
				}
				return results[0].Err
			}), timed(b, peer.Ping))
		})
	}
}

// store opens a session and puts one record of an ordinary size under it.
func store(b *testing.B, backend ports.Backend) ports.Record {
	b.Helper()
	session, err := backend.OpenSession(b.Context(), ports.SessionSpec{
		ID: "bench", TTL: time.Hour, Host: "localhost", Program: "bench", OldestFormat: core.BodyFormat, NewestFormat: core.BodyFormat,
	})
	require.NoError(b, err)
	tags, err := core.NewTags("gateway", "public")
	require.NoError(b, err)
	in := core.Instance{
		Service: "api", ID: "api-1", Host: "10.0.0.7", Port: 8080, Weight: 100, Version: "1.0.0",
		Tags: tags, Metadata: core.MustMetadata(map[string]any{"team": "core"}),
	}
	body, err := core.EncodeBody(in, nil)
	require.NoError(b, err)
	now := time.Now().UTC()
	rec := ports.Record{
		Key: in.Key(), Generation: core.Generation{}.Next(), Session: session.ID, Owner: "bench", Body: body,
		State:        core.State{Declared: core.DeclaredUp, Observed: core.ObservedUnknown, Actor: "owner", ChangedAt: now},
		RegisteredAt: now, UpdatedAt: now,
	}
	results, err := backend.Apply(b.Context(), []ports.Mutation{{Put: &ports.Put{Record: rec}}})
	require.NoError(b, err)
	require.NoError(b, results[0].Err)
	return rec
}
