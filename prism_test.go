package prism_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/ports"
)

// quiet is a Config in memory that ends at once.
func quiet() prism.Config {
	return prism.Config{NoChecks: true, DrainTimeout: -1, Logger: slog.New(slog.DiscardHandler)}
}

func closing(t *testing.T, c *prism.Client) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, c.Close(context.Background())) })
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestOpenRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*prism.Config)
		kind   error
		says   string
	}{
		"an option that memory lacks": {func(c *prism.Config) { c.BackendOptions = map[string]any{"url": "http://x"} }, core.ErrInvalid, "backend_config.url: "},
		"a plugin that is not there":  {func(c *prism.Config) { c.Backend = "nosuch" }, core.ErrNotFound, `"nosuch"`},
		"a strategy":                  {func(c *prism.Config) { c.Strategy = "psychic" }, core.ErrInvalid, "load_balancing.strategy: "},
		"a namespace":                 {func(c *prism.Config) { c.Namespace = "a/b" }, core.ErrInvalid, "'/'"},
		"two namespaces": {func(c *prism.Config) {
			c.Namespace, c.BackendOptions = "a", map[string]any{"namespace": "b"}
		}, core.ErrInvalid, "give it once"},
		"a namespace that is no text": {func(c *prism.Config) { c.BackendOptions = map[string]any{"namespace": 7} }, core.ErrInvalid, "use text"},
		"a session ttl":               {func(c *prism.Config) { c.SessionTTL = time.Millisecond }, core.ErrInvalid, "session_ttl: "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := quiet()
			tc.change(&cfg)
			_, err := prism.Open(t.Context(), cfg)
			require.ErrorIs(t, err, tc.kind)
			assert.ErrorContains(t, err, tc.says)
		})
	}
}

func TestWhatAConfigSaysIsInForce(t *testing.T) {
	cfg := quiet()
	cfg.NoChecks, cfg.Namespace, cfg.Advertise, cfg.InstanceTTL, cfg.HealthPath = false, "dev", "192.0.2.7", time.Minute, "/alive"
	cfg.CheckInterval, cfg.ServiceDefaults = 7*time.Second, map[string]prism.Spec{"api": {Tags: []string{"public"}}}
	c, err := prism.Open(t.Context(), cfg)
	require.NoError(t, err)
	closing(t, c)
	reg, err := c.Register(t.Context(), prism.Spec{Service: "api", Host: "0.0.0.0", Port: 80})
	require.NoError(t, err)
	in := reg.Instance()
	assert.Equal(t, "dev", in.Namespace)
	assert.Equal(t, "192.0.2.7", in.Host, "a wildcard becomes what is advertised")
	assert.NotEmpty(t, reg.Warnings())
	assert.Equal(t, time.Minute, in.TTL)
	assert.Equal(t, "http://192.0.2.7:80/alive", in.HealthCheckURL)
	assert.Equal(t, 7*time.Second, in.Check.Interval)
	assert.True(t, in.Tags.Has("public"))
	assert.Equal(t, core.KeepaliveAuto, in.Keepalive)
}

func TestFault23TheFileIsRead(t *testing.T) {
	dir := t.TempDir()
	toyIn(t, dir)
	file := write(t, dir, "prism.yaml", `
service_discovery:
  backend: toy
  backend_config: {namespace: dev, toy: {password: 007, wait: 90}}
  plugin: {dirs: ["`+filepath.ToSlash(dir)+`"]}
  server: {drain_timeout: 0}
  session_ttl: 5
services:
  api: {tags: [public]}
  registered-by-hosts: {host: 127.0.0.1, port: 80}
`)
	c, err := prism.FromFile(t.Context(), file)
	require.NoError(t, err)
	closing(t, c)
	assert.Equal(t, "toy", c.Backend().Name)
	assert.Equal(t, "1.2.3", c.Backend().Version)
	starts, err := os.ReadFile(startsIn(dir))
	require.NoError(t, err)
	assert.Equal(t, "|", string(starts), "the process that says which options there are is the one that is opened")
	assert.Equal(t, "dev", c.Status().Namespace)
	reg, err := c.Register(t.Context(), prism.Spec{Service: "api", Host: "127.0.0.1", Port: 80})
	require.NoError(t, err)
	assert.True(t, reg.Instance().Tags.Has("public"))
	services, _, err := c.Services(t.Context())
	require.NoError(t, err)
	assert.Len(t, services, 1, "an embedded client registers nothing that the file lists")
}

