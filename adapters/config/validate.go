package config

// validate.go: what values are allowed, and which configurations may not be started.

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/prism/core"
)

// Strategies are the balancing strategies of this version, those of package core/balance.
func Strategies() []string {
	return []string{"weighted_round_robin", "round_robin", "weighted_random", "random"}
}

const day = 24 * time.Hour

var sha256Digits = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)

// checker collects the values that are not allowed.
type checker []*core.FieldError

func (c *checker) refuse(key string, given any, sentence string) {
	*c = append(*c, core.Invalid(key, given, sentence))
}

func (c *checker) keep(err error) {
	if fe, ok := errors.AsType[*core.FieldError](err); ok {
		*c = append(*c, fe)
	}
}

func (c *checker) duration(key string, v, least, most time.Duration) {
	if v < least || v > most {
		c.refuse(key, v, fmt.Sprintf("use %s to %s", words(least), words(most)))
	}
}

func (c *checker) number(key string, v, least, most float64) {
	if v < least || v > most {
		c.refuse(key, v, "use "+strconv.FormatFloat(least, 'f', -1, 64)+" to "+strconv.FormatFloat(most, 'f', -1, 64))
	}
}

func (c *checker) oneOf(key, v string, allowed []string) {
	if !slices.Contains(allowed, v) {
		c.refuse(key, v, "use "+strings.Join(allowed, ", "))
	}
}

func (c *checker) path(key, v string) {
	if !strings.HasPrefix(v, "/") || strings.ContainsAny(v, " ?#") || hasControl(v) {
		c.refuse(key, v, `use a path that begins with "/", such as /health`)
	}
}

// metricsPath keeps the metrics clear of what the host answers itself (adapters/inbound/httpapi) and
// of the marks of http.ServeMux.
func (c *checker) metricsPath(key, v string) {
	before := len(*c)
	if c.path(key, v); len(*c) > before {
		return
	}
	first, _, _ := strings.Cut(v[1:], "/")
	switch {
	case v == "/", slices.Contains([]string{"healthz", "readyz", "v1", "docs", "openapi.json", "openapi.yaml", "ui"}, first):
		c.refuse(key, v, "the host itself answers there; use another path, such as /metrics")
	case path.Clean(v) != v, strings.ContainsAny(v, "{}"):
		c.refuse(key, v, `use a path without "//", "." and "..", braces and a "/" at its end, such as /metrics`)
	}
}

// words writes a bound in seconds, or milliseconds below one.
func words(d time.Duration) string {
	if d > 0 && d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}

// check returns every value that is not allowed, in the order of the schema.
func (c Config) check(strategies []string) []*core.FieldError {
	var k checker
	k.keep(core.ValidateName("backend", c.Backend))
	k.keep(core.ValidateName("backend_config.namespace", fmt.Sprint(c.BackendConfig["namespace"])))
	if sum := c.Plugin.SHA256; sum != "" && !sha256Digits.MatchString(sum) {
		k.refuse("plugin.sha256", sum, "use the 64 hexadecimal digits that sha256sum prints")
	}
	k.duration("health_check_interval", c.HealthCheckInterval, time.Second, day)
	k.duration("instance_ttl", c.InstanceTTL, core.MinTTL, core.MaxTTL)
	k.duration("session_ttl", c.SessionTTL, core.MinTTL, core.MaxTTL)
	k.duration("cleanup_interval", c.CleanupInterval, time.Second, day)
	k.number("protect_threshold", c.ProtectThreshold, 0, 1)
	k.oneOf("load_balancing.strategy", c.LoadBalancing.Strategy, strategies)
	k.number("events.history", float64(c.Events.History), 1, 1<<20)
	c.checkServer(&k)
	k.path("network.health_check_endpoint", c.Network.HealthCheckEndpoint)
	k.duration("network.connection_timeout", c.Network.ConnectionTimeout, 10*time.Millisecond, time.Hour)
	k.duration("network.request_timeout", c.Network.RequestTimeout, 10*time.Millisecond, time.Hour)
	k.number("network.retry.max_attempts", float64(c.Network.Retry.MaxAttempts), 0, 100)
	k.number("network.retry.backoff_factor", c.Network.Retry.BackoffFactor, 1, 100)
	k.duration("network.retry.max_delay", c.Network.Retry.MaxDelay, 0, day)
	switch c.Security.Auth.Type {
	case "token", "basic":
	case "oauth2":
		k = append(k, &core.FieldError{Field: "security.auth.type", Allowed: "oauth2 is not supported; use token or basic", Kind: core.ErrUnsupported})
	default:
		k.refuse("security.auth.type", c.Security.Auth.Type, "use token or basic")
	}
	if _, ok := c.Logging.level(); !ok {
		k.refuse("logging.level", c.Logging.Level, "use DEBUG, INFO, WARNING, ERROR or CRITICAL")
	}
	k.oneOf("logging.format", c.Logging.Format, []string{"json", "text"})
	k.metricsPath("monitoring.metrics_endpoint", c.Monitoring.MetricsEndpoint)
	return k
}

