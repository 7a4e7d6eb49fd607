package nats

// plugin.go: the backend as a plugin serves it.

import (
	"github.com/marketprism/prism/adapters/pluginrpc"
)

// Plugin is what the backend's program serves.
func Plugin() pluginrpc.Plugin {
	return pluginrpc.PluginOf(Info(), Schema(), Open)
}
