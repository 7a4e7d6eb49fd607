package consul

// options.go: what can be configured, and the plugin that reads it.

import (
	"net/url"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	defaultURL  = "http://127.0.0.1:8500"
	defaultPort = 8500
)

// Options of the backend. The environment variables of Consul's own tools (CONSUL_HTTP_ADDR
// and so on) are not read: what is not given here is not sent.
type Options struct {
	Namespace string `json:"namespace"` // "prism" where it is empty
	// URL of a Consul agent or server; several, with commas, are tried in turn.
	URL             string `json:"url"`
	Token           string `json:"token"`
	Username        string `json:"username"`
	Password        string `json:"password"`
	Datacenter      string `json:"datacenter"`
	ConsulNamespace string `json:"consul_namespace"`
	Partition       string `json:"partition"`
	// Mirror is on where it is nil.
	Mirror *bool `json:"mirror"`
	Import bool  `json:"import"`
	backendkit.TLS
}

// Schema describes the options.
func Schema() []ports.Option {
	return append([]ports.Option{
		{Name: ports.OptionNamespace, Type: ports.OptionString, Default: pluginrpc.DefaultNamespace, Doc: "The first part of every key in Consul's KV store; it keeps the records of one environment apart from those of another."},
		{Name: "url", Type: ports.OptionString, Default: defaultURL, Doc: "Address of a Consul agent or server, http:// or https://; several, separated by commas, are tried in turn."},
		{Name: "token", Type: ports.OptionString, Secret: true, Doc: "ACL token (its SecretID). README.md lists the permissions that it needs."},
		{Name: "username", Type: ports.OptionString, Doc: "User for HTTP basic authentication, for a proxy before Consul that asks for it."},
		{Name: "password", Type: ports.OptionString, Secret: true, Doc: "Password that goes with username."},
		{Name: "datacenter", Type: ports.OptionString, Doc: "Datacenter to use; the agent's own when empty."},
		{Name: "consul_namespace", Type: ports.OptionString, Doc: "Namespace of Consul Enterprise to use."},
		{Name: "partition", Type: ports.OptionString, Doc: "Admin partition of Consul Enterprise to use."},
		{Name: "mirror", Type: ports.OptionBool, Default: "true", Doc: "Show the instances in Consul's catalog, and so in its UI, DNS and health API, on external nodes prism-NAMESPACE-00 to -3f."},
		{Name: "import", Type: ports.OptionBool, Default: "false", Doc: "Show the instances that others registered in Consul, read only, as those of the owner \"consul\"."},
	}, backendkit.TLSOptions()...)
}

// Plugin is the backend as a plugin.
func Plugin() pluginrpc.Plugin {
	return pluginrpc.PluginOf(Info(), Schema(), Open)
}

// complete fills in the defaults and checks what can be checked without Consul.
func (o *Options) complete() ([]*url.URL, error) {
	if o.Namespace == "" {
		o.Namespace = pluginrpc.DefaultNamespace
	}
	if err := core.ValidateName(backendkit.OptionField(ports.OptionNamespace), o.Namespace); err != nil {
		return nil, err
	}
	if o.URL == "" {
		o.URL = defaultURL
	}
	if o.Mirror == nil {
		o.Mirror = new(true)
	}
	urls, err := backendkit.Endpoints("url", o.URL, defaultPort, "http", "https")
	if err != nil {
		return nil, err
	}
	secure := false
	for _, u := range urls {
		secure = secure || u.Scheme == "https"
		if u.User == nil {
			continue
		}
		if o.Username != "" {
			return nil, &core.FieldError{Field: backendkit.OptionField("url"), Allowed: "it holds a user, and backend_config.username is given too; give one of them"}
		}
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	switch {
	case o.Password != "" && o.Username == "":
		return nil, &core.FieldError{Field: backendkit.OptionField("username"), Allowed: "it is empty and password is not; give both or neither"}
	case !secure && !o.IsZero():
		return nil, core.Invalid(backendkit.OptionField("url"), backendkit.Shown(urls[0]), "ca_file, cert_file, key_file and server_name are of no use without https; use https://HOST:PORT, or leave them out")
	}
	return urls, nil
}