func (c Config) checkServer(k *checker) {
	seen := map[string]string{}
	for _, l := range c.Server.listeners() {
		if l.address == "" {
			continue
		}
		host, port, err := net.SplitHostPort(l.address)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || portErr != nil {
			k.refuse(l.key, l.address, "use host:port such as 127.0.0.1:8640, port 0 for any that is free")
			continue
		}
		if _, err := core.NormaliseHost(l.key, host); host != "" && err != nil {
			k.keep(err)
			continue
		}
		if other, taken := seen[l.address]; taken && n != 0 {
			k.refuse(l.key, l.address, other+" has that address already; use another port")
		}
		seen[l.address] = l.key
	}
	if a := c.Server.Advertise; core.IsWildcard(a) {
		k.refuse("server.advertise", a, "a wildcard is not an address that others can reach; name one")
	} else if a != "" {
		_, err := core.NormaliseHost("server.advertise", a)
		k.keep(err)
	}
	k.duration("server.drain_timeout", c.Server.DrainTimeout, 0, time.Hour)
}

type listener struct{ key, address string }

func (s Server) listeners() []listener {
	return []listener{{"server.http", s.HTTP}, {"server.grpc", s.GRPC}, {"server.dns", s.DNS}}
}

// SlogLevel is the level for log/slog; CRITICAL is ERROR there.
func (l Logging) SlogLevel() slog.Level {
	level, _ := l.level() // INFO when it is none
	return level
}

func (l Logging) level() (slog.Level, bool) {
	switch strings.ToUpper(l.Level) {
	case "DEBUG":
		return slog.LevelDebug, true
	case "INFO":
		return slog.LevelInfo, true
	case "WARN", "WARNING":
		return slog.LevelWarn, true
	case "ERROR", "CRITICAL":
		return slog.LevelError, true
	}
	return slog.LevelInfo, false
}

// Validate says whether a host may start with this configuration: every value is allowed,
// nothing asks for a protection that this version lacks, and no listener is open to others
// without --insecure. The error has one sentence a line; each names a key and what to do.
func (c Config) Validate() error {
	var p problems
	for _, fe := range slices.Concat(c.check([]string{c.LoadBalancing.Strategy}), c.unsafe()) {
		p.add(Source{}, fe)
	}
	return p.err()
}

// unsafe returns what must not be started although it can be read.
func (c Config) unsafe() []*core.FieldError {
	var out []*core.FieldError
	unsupported := func(key, sentence string) {
		out = append(out, &core.FieldError{Field: key, Allowed: sentence, Kind: core.ErrUnsupported})
	}
	if c.Security.EnableTLS {
		unsupported("security.enable_tls", "TLS on the listeners is not built in this version; set it to false and keep the listeners on loopback, behind a proxy that speaks TLS")
	}
	const noAuth = "authentication is not built in this version; "
	if c.Security.Auth.Enable {
		unsupported("security.auth.enable", noAuth+"set it to false and keep the listeners on loopback")
	}
	if len(c.Security.Auth.Tokens) > 0 {
		unsupported("security.auth.tokens", noAuth+"leave them out and keep the listeners on loopback")
	}
	for _, l := range c.Server.listeners() {
		host, _, err := net.SplitHostPort(l.address)
		if l.key == "server.dns" || c.Server.Insecure || err != nil || core.IsLoopback(host) {
			continue
		}
		out = append(out, core.Invalid(l.key, l.address,
			"others could reach it, and nothing asks them who they are; use a loopback address such as 127.0.0.1:8640, or --insecure (server.insecure: true) on a network that you trust"))
	}
	return out
}

// Validate is Config.Validate with the file and line of each fault.
func (l *Loaded) Validate() error {
	var p problems
	for _, fe := range slices.Concat(l.Config.check([]string{l.Config.LoadBalancing.Strategy}), l.Config.unsafe()) {
		p.add(l.locate(fe))
	}
	return p.err()
}

// locate finds where the key of a fault was set.
func (l *Loaded) locate(fe *core.FieldError) (Source, error) { return l.Sources[fe.Field], fe }
