package consul_test

// roundtrips_test.go: a registration takes one round trip where nothing stands, and is right
// where something does.

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/consul"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestRoundTripsOfAPut(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	var trips atomic.Int64
	proxy := front(t, store, func(_ http.ResponseWriter, r *http.Request, forward func()) {
		if r.URL.Path == "/v1/txn" {
			if !beats(content(t, r)) {
				trips.Add(1)
			}
		}
		forward()
	})
	b := opened(t, consul.Options{URL: proxy.URL})
	session(t, b, "s-1", time.Minute)
	count := func(m ports.Mutation) (int64, ports.MutationResult) {
		before := trips.Load()
		results, err := b.Apply(t.Context(), []ports.Mutation{m})
		require.NoError(t, err)
		return trips.Load() - before, results[0]
	}
	rec := newRecord("api", "api-1", "s-1")
	n, res := count(ports.Mutation{Put: &ports.Put{Record: rec}})
	require.NoError(t, res.Err)
	assert.Equal(t, int64(1), n, "a registration")
	n, res = count(ports.Mutation{Put: &ports.Put{Record: rec, Replaces: rec.Generation}})
	require.NoError(t, res.Err)
	assert.Equal(t, int64(2), n, "an update")
	n, res = count(ports.Mutation{Put: &ports.Put{Record: rec}})
	require.NoError(t, res.Err, "a retry of what was done")
	assert.Equal(t, int64(2), n)

	other := newRecord("api", "api-1", "s-1")
	_, res = count(ports.Mutation{Put: &ports.Put{Record: other}})
	require.ErrorIs(t, res.Err, ports.ErrConflict)
	require.NotNil(t, res.Record)
	other.Session = "never"
	_, res = count(ports.Mutation{Put: &ports.Put{Record: other}})
	require.ErrorIs(t, res.Err, ports.ErrSessionGone)
	other.Key.ID = "api-2"
	_, res = count(ports.Mutation{Put: &ports.Put{Record: other}})
	require.ErrorIs(t, res.Err, ports.ErrSessionGone)

	// Two items for one key: the second finds what the first has left.
	second := newRecord("api", "api-1", "s-1")
	results, err := b.Apply(t.Context(), []ports.Mutation{
		{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: core.CauseDeregistered}}, {Put: &ports.Put{Record: second}},
	})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	if second.Generation.Compare(rec.Generation) > 0 {
		require.NoError(t, results[1].Err)
	} else {
		require.ErrorIs(t, results[1].Err, ports.ErrConflict)
	}
}

// beats tells the sweeper's transactions from those of calls.
func beats(body string) bool {
	return strings.Contains(body, "prism/seats/")
}
