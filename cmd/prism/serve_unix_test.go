//go:build unix

package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func gone(pid int) func(context.Context) bool {
	return func(context.Context) bool { return syscall.Kill(pid, 0) != nil }
}

func TestFromServeToSIGTERM(t *testing.T) {
	p := serve(t)
	r := p.prism("register", "my-service", "--port", "8081", "--check", "none")
	require.Zero(t, r.code, r.err)
	r = p.prism("services")
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, "my-service  1")
	r = p.prism("pick", "my-service", "--url")
	assert.Equal(t, "http://127.0.0.1:8081\n", r.out)
	st, err := p.Client.Status(t.Context())
	require.NoError(t, err)
	require.NotNil(t, st.Plugin)
	require.NotZero(t, st.Plugin.PID)
	assert.Equal(t, "memory", st.Backend.Name)

	assert.Zero(t, p.End(syscall.SIGTERM), p.Stderr())
	p.Until("the plugin is gone", gone(st.Plugin.PID))
}

func TestMetricsHaveTheirExactNames(t *testing.T) {
	p := serve(t, "--set", "monitoring.metrics_endpoint=/m")
	require.Zero(t, p.prism("register", "my-service", "--port", "8081").code)
	resp, err := http.Get(p.Address + "/m") //nolint:noctx,forbidigo // a scrape as simple as can be
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for _, want := range []string{
		"\n# TYPE service_discovery_registrations_total counter\n", "\n# TYPE service_discovery_discoveries_total counter\n",
		"\n# TYPE service_discovery_health_checks_total counter\n", "\n# TYPE service_discovery_instances_active gauge\n",
		`service_discovery_registrations_total{outcome="ok",service="my-service"} 1` + "\n",
		`service_discovery_instances_active{service="my-service",status="`,
		"\nprism_plugin_starts_total 1\n", "\nprism_view_age_seconds ", "\ngo_goroutines ",
	} {
		assert.Contains(t, string(body), want)
	}
	assert.NotContains(t, string(body), "otel_scope")
	assert.NotContains(t, string(body), "target_info")
}

func TestConfiguredServicesComeAndGoWithTheHost(t *testing.T) {
	file := writeFile(t, "prism.yaml", `
server: {drain_timeout: 1}
services:
  first: {host: 127.0.0.1, port: 8081, check: {type: none}}
  second: {host: 127.0.0.1, port: 8082, check: {type: none}, weight: 1}
  defaults-only: {tags: [x]}
`)
	p := serve(t, "--config", file)
	for _, service := range []string{"first", "second"} {
		_, satisfied, err := p.Client.Wait(t.Context(), service, 1)
		require.NoError(t, err)
		assert.True(t, satisfied)
	}
	assert.NotContains(t, p.prism("services").out, "defaults-only")

	// A changed file: second changes, third comes, first goes; what needs a restart is named.
	changed := "server: {drain_timeout: 1}\nsession_ttl: 9\nlogging: {level: DEBUG}\nservices:\n" +
		"  second: {host: 127.0.0.1, port: 8082, check: {type: none}, weight: 2}\n  third: {host: 127.0.0.1, port: 8083, check: {type: none}}\n" +
		"  defaults-only: {tags: [y]}\n"
	require.NoError(t, os.WriteFile(file, []byte(changed), 0o600))
	p.Signal(syscall.SIGHUP)
	p.Until("the changed services are in force", func(ctx context.Context) bool {
		out := invoke(ctx, "", "instances", "second", "-o", "json", "--address", p.Address).out
		return p.prism("services").out == "SERVICE  INSTANCES  HEALTHY\nsecond   1          1\nthird    1          1\n" && strings.Contains(out, `"weight": 2`)
	})
	p.Until("the log names what needs a restart", func(context.Context) bool {
		return strings.Contains(p.Stderr(), "need a restart") && strings.Contains(p.Stderr(), "session_ttl")
	})
	require.NoError(t, os.WriteFile(file, []byte("nonsense: 1\n"), 0o600))
	p.Signal(syscall.SIGHUP)
	p.Until("a wrong file is refused", func(context.Context) bool { return strings.Contains(p.Stderr(), "was not reloaded") })
	assert.Contains(t, p.prism("services").out, "third")

	// Leaving: stopping is seen before they go.
	w, err := p.Client.Follow(t.Context(), discoveryOptions("third"))
	require.NoError(t, err)
	defer w.Close()
	p.Signal(syscall.SIGTERM)
	item, err := w.Next(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, "stopping", item.Event.NewStatus)
	assert.Zero(t, p.Wait(), p.Stderr())
}