// What Load gives is the program's to change, the options and the namespace of a plugin included.
func TestWhatWasLoadedMayBeChanged(t *testing.T) {
	dir := t.TempDir()
	toyIn(t, dir)
	cfg, err := prism.Load(write(t, dir, "prism.yaml", `
backend: toy
backend_config: {namespace: production, toy: {password: 007, wait: 1}}
plugin: {dirs: ["`+filepath.ToSlash(dir)+`"]}
`))
	require.NoError(t, err)
	schema := []ports.Option{
		{Name: "password", Type: ports.OptionString, Secret: true},
		{Name: "wait", Type: ports.OptionDuration, Default: "1s"},
	}
	opened := func() string {
		launch, err := cfg.Launch()
		require.NoError(t, err)
		options, err := launch.Resolve(schema)
		require.NoError(t, err)
		return string(options)
	}
	assert.JSONEq(t, `{"namespace":"production","password":"007","wait":"1s"}`, opened(), "as it stands in the file")

	cfg.Namespace, cfg.BackendOptions["wait"] = "testing", 90*time.Second
	assert.JSONEq(t, `{"namespace":"testing","password":"007","wait":"90s"}`, opened())
	delete(cfg.BackendOptions, "password")
	assert.JSONEq(t, `{"namespace":"testing","wait":"90s"}`, opened())

	cfg.BackendOptions["password"] = 7
	launch, err := cfg.Launch()
	require.NoError(t, err)
	_, err = launch.Resolve(schema)
	require.ErrorIs(t, err, prism.ErrInvalid)
	assert.NotContains(t, err.Error(), "prism.yaml", "the file does not say so")
}

func TestZeroInAFileMeansNone(t *testing.T) {
	cfg, err := prism.Load(write(t, t.TempDir(), "prism.yaml", "server: {drain_timeout: 0}\nprotect_threshold: 0\n"))
	require.NoError(t, err)
	assert.Negative(t, cfg.DrainTimeout)
	assert.Negative(t, cfg.ProtectThreshold)
	cfg, err = prism.Load(write(t, t.TempDir(), "prism.yaml", "{}\n"))
	require.NoError(t, err)
	assert.Equal(t, 5*time.Second, cfg.DrainTimeout)
	assert.InDelta(t, 0.5, cfg.ProtectThreshold, 0)
}

func TestFaultsOfAFileNameTheirPlace(t *testing.T) {
	dir := t.TempDir()
	toyIn(t, dir)
	for name, tc := range map[string]struct{ text, says string }{
		"misspelt key":   {"sesion_ttl: 5\n", "prism.yaml:1: "},
		"unset variable": {"backend: ${PRISM_TEST_NOT_SET}\n", "PRISM_TEST_NOT_SET"},
		"backend option": {"backend: toy\nplugin: {dirs: ['" + filepath.ToSlash(dir) + "']}\nbackend_config:\n  pasword: x\n", "prism.yaml:4: "},
		"not YAML":       {"a: [\n", "prism.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := prism.FromFile(t.Context(), write(t, t.TempDir(), "prism.yaml", tc.text))
			require.ErrorIs(t, err, prism.ErrInvalid)
			assert.ErrorContains(t, err, tc.says)
		})
	}
	_, err := prism.FromFile(t.Context(), filepath.Join(dir, "none.yaml"))
	require.ErrorIs(t, err, prism.ErrInvalid)
}

func TestAPluginIsGivenWhatAProgramSays(t *testing.T) {
	cfg := quiet()
	dir := t.TempDir()
	toyIn(t, dir)
	cfg.Backend, cfg.PluginDirs = "toy", []string{dir}
	cfg.BackendOptions = map[string]any{"password": "007", "wait": 90 * time.Second}
	c, err := prism.Open(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, c.Ready(t.Context()))
	require.NoError(t, c.Close(t.Context()))

	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	cfg.BackendOptions["password"] = "hunter2"
	_, err = prism.Open(t.Context(), cfg)
	require.ErrorIs(t, err, discovery.ErrPermission)
	assert.NotContains(t, err.Error()+log.String(), "hunter2")
}

