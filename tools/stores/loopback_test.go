package stores_test

// loopback_test.go: servers of tests speak to nobody beyond this machine.

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/tools/stores"
)

func TestConsulDoesNotAskForUpdates(t *testing.T) {
	t.Parallel()
	c := stores.ForTest(t, stores.Consul, stores.Options{}) // without Fast, which turns this off by itself
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL()+"/v1/agent/self", nil)
	require.NoError(t, err)
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := web.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var self struct {
		DebugConfig struct{ DisableUpdateCheck *bool }
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&self))
	require.NotNil(t, self.DebugConfig.DisableUpdateCheck)
	assert.True(t, *self.DebugConfig.DisableUpdateCheck)
}
