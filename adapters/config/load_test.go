package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/core"
)

func TestNothingGivenIsTheDocumentedDefaults(t *testing.T) {
	l, err := config.Load(config.LoadOptions{WorkDir: t.TempDir()})
	require.NoError(t, err)
	assert.Equal(t, config.Default(), l.Config)
	assert.Empty(t, l.FilesRead)
	assert.Empty(t, l.Notices)
	require.NoError(t, l.Validate())
	c := l.Config
	assert.Equal(t, "memory", c.Backend)
	assert.Equal(t, 30*time.Second, c.HealthCheckInterval)
	assert.Equal(t, 300*time.Second, c.InstanceTTL)
	assert.Equal(t, 15*time.Second, c.SessionTTL)
	assert.Equal(t, 60*time.Second, c.CleanupInterval)
	assert.True(t, c.AutoRegister && c.AutoDeregister)
	assert.Equal(t, config.LoadBalancing{Strategy: "weighted_round_robin", HealthCheckRequired: true}, c.LoadBalancing)
	assert.Equal(t, config.Events{EnableLogging: true, EnableMetrics: true, History: 4096}, c.Events)
	assert.Equal(t, config.Server{HTTP: "127.0.0.1:8640", GRPC: "127.0.0.1:8641", DNSDomain: "prism", DrainTimeout: 5 * time.Second}, c.Server)
	assert.Equal(t, 3, c.Network.Retry.MaxAttempts)
	assert.Equal(t, core.StandardDefaults(), c.InstanceDefaults(), "the core's own defaults are the same")
}

// TestLaterLayersWin sets one key in every layer and takes the layers away one by one.
func TestLaterLayersWin(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	require.NoError(t, os.WriteFile(first, []byte("instance_ttl: 11\nsession_ttl: 7\n"), 0o600))
	require.NoError(t, os.WriteFile(second, []byte("instance_ttl: 12\nenvironments:\n  testing: {instance_ttl: 13}\n"), 0o600))
	full := config.LoadOptions{
		Files: []string{first, second}, Environment: "testing", Env: []string{"PRISM_INSTANCE_TTL=14"},
		Flags: map[string]any{"instance_ttl": 15}, Set: []string{"instance_ttl=16", "instance_ttl=17"},
	}
	steps := []struct {
		name   string
		take   func(*config.LoadOptions)
		want   time.Duration
		layer  config.Layer
		origin string
	}{
		{"--set, the last", func(*config.LoadOptions) {}, 17, config.LayerFlag, "--set"},
		{"a flag", func(o *config.LoadOptions) { o.Set = nil }, 15, config.LayerFlag, "--instance_ttl"},
		{"a variable", func(o *config.LoadOptions) { o.Flags = nil }, 14, config.LayerEnvironment, "PRISM_INSTANCE_TTL"},
		{"the profile", func(o *config.LoadOptions) { o.Env = nil }, 13, config.LayerProfile, second + ":3"},
		{"the last file", func(o *config.LoadOptions) { o.Environment = "" }, 12, config.LayerFile, second + ":1"},
		{"the first file", func(o *config.LoadOptions) { o.Files = []string{first} }, 11, config.LayerFile, first + ":1"},
		{"the default", func(o *config.LoadOptions) { o.Files, o.WorkDir = nil, t.TempDir() }, 300, config.LayerDefault, ""},
	}
	o := full
	for _, step := range steps {
		step.take(&o)
		l, err := config.Load(o)
		require.NoError(t, err, step.name)
		assert.Equal(t, step.want*time.Second, l.Config.InstanceTTL, step.name)
		src := l.Sources["instance_ttl"]
		assert.Equal(t, step.layer, src.Layer, step.name)
		assert.Equal(t, step.origin, src.String(), step.name)
		if len(o.Files) > 0 {
			assert.Equal(t, 7*time.Second, l.Config.SessionTTL, "what no later layer sets stays")
		}
	}
}

