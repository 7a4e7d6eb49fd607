package backendtest_test

// backendtest_test.go: the words over the memory backend.

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWordsDoWhatTheySay(t *testing.T) {
	b, err := memory.Open(t.Context(), memory.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	w := backendtest.Follow(t, b, core.Revision{})
	backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	assert.Equal(t, rec, backendtest.Get(t, b, "a").Record)
	backendtest.Remove(t, b, rec)
	tomb := backendtest.Last(backendtest.Until(t, w, backendtest.Is(ports.WatchDelete))).Tombstone
	assert.Equal(t, tomb, backendtest.Get(t, b, "a").Tombstone)
	assert.Equal(t, core.CauseOperator, tomb.Cause)
	backendtest.Works(t, b)
}

func TestRefusedTakesOneClearSentence(t *testing.T) {
	open := func(_ context.Context, err error) (*memory.Backend, error) {
		if err != nil {
			return nil, fmt.Errorf("open the toy backend at %s: %w", backendtest.Nowhere(t), err)
		}
		return memory.Open(t.Context(), memory.Options{})
	}
	backendtest.Refused(t, open, error(core.Invalid("backend_config.url", "x", "use another")), ports.ErrInvalid, "toy", "127.0.0.1:", "backend_config.url")
	backendtest.Refused(t, open, nil, nil)
	var o struct {
		URL   string `json:"url"`
		Token string `json:"token"`
	}
	backendtest.Schema(t, []ports.Option{{Name: "url", Doc: "Where."}, {Name: "token", Doc: "Who.", Secret: true}}, o, "token")
}
