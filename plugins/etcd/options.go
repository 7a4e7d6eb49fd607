package etcd

// options.go: what people configure, and the client's configuration that it comes to.

import (
	"context"
	"crypto/tls"
	"net/url"
	"strings"
	"time"

	"go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	defaultURL  = "http://127.0.0.1:2379"
	defaultPort = 2379
)

// Options of the backend.
type Options struct {
	backendkit.TLS

	// Namespace is what every key begins with, "prism" where it is empty.
	Namespace string `json:"namespace"`
	// URL is one endpoint or several with commas; URLs are further ones. With neither it is
	// http://127.0.0.1:2379. https encrypts; all are http or all are https.
	URL  string   `json:"url"`
	URLs []string `json:"urls"`
	// Username and Password are those of an etcd user; both or neither.
	Username string `json:"username"`
	Password string `json:"password"`
}

// Schema describes the options.
func Schema() []ports.Option {
	return append([]ports.Option{
		{Name: ports.OptionNamespace, Type: ports.OptionString, Default: pluginrpc.DefaultNamespace, Doc: "What every key in etcd begins with; it keeps environments apart."},
		{Name: "url", Type: ports.OptionString, Doc: "Endpoints of the cluster's members, several separated by commas; http or https. " + defaultURL + " when this and urls are empty."},
		{Name: "urls", Type: ports.OptionList, Doc: "Further endpoints, as a list."},
		{Name: "username", Type: ports.OptionString, Doc: "An etcd user who may read and write the keys of the namespace; see the README for its role."},
		{Name: "password", Type: ports.OptionString, Secret: true, Doc: "The user's password."},
	}, backendkit.TLSOptions()...)
}

// settings are checked options.
type settings struct {
	keys      layout
	endpoints []*url.URL
	tls       *tls.Config // nil for http
	username  string
	password  string
}

func (o Options) settings() (settings, error) {
	s := settings{username: o.Username, password: o.Password}
	namespace := o.Namespace
	if namespace == "" {
		namespace = pluginrpc.DefaultNamespace
	}
	if err := core.ValidateName(backendkit.OptionField(ports.OptionNamespace), namespace); err != nil {
		return settings{}, err
	}
	s.keys = layout(namespace + "/")
	if (o.Username == "") != (o.Password == "") {
		return settings{}, &core.FieldError{Field: backendkit.OptionField("username"), Allowed: "it and password go together; give both or neither"}
	}
	var err error
	if s.endpoints, err = o.endpoints(); err != nil {
		return settings{}, err
	}
	if s.endpoints[0].Scheme == "http" {
		if !o.IsZero() {
			return settings{}, core.Invalid(backendkit.OptionField("url"), s.endpoints[0], "ca_file, cert_file, key_file and server_name need an endpoint of https; use one, or leave them out")
		}
		return s, nil
	}
	s.tls, err = o.Config()
	return s, err
}

func (o Options) endpoints() ([]*url.URL, error) {
	option, text := "url", o.URL
	if text == "" && len(o.URLs) == 0 {
		text = defaultURL
	}
	if text == "" {
		option = "urls"
	}
	all, err := backendkit.Endpoints(option, strings.Join(append([]string{text}, o.URLs...), ","), defaultPort, "http", "https")
	if err != nil {
		return nil, err
	}
	for _, u := range all {
		field := backendkit.OptionField(option)
		switch {
		case u.User != nil:
			return nil, core.Invalid(field, backendkit.Shown(u), "it holds a user; give that in "+backendkit.OptionField("username")+" and "+backendkit.OptionField("password"))
		case u.Scheme != all[0].Scheme:
			return nil, core.Invalid(field, backendkit.Shown(u), "all endpoints are http or all are https, and "+backendkit.Shown(all[0])+" differs")
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			return nil, core.Invalid(field, backendkit.Shown(u), "it has a path or a query; use only scheme, host and port")
		}
		u.Path = ""
	}
	return all, nil
}

const (
	// reconnectWithin bounds the pause between attempts to connect: the store's return shall show
	// within two seconds.
	reconnectWithin = time.Second
	connectTimeout  = 3 * time.Second
	// pingAfter is the least that gRPC takes; with pingTimeout it bounds how long a connection
	// whose other end is gone without a word is believed in.
	pingAfter   = 10 * time.Second
	pingTimeout = 3 * time.Second
)

// client connects lazily; the context bounds the login, where there is one.
func (s settings) client(ctx context.Context) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Context: context.WithoutCancel(ctx), TLS: s.tls, Username: s.username, Password: s.password, Logger: zap.NewNop(),
		DialKeepAliveTime: pingAfter, DialKeepAliveTimeout: pingTimeout, PermitWithoutStream: true,
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectWithin},
			MinConnectTimeout: connectTimeout,
		})},
	}
	for _, u := range s.endpoints {
		cfg.Endpoints = append(cfg.Endpoints, u.String())
	}
	if deadline, ok := ctx.Deadline(); ok {
		cfg.DialTimeout = max(time.Until(deadline), time.Millisecond)
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, fail(err)
	}
	return client, nil
}
