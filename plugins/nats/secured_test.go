package nats_test

// secured_test.go: every credential and TLS option against a server that asks for it.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/conformance/ways"
	prismnats "github.com/marketprism/prism/plugins/nats"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func serverCA(s *stores.Cluster) backendkit.TLS { return backendkit.TLS{CAFile: s.Certificates.CA} }

func bothCertificates(s *stores.Cluster) backendkit.TLS {
	return backendkit.TLS{CAFile: s.Certificates.CA, CertFile: s.Certificates.Cert, KeyFile: s.Certificates.Key}
}

func TestSecuredServers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options stores.Options
		with    func(s *stores.Cluster) prismnats.Options
	}{
		"the server's certificate": {stores.Options{TLS: stores.ServerTLS}, func(s *stores.Cluster) prismnats.Options {
			return prismnats.Options{TLS: serverCA(s)}
		}},
		"the server's certificate for another name": {stores.Options{TLS: stores.ServerTLS}, func(s *stores.Cluster) prismnats.Options {
			return prismnats.Options{TLS: backendkit.TLS{CAFile: s.Certificates.CA, ServerName: "localhost"}}
		}},
		"certificates of both": {stores.Options{TLS: stores.MutualTLS}, func(s *stores.Cluster) prismnats.Options {
			return prismnats.Options{TLS: bothCertificates(s)}
		}},
		"a password": {stores.Options{Auth: stores.Password}, func(s *stores.Cluster) prismnats.Options {
			return prismnats.Options{User: s.Credentials.User, Password: s.Credentials.Password}
		}},
		"a password over TLS, on three servers": {stores.Options{Auth: stores.Password, TLS: stores.ServerTLS, Nodes: 3}, func(s *stores.Cluster) prismnats.Options {
			return prismnats.Options{User: s.Credentials.User, Password: s.Credentials.Password, TLS: serverCA(s), Replicas: 3}
		}},
		"a token": {stores.Options{Auth: stores.Token}, func(s *stores.Cluster) prismnats.Options {
			return prismnats.Options{Token: s.Credentials.Token}
		}},
		"an nkey": {stores.Options{Auth: stores.NKey}, func(s *stores.Cluster) prismnats.Options {
			return prismnats.Options{NKeySeedFile: s.Credentials.SeedFile}
		}},
		"credentials of an operator's account": {stores.Options{Auth: stores.JWT}, func(s *stores.Cluster) prismnats.Options {
			return prismnats.Options{CredsFile: s.Credentials.CredsFile}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := stores.ForTest(t, stores.NATS, tt.options)
			backendtest.Works(t, open(t, store, tt.with(store)))
		})
	}
}

// The options reach the program, too.
func TestASecuredServerFromTheProgram(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.NATS, stores.Options{Auth: stores.JWT, TLS: stores.MutualTLS})
	h := ways.Launched(t.TempDir(), binary, "nats", func(string) map[string]any {
		return map[string]any{
			"url": url(store), "creds_file": store.Credentials.CredsFile, "replicas": 1,
			"ca_file": store.Certificates.CA, "cert_file": store.Certificates.Cert, "key_file": store.Certificates.Key, "server_name": "localhost",
		}
	})
	b, err := h.Open(backendtest.Within(t), namespace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	backendtest.Works(t, b)
}

// configured starts a server with more configuration than the stores have options for.
func configured(t *testing.T, config string) *stores.Cluster {
	t.Helper()
	file := filepath.Join(t.TempDir(), "more.conf")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	return stores.ForTest(t, stores.NATS, stores.Options{Include: file})
}

// The permissions that the README lists are enough, and no less is.
func TestPermissions(t *testing.T) {
	t.Parallel()
	publish := []string{
		"$JS.API.STREAM.INFO.PRISM_prism", "$JS.API.STREAM.CREATE.PRISM_prism", "$JS.API.STREAM.MSG.GET.PRISM_prism",
		"$JS.API.CONSUMER.CREATE.PRISM_prism.>", "$JS.FC.PRISM_prism.>", "prism.prism.>",
	}
	user := func(name string, publish []string, subscribe string) string {
		return fmt.Sprintf(`{user: %s, password: secret-of-%s, permissions: {publish: ["%s"], subscribe: %q}}`, name, name, strings.Join(publish, `", "`), subscribe)
	}
	without := func(i int) []string { return append(append([]string{}, publish[:i]...), publish[i+1:]...) }
	users := user("enough", publish, "_INBOX.>")
	for i := range publish {
		users += "\n" + user(fmt.Sprintf("less%d", i), without(i), "_INBOX.>")
	}
	users += "\n" + user("deaf", publish, "other.>")
	store := configured(t, "authorization: {users: [\n"+users+"\n]}")
	backendtest.Works(t, open(t, store, prismnats.Options{User: "enough", Password: "secret-of-enough"}))
	for i, subject := range publish {
		if i == 1 {
			continue // the stream is there
		}
		name := fmt.Sprintf("less%d", i)
		refused(t, prismnats.Options{URL: url(store), User: name, Password: "secret-of-" + name}, ports.ErrPermission,
			"lacks a permission", subject[:len(subject)-1], "README")
	}
	refused(t, prismnats.Options{URL: url(store), User: "less1", Password: "secret-of-less1", Namespace: "prism"}, nil)
	refused(t, prismnats.Options{URL: url(store), User: "deaf", Password: "secret-of-deaf"}, ports.ErrPermission, "lacks a permission", "_INBOX")
	refused(t, prismnats.Options{URL: url(store), User: "enough", Password: "secret-of-enough", Namespace: "elsewhere"}, ports.ErrPermission, "lacks a permission")
}

func TestSecretsAreMarked(t *testing.T) {
	t.Parallel()
	backendtest.Schema(t, prismnats.Schema(), prismnats.Options{}, "password", "token")
}
