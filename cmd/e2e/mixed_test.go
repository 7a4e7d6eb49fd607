//go:build unix

package e2e

// mixed_test.go: all ways in, on one store.

import (
	"context"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/tools/stores"
)

// embedded is the configuration of a program that uses the store by a plugin of its own.
func (s store) embedded(on *stores.Cluster) prism.Config {
	return prism.Config{
		Backend: string(s.kind), BackendOptions: s.settings(on), PluginDirs: []string{binaries.Plugins},
		SessionTTL: sessionTTL, DrainTimeout: -1, NoChecks: true, Logger: quiet,
	}
}

// TestWaysInSeeEachOther shows that what is registered over HTTP, by a program that embeds
// Prism, and by "prism run" is one registry, and that each sees the others go.
func TestWaysInSeeEachOther(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, stores.Options{})
		host, other := s.host(t, on), s.host(t, on)
		atOther := observe(t, other)
		program, err := prism.Open(t.Context(), s.embedded(on))
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, program.Close(context.Background())) })

		rest, err := host.Client.RegisterOnce(t.Context(), core.Spec{Service: "web", ID: "rest", Host: "127.0.0.1", Port: 8081, Check: &core.Check{Type: core.CheckNone}})
		require.NoError(t, err)
		facade, err := program.Register(t.Context(), prism.Spec{Service: "web", ID: "facade", Host: "127.0.0.1", Port: 8082, Check: &core.Check{Type: core.CheckNone}})
		require.NoError(t, err)
		run := binaries.Launch(t, "run", "web", "--id", "run", "--host", "127.0.0.1", "--port", strconv.Itoa(8083), "--check", "none",
			"--drain-timeout", "0s", "--address", other.Address, "--", "sh", "-c", "trap 'exit 0' TERM; echo child; while kill -0 $PPID; do sleep 0.01; done")
		run.Line("child")

		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		list, satisfied, err := program.Wait(ctx, "web", 3, discovery.Query{})
		require.NoError(t, err)
		require.True(t, satisfied, "the program sees %v", list)
		for _, h := range []interface {
			Wait(ctx context.Context, service string, n int) ([]core.Instance, bool, error)
		}{host.Client, other.Client} {
			list, satisfied, err := h.Wait(ctx, "web", 3)
			require.NoError(t, err)
			require.True(t, satisfied, "a host sees %v", list)
		}
		picked := map[string]bool{}
		for range 3 {
			p, err := program.Pick(t.Context(), "web", prism.PickOptions{})
			require.NoError(t, err)
			picked[p.Instance.ID] = true
		}
		assert.Equal(t, map[string]bool{"rest": true, "facade": true, "run": true}, picked)

		// A host drains what the program owns, and the program sees it.
		_, err = host.Client.SetStatus(t.Context(), discovery.StatusRequest{Key: facade.Instance().Key(), Status: string(core.StatusMaintenance), Reason: "by hand"})
		require.NoError(t, err)
		host.Until("the program sees its own drain", func(context.Context) bool { return facade.Instance().State.Reason == "by hand" })

		assert.Zero(t, run.End(syscall.SIGTERM), run.Stderr())
		require.NoError(t, facade.Close(t.Context()))
		require.NoError(t, host.Client.Deregister(t.Context(), discovery.DeregisterRequest{Key: rest.Instance.Key(), Lease: rest.Lease}))
		for _, id := range []string{"run", "facade", "rest"} {
			gone := atOther.await(core.EventDeregistered, core.Key{Service: "web", ID: id})
			assert.Equal(t, core.CauseDeregistered, gone.Cause, id)
		}
		host.Until("the program sees nobody", func(ctx context.Context) bool {
			list, _, err := program.Instances(ctx, "web", discovery.Query{})
			return err == nil && len(list) == 0
		})
		assert.Zero(t, host.End(os.Interrupt), host.Stderr())
	})
}
