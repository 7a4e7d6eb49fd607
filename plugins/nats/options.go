package nats

// options.go: what people configure, checked before anything is asked of NATS.

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	defaultURL  = "nats://127.0.0.1:4222"
	defaultPort = 4222
	maxReplicas = 5
)

// Options of the backend.
type Options struct {
	backendkit.TLS

	// Namespace names the stream and its subjects, "prism" where it is empty.
	Namespace string `json:"namespace"`
	// URL is one server or several with commas, nats://127.0.0.1:4222 where it is empty. tls
	// encrypts; all are nats or all are tls.
	URL string `json:"url"`
	// At most one of these ways to log in: User with Password, Token, CredsFile, NKeySeedFile.
	User         string `json:"user"`
	Password     string `json:"password"`
	Token        string `json:"token"`
	CredsFile    string `json:"creds_file"`
	NKeySeedFile string `json:"nkey_seed_file"`
	// Replicas is on how many servers of a cluster the stream lies, 1 to 5; 0 is 1. It counts when
	// the stream is made; one that is there keeps its own.
	Replicas int `json:"replicas"`
}

// Schema describes the options.
func Schema() []ports.Option {
	return append([]ports.Option{
		{Name: ports.OptionNamespace, Type: ports.OptionString, Default: pluginrpc.DefaultNamespace, Doc: "Names the JetStream stream (PRISM_namespace) and its subjects; it keeps environments apart."},
		{Name: "url", Type: ports.OptionString, Default: defaultURL, Doc: "Servers of the cluster, several separated by commas; nats, or tls for encryption."},
		{Name: "user", Type: ports.OptionString, Doc: "A user who may use the stream; see the README for the permissions."},
		{Name: "password", Type: ports.OptionString, Secret: true, Doc: "The user's password."},
		{Name: "token", Type: ports.OptionString, Secret: true, Doc: "The server's token, where it asks for one instead of a user."},
		{Name: "creds_file", Type: ports.OptionString, Doc: "Credentials file with a user's JWT and nkey, for servers with accounts of an operator."},
		{Name: "nkey_seed_file", Type: ports.OptionString, Doc: "File with the seed of a user's nkey."},
		{Name: "replicas", Type: ports.OptionInt, Default: "1", Doc: "On how many servers of a cluster the stream lies, 1 to 5; from 3 on acknowledged writes survive the loss of one. It counts when the stream is made."},
	}, backendkit.TLSOptions()...)
}

// settings are checked options.
type settings struct {
	names    layout
	servers  []*url.URL
	tls      *tls.Config   // nil for nats://
	login    []nats.Option // none or one
	logsIn   string        // the option that says how, for messages
	replicas int
}

func (o Options) settings() (settings, error) {
	s := settings{replicas: o.Replicas}
	namespace := o.Namespace
	if namespace == "" {
		namespace = pluginrpc.DefaultNamespace
	}
	err := core.ValidateName(backendkit.OptionField(ports.OptionNamespace), namespace)
	if err == nil {
		s.names, err = newLayout(namespace)
	}
	if err != nil {
		return settings{}, err
	}
	if s.replicas == 0 {
		s.replicas = 1
	}
	if s.replicas < 1 || s.replicas > maxReplicas {
		return settings{}, core.Invalid(backendkit.OptionField("replicas"), o.Replicas, fmt.Sprintf("use 1 to %d", maxReplicas))
	}
	if s.login, s.logsIn, err = o.login(); err != nil {
		return settings{}, err
	}
	if s.servers, err = o.servers(); err != nil {
		return settings{}, err
	}
	if s.servers[0].Scheme == "tls" {
		s.tls, err = o.Config()
		return s, err
	}
	if !o.IsZero() {
		return settings{}, core.Invalid(backendkit.OptionField("url"), s.servers[0], "ca_file, cert_file, key_file and server_name need a server of tls://; use one, or leave them out")
	}
	return s, nil
}

func (o Options) servers() ([]*url.URL, error) {
	text := o.URL
	if text == "" {
		text = defaultURL
	}
	all, err := backendkit.Endpoints("url", text, defaultPort, "nats", "tls")
	if err != nil {
		return nil, err
	}
	field := backendkit.OptionField("url")
	for _, u := range all {
		switch {
		case u.User != nil:
			return nil, core.Invalid(field, backendkit.Shown(u), "it holds a user or a token; give that in "+backendkit.OptionField("user")+" and "+backendkit.OptionField("password")+", or "+backendkit.OptionField("token"))
		case u.Scheme != all[0].Scheme:
			return nil, core.Invalid(field, backendkit.Shown(u), "all servers are nats:// or all are tls://, and "+backendkit.Shown(all[0])+" differs")
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			return nil, core.Invalid(field, backendkit.Shown(u), "it has a path or a query; use only scheme, host and port")
		}
		u.Path = ""
	}
	return all, nil
}

// login is the one way that is configured, and the option which says so.
func (o Options) login() ([]nats.Option, string, error) {
	var ways []string
	for _, w := range []struct{ option, value string }{
		{"user", o.User}, {"token", o.Token}, {"creds_file", o.CredsFile}, {"nkey_seed_file", o.NKeySeedFile},
	} {
		if w.value != "" {
			ways = append(ways, w.option)
		}
	}
	switch {
	case (o.User == "") != (o.Password == ""):
		return nil, "", &core.FieldError{Field: backendkit.OptionField("user"), Allowed: "it and password go together; give both or neither"}
	case len(ways) == 0:
		return nil, "", nil
	case len(ways) > 1:
		return nil, "", &core.FieldError{Field: backendkit.OptionField(ways[1]), Allowed: "it is set and " + ways[0] + " too; log in one way"}
	}
	switch ways[0] {
	case "user":
		return []nats.Option{nats.UserInfo(o.User, o.Password)}, "user", nil
	case "token":
		return []nats.Option{nats.Token(o.Token)}, "token", nil
	case "creds_file":
		if err := readable("creds_file", o.CredsFile); err != nil {
			return nil, "", err
		}
		return []nats.Option{nats.UserCredentials(o.CredsFile)}, "creds_file", nil
	}
	if err := readable("nkey_seed_file", o.NKeySeedFile); err != nil {
		return nil, "", err
	}
	seed, err := nats.NkeyOptionFromSeed(o.NKeySeedFile)
	if err != nil { // Its text might repeat what the file holds.
		return nil, "", core.Invalid(backendkit.OptionField("nkey_seed_file"), o.NKeySeedFile, "it holds no seed of an nkey; such a file has one line that begins with SU")
	}
	return []nats.Option{seed}, "nkey_seed_file", nil
}

func readable(option, file string) error {
	f, err := os.Open(file) //nolint:gosec // The one who configures the backend names it.
	if err != nil {
		reason := err
		if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // os.Open gives it bare.
			reason = pe.Err
		}
		return core.Invalid(backendkit.OptionField(option), file, fmt.Sprintf("it cannot be read: %s", reason))
	}
	return f.Close()
}
