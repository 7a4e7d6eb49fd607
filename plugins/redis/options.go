package redis

// options.go: what people configure.

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	defaultURL          = "redis://127.0.0.1:6379"
	defaultPort         = 6379
	defaultSentinelPort = 26379
	// defaultLogLength is how many changes the log keeps: 16 MB of records of 1 KB.
	defaultLogLength = 16384
	// leastLogLength is about what one node of a stream holds, below which Redis does not trim.
	leastLogLength = 100
)

// Options of the backend.
type Options struct {
	backendkit.TLS

	// Namespace is in the name of every key, "prism" where it is empty.
	Namespace string `json:"namespace"`
	// URL is the server, or several nodes of a Redis Cluster with commas; rediss encrypts. With
	// neither URL nor Sentinels it is redis://127.0.0.1:6379.
	URL string `json:"url"`
	// Sentinels are asked where the primary called MasterName is; both or neither. Their scheme
	// is that of the servers too.
	Sentinels  []string `json:"sentinels"`
	MasterName string   `json:"master_name"`
	// Username is that of an ACL user; without it the password is that of requirepass.
	Username string `json:"username"`
	Password string `json:"password"`
	// SentinelPassword is what the sentinels ask for.
	SentinelUsername string `json:"sentinel_username"`
	SentinelPassword string `json:"sentinel_password"`
	// DB is the number of the logical database; 0 in a cluster.
	DB int `json:"db"`
	// LogLength is how many changes are kept at the least for watches to go on from; 0 is 16,384.
	LogLength int `json:"log_length"`
}

// Schema describes the options.
func Schema() []ports.Option {
	return append([]ports.Option{
		{Name: ports.OptionNamespace, Type: ports.OptionString, Default: pluginrpc.DefaultNamespace, Doc: "In the name of every key in Redis; it keeps environments apart."},
		{Name: "url", Type: ports.OptionString, Doc: "The server, or several nodes of a Redis Cluster separated by commas; redis or rediss (TLS). " + defaultURL + " when this and sentinels are empty."},
		{Name: "sentinels", Type: ports.OptionList, Doc: "Sentinels that know the primary, instead of url; redis or rediss (TLS, for the servers too)."},
		{Name: "master_name", Type: ports.OptionString, Doc: "What the sentinels call the primary."},
		{Name: "username", Type: ports.OptionString, Doc: "An ACL user; see the README for its permissions. Empty for the default user."},
		{Name: "password", Type: ports.OptionString, Secret: true, Doc: "The user's password, or that of requirepass."},
		{Name: "sentinel_username", Type: ports.OptionString, Doc: "An ACL user of the sentinels."},
		{Name: "sentinel_password", Type: ports.OptionString, Secret: true, Doc: "The password that the sentinels ask for."},
		{Name: "db", Type: ports.OptionInt, Default: "0", Doc: "The number of the logical database; a Redis Cluster has 0 alone."},
		{Name: "log_length", Type: ports.OptionInt, Default: fmt.Sprint(defaultLogLength), Doc: "How many changes the log keeps at the least, for watches to go on from; 100 or more."},
	}, backendkit.TLSOptions()...)
}

// settings are checked options.
type settings struct {
	Options

	keys      layout
	endpoints []*url.URL // of the servers, or of the sentinels
	tls       *tls.Config
	log       int
}

func (o Options) settings() (settings, error) {
	s := settings{Options: o, log: o.LogLength}
	namespace := o.Namespace
	if namespace == "" {
		namespace = pluginrpc.DefaultNamespace
	}
	if err := core.ValidateName(backendkit.OptionField(ports.OptionNamespace), namespace); err != nil {
		return settings{}, err
	}
	s.keys = newLayout(namespace)
	if s.log == 0 {
		s.log = defaultLogLength
	}
	switch {
	case o.Username != "" && o.Password == "":
		return settings{}, &core.FieldError{Field: backendkit.OptionField("password"), Allowed: "it is empty and username is not; give both, or a password alone for the default user"}
	case (len(o.Sentinels) == 0) != (o.MasterName == ""):
		return settings{}, &core.FieldError{Field: backendkit.OptionField("master_name"), Allowed: "it and sentinels go together; give both or neither"}
	case len(o.Sentinels) > 0 && o.URL != "":
		return settings{}, &core.FieldError{Field: backendkit.OptionField("url"), Allowed: "the sentinels say where the servers are; give url or sentinels, not both"}
	case len(o.Sentinels) == 0 && o.SentinelUsername+o.SentinelPassword != "":
		return settings{}, &core.FieldError{Field: backendkit.OptionField("sentinel_password"), Allowed: "there are no sentinels; give sentinels too, or leave it out"}
	case o.DB < 0:
		return settings{}, core.Invalid(backendkit.OptionField("db"), o.DB, "use 0 or more")
	case s.log < leastLogLength:
		return settings{}, core.Invalid(backendkit.OptionField("log_length"), o.LogLength, fmt.Sprintf("use %d or more, or leave it out for %d", leastLogLength, defaultLogLength))
	}
	var err error
	if s.endpoints, err = o.endpoints(); err != nil {
		return settings{}, err
	}
	if s.endpoints[0].Scheme == "redis" {
		if !o.IsZero() {
			return settings{}, core.Invalid(backendkit.OptionField(o.where()), s.endpoints[0], "ca_file, cert_file, key_file and server_name need rediss; use that scheme, or leave them out")
		}
		return s, nil
	}
	s.tls, err = o.Config()
	return s, err
}

// where is the option that says where the store is.
func (o Options) where() string {
	if len(o.Sentinels) > 0 {
		return "sentinels"
	}
	return "url"
}

func (o Options) endpoints() ([]*url.URL, error) {
	text, port := o.URL, defaultPort
	switch {
	case len(o.Sentinels) > 0:
		text, port = strings.Join(o.Sentinels, ","), defaultSentinelPort
	case text == "":
		text = defaultURL
	}
	all, err := backendkit.Endpoints(o.where(), text, port, "redis", "rediss")
	if err != nil {
		return nil, err
	}
	for _, u := range all {
		at := backendkit.OptionField(o.where())
		switch {
		case u.User != nil:
			return nil, core.Invalid(at, backendkit.Shown(u), "it holds a user; give that in "+backendkit.OptionField("username")+" and "+backendkit.OptionField("password"))
		case u.Scheme != all[0].Scheme:
			return nil, core.Invalid(at, backendkit.Shown(u), "all are redis or all are rediss, and "+backendkit.Shown(all[0])+" differs")
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			return nil, core.Invalid(at, backendkit.Shown(u), "it has a path or a query; use only scheme, host and port, and "+backendkit.OptionField("db")+" for a database")
		}
		u.Path = ""
	}
	return all, nil
}
