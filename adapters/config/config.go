// Package config reads Prism's configuration: defaults, YAML files, a profile, environment
// variables and flags, each layer over the one before, into one typed Config. It remembers
// where each value came from, refuses what it does not know with the nearest key that it
// does, and says which keys have no effect.
//
// Load does it all and starts nothing. Values of this package are not safe for concurrent
// writes; nothing here starts a goroutine.
package config

import (
	"time"

	"github.com/marketprism/prism/core"
)

// Config is the whole configuration, typed and with defaults in force. The tag koanf is the
// key in the file; the tag secret marks values that are never shown.
type Config struct {
	// Environment is the profile that was chosen; "" for none.
	Environment string `koanf:"environment"`
	// Backend is memory, consul, etcd, nats, redis or the name of any plugin found. Default memory.
	Backend string `koanf:"backend"`
	// BackendConfig holds the options of the selected backend, flat, and "namespace".
	BackendConfig map[string]any `koanf:"backend_config"`
	// Plugin says where the backend's executable is.
	Plugin Plugin `koanf:"plugin"`
	// HealthCheckInterval is the time between two checks of an instance. Default 30 s; 1 s to 1 day.
	HealthCheckInterval time.Duration `koanf:"health_check_interval"`
	// InstanceTTL is what a client's heartbeats must keep within. Default 300 s; 2 to 86,400 s.
	InstanceTTL time.Duration `koanf:"instance_ttl"`
	// SessionTTL bounds how long a dead process's instances stay. Default 15 s; 2 to 86,400 s.
	SessionTTL time.Duration `koanf:"session_ttl"`
	// CleanupInterval is the time between two audits of the store. Default 60 s; 1 s to 1 day.
	CleanupInterval time.Duration `koanf:"cleanup_interval"`
	// ProtectThreshold is the share of a service's instances that may expire within 30 s before
	// the rest of them are kept as suspect. Default 0.5; 0 is off, at most 1.
	ProtectThreshold float64 `koanf:"protect_threshold"`
	// AutoRegister registers the services below that have an address. Default true.
	AutoRegister bool `koanf:"auto_register"`
	// AutoDeregister drains and deregisters them when the host leaves. Default true.
	AutoDeregister bool          `koanf:"auto_deregister"`
	LoadBalancing  LoadBalancing `koanf:"load_balancing"`
	Checks         Checks        `koanf:"checks"`
	Events         Events        `koanf:"events"`
	Server         Server        `koanf:"server"`
	// Services are registrations (with an address) and defaults (without one), by service name.
	Services   map[string]Service `koanf:"services"`
	Network    Network            `koanf:"network"`
	Security   Security           `koanf:"security"`
	Logging    Logging            `koanf:"logging"`
	Monitoring Monitoring         `koanf:"monitoring"`
}

// Plugin says where plugins are and which executable is meant.
type Plugin struct {
	Dirs   []string `koanf:"dirs"`   // searched for prism-backend-NAME, in order
	File   string   `koanf:"file"`   // the executable itself; wins over Dirs
	SHA256 string   `koanf:"sha256"` // 64 hexadecimal digits that the executable must have
}

// LoadBalancing says how a pick is made.
type LoadBalancing struct {
	Strategy            string `koanf:"strategy"`              // default weighted_round_robin
	HealthCheckRequired bool   `koanf:"health_check_required"` // default true
}

// Checks bounds what a registration may ask of the host that checks it.
type Checks struct {
	AllowExec       bool `koanf:"allow_exec"`        // checks that run a command; default false
	AllowOtherHosts bool `koanf:"allow_other_hosts"` // a health_check_url of another host; default false
}

// Events says what becomes of events.
type Events struct {
	EnableLogging bool   `koanf:"enable_logging"` // a log line each; default true
	EnableMetrics bool   `koanf:"enable_metrics"` // counted; default true
	History       int    `koanf:"history"`        // events kept; default 4,096; 1 to 1,048,576
	File          string `koanf:"file"`           // JSON-lines file; "" for none
}

// Server says where the host listens. An empty address turns a listener off.
type Server struct {
	HTTP         string        `koanf:"http"`          // default 127.0.0.1:8640
	GRPC         string        `koanf:"grpc"`          // default 127.0.0.1:8641
	DNS          string        `koanf:"dns"`           // default off
	DNSDomain    string        `koanf:"dns_domain"`    // default prism
	Advertise    string        `koanf:"advertise"`     // the host that replaces a wildcard; "" finds it
	DrainTimeout time.Duration `koanf:"drain_timeout"` // default 5 s; 0 to 3,600 s
	DataDir      string        `koanf:"data_dir"`      // "" is the user's state folder
	Insecure     bool          `koanf:"insecure"`      // listen beyond loopback without authentication; default false
}

// Network holds timeouts.
type Network struct {
	HealthCheckEndpoint string        `koanf:"health_check_endpoint"` // path of the default check; default /health
	ConnectionTimeout   time.Duration `koanf:"connection_timeout"`    // of one health check; default 10 s; 10 ms to 3,600 s
	RequestTimeout      time.Duration `koanf:"request_timeout"`       // no effect any more; default 30 s; 10 ms to 3,600 s
	Retry               Retry         `koanf:"retry"`
}

