package prism

// backend.go: the store: memory, which is linked in, or a plugin.

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/adapters/telemetry"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/memory"
	"github.com/marketprism/prism/ports"
)

const (
	memoryName      = "memory"
	optionNamespace = ports.OptionNamespace
)

func (c Config) openMemory(ctx context.Context) (ports.Backend, error) {
	for _, name := range slices.Sorted(maps.Keys(c.BackendOptions)) {
		if name != optionNamespace {
			return nil, &core.FieldError{Field: "backend_config." + name, Allowed: "the memory backend has no such option; its only one is namespace"}
		}
	}
	namespace, err := c.namespace()
	if err != nil {
		return nil, err
	}
	return memory.Open(ctx, memory.Options{Namespace: namespace})
}

func (c Config) openPlugin(ctx context.Context, metrics *telemetry.Metrics) (ports.Backend, error) {
	launch, err := c.Launch()
	if err != nil {
		return nil, err
	}
	launch.Hooks = pluginhost.Hooks{Started: metrics.PluginStarted, Ended: metrics.PluginEnded, Dropped: metrics.PluginLogDropped}
	return pluginhost.Open(ctx, launch)
}

// Launch finds the backend's plugin and returns how to launch it, for programs that supervise
// it themselves. Options that came from a file are checked against the schema that the plugin
// declares, once its process has started; others it checks itself when it is opened.
func (c Config) Launch() (pluginhost.Launch, error) {
	path, err := pluginhost.Find(c.backend(), c.PluginFile, c.PluginDirs)
	if err != nil {
		return pluginhost.Launch{}, err
	}
	launch := pluginhost.Launch{Path: path, Name: c.backend(), SHA256: c.PluginSHA256, Logger: c.logger(), DialOptions: telemetry.DialOptions()}
	given, err := c.options()
	if err != nil {
		return launch, err
	}
	if c.loaded != nil && len(given) > 1 {
		launch.Resolve = func(schema []ports.Option) (json.RawMessage, error) { return c.loaded.ValidateOptions(schema, given) }
		return launch, nil
	}
	launch.Options, err = json.Marshal(given)
	if err != nil {
		err = &core.FieldError{Field: "backend_config", Allowed: "it cannot be written as JSON: " + err.Error()}
	}
	return launch, err
}

// options are those of the backend as they were given, and the namespace.
func (c Config) options() (map[string]any, error) {
	namespace, err := c.namespace()
	if err != nil {
		return nil, err
	}
	given := map[string]any{optionNamespace: namespace}
	for name, v := range c.BackendOptions {
		if d, ok := v.(time.Duration); ok {
			v = d.String()
		}
		given[name] = v
	}
	return given, nil
}