func TestWhereFilesAreLookedFor(t *testing.T) {
	work, user, system := t.TempDir(), t.TempDir(), t.TempDir()
	put := func(parts ...string) string {
		name := filepath.Join(parts...)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte("instance_ttl: 9\n"), 0o600))
		return name
	}
	// From the least to the most wanted: each is found although those before exist.
	places := []string{
		put(system, "prism", "prism.yaml"),
		put(user, "prism", "prism.yaml"),
	}
	o := config.LoadOptions{WorkDir: work, UserConfigDir: user, SystemConfigDir: system}
	read := func() []string {
		l, err := config.Load(o)
		require.NoError(t, err)
		return l.FilesRead
	}
	assert.Equal(t, places[1:], read())
	require.NoError(t, os.Remove(places[1]))
	assert.Equal(t, places[:1], read())
	near := put(work, "prism.yaml")
	assert.Equal(t, []string{near}, read())
	old := put(work, "config", "service_discovery.yaml")
	assert.Equal(t, []string{old}, read(), "only the first that exists")
	other := put(work, "other.yaml")
	o.Env = []string{"PRISM_CONFIG=other.yaml"}
	assert.Equal(t, []string{other}, read(), "relative to the working folder")
	o.Files = []string{near}
	assert.Equal(t, []string{near}, read())
}

func TestAPathThroughAFileIsNoFile(t *testing.T) {
	user := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(user, "prism"), []byte("not a folder\n"), 0o600))
	l, err := config.Load(config.LoadOptions{WorkDir: t.TempDir(), UserConfigDir: user})
	require.NoError(t, err)
	assert.Empty(t, l.FilesRead)

	named := filepath.Join(user, "prism", "prism.yaml")
	_, err = config.Load(config.LoadOptions{Files: []string{named}})
	require.ErrorIs(t, err, core.ErrInvalid)
	require.ErrorContains(t, err, named+": there is no such file")
}

func TestProfiles(t *testing.T) {
	const yaml = `
environment: "${STAGE:-}"
instance_ttl: 100
environments:
  development: {instance_ttl: 60, server: {http: "127.0.0.1:1"}}
  production:
    instance_ttl: 200
    services: {api: {weight: 5}}
    logging: {level: error}
  empty:
`
	t.Run("none", func(t *testing.T) {
		l := load(t, yaml)
		assert.Equal(t, 100*time.Second, l.Config.InstanceTTL)
		assert.Empty(t, l.Config.Environment)
	})
	t.Run("by the file, with a variable", func(t *testing.T) {
		l := load(t, yaml, env("STAGE=production"))
		assert.Equal(t, "production", l.Config.Environment)
		assert.Equal(t, 200*time.Second, l.Config.InstanceTTL)
		assert.Equal(t, "error", l.Config.Logging.Level)
		assert.Contains(t, l.Config.Services, "api")
	})
	t.Run("the variable wins over the file, the flag over both", func(t *testing.T) {
		stage := env("STAGE=production", "PRISM_ENVIRONMENT=development")
		l := load(t, yaml, stage)
		assert.Equal(t, "127.0.0.1:1", l.Config.Server.HTTP)
		l = load(t, yaml, stage, func(o *config.LoadOptions) { o.Environment = "production" })
		assert.Equal(t, 200*time.Second, l.Config.InstanceTTL)
		l = load(t, yaml, stage, set("environment=production"))
		assert.Equal(t, 200*time.Second, l.Config.InstanceTTL)
		l = load(t, yaml, env("SERVICE_DISCOVERY_ENVIRONMENT=development"))
		assert.Equal(t, 60*time.Second, l.Config.InstanceTTL)
	})
	t.Run("of which nothing is said", func(t *testing.T) {
		assert.Equal(t, 100*time.Second, load(t, yaml, set("environment=empty")).Config.InstanceTTL)
	})
	t.Run("unknown", func(t *testing.T) {
		msg := fails(t, yaml, set("environment=prod"))
		assert.Equal(t, `--set: environment: "prod" is not allowed; there is no such profile; use development, empty, production`, msg)
		assert.Contains(t, fails(t, "environment: x\n"), "prism.yaml:1: environment: \"x\" is not allowed; there are no profiles")
	})
	t.Run("one does not choose another", func(t *testing.T) {
		assert.Contains(t, fails(t, "environments:\n  a:\n    environment: b\n"), ":3: environments.a.environment: there is no such key")
	})
	t.Run("its faults name its own line and key", func(t *testing.T) {
		msg := fails(t, "environments:\n  a:\n    instance_ttl: soon\n", set("environment=a"))
		assert.Contains(t, msg, `prism.yaml:3: environments.a.instance_ttl: "soon" is not allowed`)
		_ = load(t, "environments:\n  a:\n    instance_ttl: soon\n")
	})
}