func TestASecondSignalEndsTheHostAtOnce(t *testing.T) {
	file := writeFile(t, "prism.yaml", "server: {drain_timeout: 600}\nservices:\n  a: {host: 127.0.0.1, port: 8081, check: {type: none}}\n")
	p := serve(t, "--config", file)
	_, _, err := p.Client.Wait(t.Context(), "a", 1)
	require.NoError(t, err)
	st, err := p.Client.Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, exitFailed, p.Insist(os.Interrupt))
	assert.Contains(t, p.Stderr(), "second signal")
	p.Until("the plugin is gone", gone(st.Plugin.PID))
}

// The signals differ, as the system keeps only one of a kind for a process.
func TestSignalsThatComeTogetherAreOne(t *testing.T) {
	file := writeFile(t, "prism.yaml", "server: {drain_timeout: 0.1}\nservices:\n  a: {host: 127.0.0.1, port: 8081, check: {type: none}}\n")
	p := serve(t, "--config", file)
	_, _, err := p.Client.Wait(t.Context(), "a", 1)
	require.NoError(t, err)
	p.Signal(syscall.SIGTERM)
	assert.Zero(t, p.End(os.Interrupt), p.Stderr())
}

func TestAReloadIsAnsweredAtAnyLevel(t *testing.T) {
	file := writeFile(t, "prism.yaml", "logging: {level: CRITICAL}\n")
	p := serve(t, "--config", file)
	require.NoError(t, os.WriteFile(file, []byte("logging: {level: CRITICAL}\nsession_ttl: 9\nhealth_check_interval: 7\n"), 0o600))
	p.Signal(syscall.SIGHUP)
	p.Until("the log says how it went", func(context.Context) bool {
		return strings.Contains(p.Stderr(), "the configuration was reloaded") && strings.Contains(p.Stderr(), "need a restart")
	})
	assert.Contains(t, p.Stderr(), `"in_force":["health_check_interval"]`)
	assert.Contains(t, p.Stderr(), `"keys":["session_ttl"]`)
	assert.Zero(t, p.End(syscall.SIGTERM), p.Stderr())
}

// A plugin that cannot be used is a wrong configuration, and nobody is told that a host is there.
func TestAHostWhosePluginIsRefusedSaysWhy(t *testing.T) {
	plugins := built(t)
	for args, says := range map[string]string{
		"--backend nosuch":                                      "nosuch",
		"--set backend_config.url=x":                            "backend_config.url",
		"--set plugin.sha256=" + strings.Repeat("0", 64):        "sha256",
		"--set plugin.file=/no/such/plugin":                     "plugin.file",
		"--set plugin.file=" + filepath.Dir(plugins) + "/prism": "plugin.file",
	} {
		args := append([]string{"--http", "127.0.0.1:0", "--grpc", "", "--set", "plugin.dirs=" + plugins}, strings.Fields(args)...)
		for _, command := range [][]string{{"serve", "--set", "logging.level=CRITICAL"}, {"config", "validate"}} {
			r := invoke(t.Context(), "", append(command, args...)...)
			assert.Equal(t, exitUsage, r.code, r.err)
			assert.Contains(t, r.err, says)
			assert.Equal(t, 1, strings.Count(r.err, "\n"), "one sentence: %s", r.err)
			assert.Empty(t, r.out, "%v", command)
		}
	}
}

func TestAPortInUseIsExplained(t *testing.T) {
	p := serve(t)
	address := strings.TrimPrefix(p.Address, "http://")
	r := invoke(t.Context(), "", "serve", "--http", address)
	assert.Equal(t, exitFailed, r.code)
	assert.Equal(t, "prism: server.http: cannot listen on "+address+": address already in use; stop what listens there, or choose another address\n", r.err)
}

func TestAPluginThatDiesIsReplaced(t *testing.T) {
	p := serve(t)
	require.Zero(t, p.prism("register", "my-service", "--port", "8081", "--check", "none").code)
	st, err := p.Client.Status(t.Context())
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(st.Plugin.PID, syscall.SIGKILL))
	p.Until("another plugin serves", func(ctx context.Context) bool {
		now, err := p.Client.Status(ctx)
		return err == nil && now.Ready && now.Plugin.Restarts == 1
	})
	p.Until("the instance is asserted again", func(ctx context.Context) bool {
		list, fresh, err := p.Client.Instances(ctx, "my-service", anyInstance)
		return err == nil && len(list) == 1 && !fresh.Stale
	})
	assert.Zero(t, p.End(syscall.SIGTERM), p.Stderr())
}
