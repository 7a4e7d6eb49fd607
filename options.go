package prism

// options.go: from a Config to what the core and the plugin host take. cmd/prism uses these
// too, so that an embedded client and a host read one configuration alike.

import (
	"cmp"
	"net"
	"time"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/adapters/probe"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// Options returns what the Config comes to for discovery.Open, for programs that open the
// backend and observe the client themselves.
func (c Config) Options() ([]discovery.Option, error) {
	namespace, err := c.namespace()
	if err != nil {
		return nil, err
	}
	std := core.StandardDefaults()
	opts := []discovery.Option{
		discovery.WithDefaults(core.Defaults{
			Namespace: namespace, Keepalive: std.Keepalive, CallerHost: cmp.Or(c.Advertise, machineAddress()),
			TTL: cmp.Or(c.InstanceTTL, std.TTL), CheckInterval: cmp.Or(c.CheckInterval, std.CheckInterval),
			CheckTimeout: cmp.Or(c.CheckTimeout, std.CheckTimeout), HealthPath: cmp.Or(c.HealthPath, std.HealthPath),
			AllowForeignHealthURL: c.AllowOtherHosts, AllowExec: c.AllowExec,
		}),
		discovery.WithPolicy(c.Strategy), discovery.WithHealthCheckRequired(!c.IgnoreHealth),
		discovery.WithAutoDeregister(!c.KeepOnClose), discovery.WithServiceDefaults(c.ServiceDefaults),
		discovery.WithLogger(c.logger()),
	}
	for _, d := range []struct {
		value time.Duration
		with  func(time.Duration) discovery.Option
	}{
		{c.SessionTTL, discovery.WithSessionTTL}, {c.CleanupInterval, discovery.WithCleanupInterval}, {c.DrainTimeout, discovery.WithDrainTimeout},
	} {
		if d.value != 0 {
			opts = append(opts, d.with(max(d.value, 0)))
		}
	}
	if c.ProtectThreshold != 0 {
		opts = append(opts, discovery.WithProtectThreshold(max(c.ProtectThreshold, 0)))
	}
	if c.History != 0 {
		opts = append(opts, discovery.WithHistory(c.History))
	}
	if c.Program != "" {
		opts = append(opts, discovery.WithProgram(c.Program))
	}
	if !c.NoChecks {
		opts = append(opts, discovery.WithProber(probe.New(probe.Options{AllowExec: c.AllowExec, AllowOtherHosts: c.AllowOtherHosts})))
	}
	return opts, nil
}

// ConfigOf translates a configuration that was read from files, variables and flags. Services
// with an address are the host's to register; those without one become ServiceDefaults.
func ConfigOf(loaded *config.Loaded) Config {
	in, options := loaded.Config, loaded.BackendOptions()
	delete(options, optionNamespace) // it stands in Namespace, where it may be changed
	c := Config{
		Backend: in.Backend, BackendOptions: options, Namespace: in.Namespace(),
		PluginDirs: in.Plugin.Dirs, PluginFile: in.Plugin.File, PluginSHA256: in.Plugin.SHA256,
		SessionTTL: in.SessionTTL, DrainTimeout: orNone(in.Server.DrainTimeout), KeepOnClose: !in.AutoDeregister,
		Advertise: in.Server.Advertise, Strategy: in.LoadBalancing.Strategy, IgnoreHealth: !in.LoadBalancing.HealthCheckRequired,
		CheckInterval: in.HealthCheckInterval, CheckTimeout: in.Network.ConnectionTimeout, HealthPath: in.Network.HealthCheckEndpoint,
		AllowExec: in.Checks.AllowExec, AllowOtherHosts: in.Checks.AllowOtherHosts, InstanceTTL: in.InstanceTTL,
		CleanupInterval: in.CleanupInterval, ProtectThreshold: orNone(in.ProtectThreshold), History: in.Events.History,
		ServiceDefaults: in.ServiceDefaults(), loaded: loaded,
	}
	return c
}

// orNone turns a 0 that was asked for into the value that says so in a Config.
func orNone[T time.Duration | float64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

func (c Config) backend() string { return cmp.Or(c.Backend, memoryName) }

// namespace settles the two places where it may stand.
func (c Config) namespace() (string, error) {
	option, given := c.BackendOptions[optionNamespace]
	if !given || option == "" {
		return cmp.Or(c.Namespace, config.DefaultNamespace), nil
	}
	name, ok := option.(string)
	switch {
	case !ok:
		return "", core.Invalid("backend_config.namespace", option, "use text")
	case c.Namespace != "" && c.Namespace != name:
		return "", core.Invalid("namespace", c.Namespace, "the backend's options say "+name+"; give it once")
	}
	return name, nil
}

// machineAddress is the first address of this machine that others can reach, IPv4 before
// IPv6; "" where there is none.
func machineAddress() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var six string
	for _, a := range addresses {
		network, ok := a.(*net.IPNet)
		if !ok || !network.IP.IsGlobalUnicast() {
			continue
		}
		if network.IP.To4() != nil {
			return network.IP.String()
		}
		six = cmp.Or(six, network.IP.String())
	}
	return six
}