// Retry says how often and how fast to try again.
type Retry struct {
	MaxAttempts   int           `koanf:"max_attempts"`   // default 3; 0 to 100
	BackoffFactor float64       `koanf:"backoff_factor"` // default 2; 1 to 100
	MaxDelay      time.Duration `koanf:"max_delay"`      // default 60 s; 0 to 86,400 s
}

// Security protects the listeners.
type Security struct {
	EnableTLS bool `koanf:"enable_tls"` // default false
	TLS       TLS  `koanf:"tls"`
	Auth      Auth `koanf:"auth"`
}

// TLS names PEM files.
type TLS struct {
	CertFile string `koanf:"cert_file"`
	KeyFile  string `koanf:"key_file"`
	CAFile   string `koanf:"ca_file"`
}

// Auth says who may call.
type Auth struct {
	Enable   bool   `koanf:"enable"` // default false
	Type     string `koanf:"type"`   // token (default) or basic
	Token    string `koanf:"token" secret:"true"`
	Username string `koanf:"username"`
	Password string `koanf:"password" secret:"true"`
	Tokens   []any  `koanf:"tokens" secret:"true"`
}

// Logging says what is logged and how.
type Logging struct {
	Level            string              `koanf:"level"`  // DEBUG, INFO (default), WARNING, ERROR or CRITICAL
	Format           string              `koanf:"format"` // json (default) or text
	EnableStructured bool                `koanf:"enable_structured"`
	Fields           map[string]LogField `koanf:"fields"`
}

// LogField shows or hides an attribute of log lines, or adds one.
type LogField struct {
	Show  bool   // false hides the attribute
	Value string // not empty: an attribute of this value is added
}

// Monitoring says what is measured.
type Monitoring struct {
	EnableMetrics   bool            `koanf:"enable_metrics"`   // default true
	MetricsEndpoint string          `koanf:"metrics_endpoint"` // default /metrics
	MetricsLabels   map[string]bool `koanf:"metrics_labels"`   // default service true, instance false
	CustomMetrics   []CustomMetric  `koanf:"custom_metrics"`
}

// CustomMetric describes a metric that exists.
type CustomMetric struct {
	Name        string `koanf:"name"`
	Type        string `koanf:"type"`
	Description string `koanf:"description"`
}

// DefaultNamespace is backend_config.namespace when nothing sets it.
const DefaultNamespace = "prism"

// Default returns the configuration that an empty file gives.
func Default() Config {
	return Config{
		Backend:             "memory",
		BackendConfig:       map[string]any{"namespace": DefaultNamespace},
		Plugin:              Plugin{Dirs: []string{}},
		HealthCheckInterval: 30 * time.Second,
		InstanceTTL:         300 * time.Second,
		SessionTTL:          15 * time.Second,
		CleanupInterval:     60 * time.Second,
		ProtectThreshold:    0.5,
		AutoRegister:        true,
		AutoDeregister:      true,
		LoadBalancing:       LoadBalancing{Strategy: "weighted_round_robin", HealthCheckRequired: true},
		Events:              Events{EnableLogging: true, EnableMetrics: true, History: 4096},
		Server: Server{
			HTTP: "127.0.0.1:8640", GRPC: "127.0.0.1:8641", DNSDomain: "prism", DrainTimeout: 5 * time.Second,
		},
		Services: map[string]Service{},
		Network: Network{
			HealthCheckEndpoint: "/health", ConnectionTimeout: 10 * time.Second, RequestTimeout: 30 * time.Second,
			Retry: Retry{MaxAttempts: 3, BackoffFactor: 2, MaxDelay: 60 * time.Second},
		},
		Security: Security{Auth: Auth{Type: "token", Tokens: []any{}}},
		Logging:  Logging{Level: "INFO", Format: "json", EnableStructured: true, Fields: map[string]LogField{}},
		Monitoring: Monitoring{
			EnableMetrics: true, MetricsEndpoint: "/metrics",
			MetricsLabels: map[string]bool{"service": true, "instance": false}, CustomMetrics: []CustomMetric{},
		},
	}
}

// Namespace is backend_config.namespace.
func (c Config) Namespace() string {
	if ns, ok := c.BackendConfig["namespace"].(string); ok && ns != "" {
		return ns
	}
	return DefaultNamespace
}

// InstanceDefaults is what the host adds to a registration. CallerHost and Keepalive are the
// caller's to set.
func (c Config) InstanceDefaults() core.Defaults {
	return core.Defaults{
		Namespace: c.Namespace(), TTL: c.InstanceTTL, Keepalive: core.KeepaliveClient, CheckInterval: c.HealthCheckInterval,
		CheckTimeout: c.Network.ConnectionTimeout, HealthPath: c.Network.HealthCheckEndpoint,
		AllowForeignHealthURL: c.Checks.AllowOtherHosts, AllowExec: c.Checks.AllowExec,
	}
}
