//go:build unix

package e2e

// fields_test.go: what is registered at one host is found at another, whole and by its name.

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/tools/stores"
)

// TestFault15And17WhatIsRegisteredIsFoundWhole shows that no store loses a field or a name, or
// mixes up names of which one begins or ends like the other.
func TestFault15And17WhatIsRegisteredIsFoundWhole(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, stores.Options{})
		a, b := s.host(t, on), s.host(t, on)
		want := map[string]core.Instance{}
		for _, service := range []string{"a", "a.b", "a-b", "ab", "z", "zz.z-z_z", "0"} {
			got, err := a.Client.RegisterOnce(t.Context(), core.Spec{
				Service: service, ID: "b." + service, Host: "127.0.0.1", Port: 8443, Scheme: "https", Version: "2.1.0",
				Region: "eu", Zone: "eu-1", Datacenter: "fra", Weight: new(7), Tags: []string{"blue", "v2"},
				Metadata: core.MustMetadata(map[string]any{
					"team": "payments", "size": 3, "ratio": 0.5, "on": true, "none": nil, "list": []any{"x", 1}, "in": map[string]any{"ä/b": "c"},
				}),
				HealthCheckURL: "https://127.0.0.1:8443/up", Status: "maintenance", TTL: 90 * time.Second, Keepalive: core.KeepaliveClient,
				Check: &core.Check{Type: core.CheckNone},
			})
			require.NoError(t, err)
			want[service] = got.Instance
		}
		for service, in := range want {
			var list []core.Instance
			b.Until(service+" is found", func(ctx context.Context) (ok bool) {
				var err error
				list, _, err = b.Client.Instances(ctx, service, discovery.Query{})
				return err == nil && len(list) > 0
			})
			assert.Equal(t, []core.Instance{in}, list)
		}
		services, _, err := b.Client.Services(t.Context())
		require.NoError(t, err)
		assert.Len(t, services, len(want))
	})
}
