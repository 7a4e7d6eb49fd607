package backendtest

// works.go: one use of all that a backend does.

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Works uses every part of a backend, under names of its own, so that a permission which is
// lacking shows.
func Works(t *testing.T, b ports.Backend) {
	t.Helper()
	require.NoError(t, b.Health(Within(t)))
	w := Follow(t, b, core.Revision{})
	Until(t, w, Is(ports.WatchSynced))
	unique := core.Generation{}.Next().Random
	session, id := ports.SessionID("s-"+unique), "works-"+unique
	Session(t, b, session, time.Hour)
	renewed, err := b.RenewSessions(Within(t), []ports.SessionID{session})
	require.NoError(t, err)
	require.False(t, renewed[0].Gone)
	rec := Put(t, b, Record(id, session), core.Generation{})
	Until(t, w, func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == rec.Revision })
	Until(t, w, Is(ports.WatchBookmark))
	rec = Put(t, b, *rec, rec.Generation)
	require.Equal(t, rec, Get(t, b, id).Record)
	require.NoError(t, b.CloseSession(Within(t), session))
	Until(t, w, Is(ports.WatchDelete))
	Until(t, w, Is(ports.WatchBookmark))
	require.NotNil(t, Get(t, b, id).Tombstone)
}
