//go:build unix

package e2e

// places_test.go: options other than url that say where the store is.

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/tools/stores"
)

// TestAStoreIsFoundByItsOtherOptions shows that with them no url is made up, and that a list may
// be written with commas.
func TestAStoreIsFoundByItsOtherOptions(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    stores.Kind
		options stores.Options
		given   func(*stores.Cluster) map[string]string
	}{
		{"sentinels", stores.Redis, stores.Options{Nodes: 3, Topology: stores.Sentinel, Auth: stores.Password}, func(on *stores.Cluster) map[string]string {
			return map[string]string{
				"sentinels": strings.Join(on.Sentinels(), ","), "master_name": stores.SentinelName,
				"password": on.Credentials.Password, "sentinel_password": on.Credentials.Password,
			}
		}},
		{"urls", stores.Etcd, stores.Options{Nodes: 3}, func(on *stores.Cluster) map[string]string {
			return map[string]string{"urls": strings.Join(on.URLs(), ",")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			on := stores.ForTest(t, c.kind, c.options)
			args := []string{"--backend", string(c.kind), "--set", "server.data_dir=" + t.TempDir()}
			for option, value := range c.given(on) {
				args = append(args, "--set", "backend_config."+option+"="+value)
			}
			host := binaries.Serve(t, args...)
			got, err := host.Client.RegisterOnce(t.Context(), core.Spec{Service: "web", Host: "127.0.0.1", Port: 8081, Check: &core.Check{Type: core.CheckNone}})
			require.NoError(t, err)
			seen(t, host, got.Instance.Key(), withStatus(core.StatusHealthy))
		})
	}
}