func TestSectionsInsideOrBeside(t *testing.T) {
	inside := load(t, "service_discovery:\n  server: {http: '127.0.0.1:1'}\n  logging: {level: DEBUG}\n  services: {a: {weight: 1}}\n")
	beside := load(t, "server: {http: '127.0.0.1:1'}\nlogging: {level: DEBUG}\nservices: {a: {weight: 1}}\n")
	assert.Equal(t, inside.Config, beside.Config)
	assert.Equal(t, "DEBUG", beside.Config.Logging.Level)

	msg := fails(t, "service_discovery:\n  backend: memory\n  logging: {level: DEBUG}\n\nlogging: {format: text}\n")
	assert.Equal(t, 1, strings.Count(msg, "logging"))
	assert.Contains(t, msg, "prism.yaml:5: logging: it stands inside service_discovery and beside it, on lines 3 and 5; keep one of them")
}

func TestEveryFaultIsListed(t *testing.T) {
	msg := fails(t, "instance_tll: 1\nsecurty: {}\n")
	lines := strings.Split(msg, "\n")
	require.Len(t, lines, 2)
	assert.Contains(t, lines[0], ":1: instance_tll")
	assert.Contains(t, lines[1], ":2: securty")

	var many strings.Builder
	for i := range 30 {
		many.WriteString(strings.Repeat("x", i+1) + "q: 1\n")
	}
	assert.Contains(t, fails(t, many.String()), "and 20 more")
}

// TestTheDocumentedExample loads the example of the documentation and runs it as it is.
func TestTheDocumentedExample(t *testing.T) {
	o := config.LoadOptions{Files: []string{filepath.Join("testdata", "documented.yaml")}}
	l, err := config.Load(o)
	require.NoError(t, err)
	require.NoError(t, l.Validate())
	assert.Equal(t, map[string]any{"namespace": "prism", "url": "http://consul:8500", "datacenter": "dc1", "token": ""}, l.BackendOptions())
	require.Len(t, l.Config.Registrations(), 1)
	assert.Equal(t, "data-collector-service", l.Config.Registrations()[0].Service)

	// Where it shows defaults, they are the defaults.
	want := config.Default()
	assert.Equal(t, want.Server, l.Config.Server)
	assert.Equal(t, want.Events, l.Config.Events)
	assert.Equal(t, want.Network, l.Config.Network)
	assert.Equal(t, want.Security, l.Config.Security)
	assert.Equal(t, want.LoadBalancing, l.Config.LoadBalancing)
	assert.Equal(t, want.Monitoring, l.Config.Monitoring)

	o.Environment = "testing"
	l, err = config.Load(o)
	require.NoError(t, err)
	assert.Equal(t, "memory", l.Config.Backend)
	assert.Equal(t, 5*time.Second, l.Config.HealthCheckInterval)
}

func TestAFaultOfAProfilesServiceHasItsLine(t *testing.T) {
	msg := fails(t, "services: {s: {weight: 1}}\nenvironments:\n  dev:\n    services:\n      s:\n        weight: 70000\n", set("environment=dev"))
	assert.Contains(t, msg, "prism.yaml:6: services.s.weight: 70000 is not allowed")
}