func TestFault24ConcurrentFirstUsesGetTheOneClient(t *testing.T) {
	t.Cleanup(func() { assert.NoError(t, prism.Shutdown(context.Background())) })
	require.NoError(t, prism.Configure(quiet()))
	const uses = 16
	got := make([]*prism.Client, uses)
	var wg sync.WaitGroup
	for i := range uses {
		wg.Go(func() {
			c, err := prism.Default(t.Context())
			if assert.NoError(t, err) {
				assert.True(t, c.Status().Synced, "who gets it gets it initialised")
			}
			got[i] = c
		})
	}
	wg.Wait()
	for _, c := range got {
		assert.Same(t, got[0], c)
	}
}

func TestFault24AFailedStartIsNotCached(t *testing.T) {
	t.Cleanup(func() { assert.NoError(t, prism.Shutdown(context.Background())) })
	dir := t.TempDir()
	cfg := quiet()
	cfg.Backend, cfg.PluginDirs = "toy", []string{dir}
	cfg.BackendOptions = map[string]any{"password": "007", "wait": 90 * time.Second}
	require.NoError(t, prism.Configure(cfg))
	_, err := prism.Default(t.Context())
	require.ErrorIs(t, err, prism.ErrNotFound)
	toyIn(t, dir)
	c, err := prism.Default(t.Context())
	require.NoError(t, err)
	assert.NoError(t, c.Ready(t.Context()))
}

func TestFault24ALaterConfigurationIsNotIgnored(t *testing.T) {
	t.Cleanup(func() { assert.NoError(t, prism.Shutdown(context.Background())) })
	cfg := quiet()
	require.NoError(t, prism.Configure(cfg))
	other := cfg
	other.Namespace = "other"
	require.ErrorIs(t, prism.Configure(other), prism.ErrConflict)
	_, err := prism.Default(t.Context())
	require.NoError(t, err)
	require.NoError(t, prism.Configure(cfg), "the same again is fine")
	require.ErrorIs(t, prism.Configure(other), prism.ErrConflict)
	require.NoError(t, prism.Shutdown(t.Context()))
	require.NoError(t, prism.Configure(other))
	c, err := prism.Default(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "other", c.Status().Namespace)
}

func TestTheDefaultClientReadsTheUsualFile(t *testing.T) {
	t.Cleanup(func() { assert.NoError(t, prism.Shutdown(context.Background())) })
	dir := t.TempDir()
	t.Setenv("PRISM_CONFIG", filepath.Join(dir, "none.yaml"))
	_, err := prism.Default(t.Context())
	require.ErrorIs(t, err, prism.ErrInvalid)
	t.Setenv("PRISM_CONFIG", write(t, dir, "wrong.yaml", "backend: nosuch\n"))
	_, err = prism.Default(t.Context())
	require.ErrorIs(t, err, prism.ErrNotFound)
	t.Setenv("PRISM_CONFIG", write(t, dir, "prism.yaml", "backend_config: {namespace: testing}\nserver: {drain_timeout: 0}\n"))
	c, err := prism.Default(t.Context())
	require.NoError(t, err, "the file that failed is not remembered")
	assert.Equal(t, "testing", c.Status().Namespace)
	require.ErrorIs(t, prism.Configure(quiet()), prism.ErrConflict, "too late")
}

func TestWhoWaitsForTheDefaultClientMayGiveUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, prism.Configure(quiet()))
	t.Cleanup(func() { assert.NoError(t, prism.Shutdown(context.Background())) })
	_, err := prism.Default(ctx)
	require.Error(t, err)
	_, err = prism.Default(t.Context())
	require.NoError(t, err)
}

func TestConvenienceFunctionsTellErrorsApart(t *testing.T) {
	require.NoError(t, prism.Configure(quiet()))
	t.Cleanup(func() { assert.NoError(t, prism.Shutdown(context.Background())) })
	ctx := t.Context()
	list, err := prism.Discover(ctx, "nobody")
	require.NoError(t, err)
	assert.Empty(t, list)
	_, err = prism.URL(ctx, "nobody")
	require.ErrorIs(t, err, prism.ErrNotFound)
	_, err = prism.Register(ctx, prism.Spec{Service: "api", Host: "::1", Port: 80, Status: "maintenance"})
	require.NoError(t, err)
	_, err = prism.URL(ctx, "api")
	require.ErrorIs(t, err, prism.ErrNoEligible)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = prism.Wait(short, "api")
	require.ErrorIs(t, err, prism.ErrNoEligible)
	_, err = prism.Discover(ctx, strings.Repeat("x", 129))
	require.ErrorIs(t, err, prism.ErrInvalid)
}
