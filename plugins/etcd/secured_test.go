package etcd_test

// secured_test.go: every credential and TLS option against a server that asks for it.

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/etcd"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestSecuredServers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options stores.Options
		with    func(s *stores.Cluster) etcd.Options
	}{
		"the server's certificate": {stores.Options{TLS: stores.ServerTLS}, func(s *stores.Cluster) etcd.Options {
			return etcd.Options{TLS: backendkit.TLS{CAFile: s.Certificates.CA}}
		}},
		"the server's certificate for another name": {stores.Options{TLS: stores.ServerTLS}, func(s *stores.Cluster) etcd.Options {
			return etcd.Options{TLS: backendkit.TLS{CAFile: s.Certificates.CA, ServerName: "localhost"}}
		}},
		"certificates of both": {stores.Options{TLS: stores.MutualTLS}, func(s *stores.Cluster) etcd.Options {
			return etcd.Options{TLS: backendkit.TLS{CAFile: s.Certificates.CA, CertFile: s.Certificates.Cert, KeyFile: s.Certificates.Key}}
		}},
		"a password": {stores.Options{Auth: stores.Password}, func(s *stores.Cluster) etcd.Options {
			return etcd.Options{Username: s.Credentials.User, Password: s.Credentials.Password}
		}},
		"a password over TLS": {stores.Options{Auth: stores.Password, TLS: stores.ServerTLS, Nodes: 3}, func(s *stores.Cluster) etcd.Options {
			return etcd.Options{Username: s.Credentials.User, Password: s.Credentials.Password, TLS: backendkit.TLS{CAFile: s.Certificates.CA}}
		}},
		"a user by the name in the certificate": {stores.Options{Auth: stores.Password, TLS: stores.MutualTLS}, func(s *stores.Cluster) etcd.Options {
			return etcd.Options{TLS: backendkit.TLS{CAFile: s.Certificates.CA, CertFile: s.Certificates.Cert, KeyFile: s.Certificates.Key}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.options.Fast = true
			store := stores.ForTest(t, stores.Etcd, tt.options)
			backendtest.Works(t, open(t, store, tt.with(store)))
		})
	}
}

// The options reach the program, too.
func TestASecuredServerFromTheProgram(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Auth: stores.Password, TLS: stores.MutualTLS, Fast: true})
	h := ways.Launched(t.TempDir(), binary, "etcd", func(string) map[string]any {
		return map[string]any{
			"urls": store.URLs(), "username": store.Credentials.User, "password": store.Credentials.Password,
			"ca_file": store.Certificates.CA, "cert_file": store.Certificates.Cert, "key_file": store.Certificates.Key, "server_name": "localhost",
		}
	})
	b, err := h.Open(backendtest.Within(t), namespace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	backendtest.Works(t, b)
}

// A server restarted forgets the tokens that it gave; others let them run out.
func TestTokensThatEnd(t *testing.T) {
	t.Setenv("ETCD_AUTH_TOKEN_TTL", "1")
	store := stores.ForTest(t, stores.Etcd, stores.Options{Auth: stores.Password, Fast: true})
	b := open(t, store, etcd.Options{Username: store.Credentials.User, Password: store.Credentials.Password})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	w := backendtest.Follow(t, b, rec.Revision)
	for range 3 { // in silence, so that the token runs out
		ended := time.After(2500 * time.Millisecond)
		<-ended
		renewed, err := b.RenewSessions(backendtest.Within(t), []ports.SessionID{"s"})
		require.NoError(t, err)
		require.False(t, renewed[0].Gone)
		rec = backendtest.Put(t, b, *rec, rec.Generation)
		backendtest.Until(t, w, func(ev ports.WatchEvent) bool { return ev.Record != nil && ev.Record.Revision == rec.Revision })
		backendtest.Works(t, b)
	}
	require.NoError(t, store.Restart(backendtest.Within(t)))
	backendtest.Works(t, b)
	assert.Equal(t, rec, backendtest.Get(t, b, "a").Record)
}

// restricted turns authentication on, with a user for each role.
func restricted(t *testing.T, store *stores.Cluster, roles map[string]func(ctx context.Context, admin *clientv3.Client, role string) error) {
	t.Helper()
	ctx := backendtest.Within(t)
	admin := raw(t, store, "", "")
	step := func(_ any, err error) {
		t.Helper()
		require.NoError(t, err)
	}
	step(admin.UserAdd(ctx, "root", "top-secret"))
	step(admin.RoleAdd(ctx, "root"))
	step(admin.UserGrantRole(ctx, "root", "root"))
	for role, grant := range roles {
		step(admin.UserAdd(ctx, role, "secret-of-"+role))
		step(admin.RoleAdd(ctx, role))
		require.NoError(t, grant(ctx, admin, role))
		step(admin.UserGrantRole(ctx, role, role))
	}
	step(admin.AuthEnable(ctx))
}

func granting(kind clientv3.PermissionType, prefix string) func(ctx context.Context, admin *clientv3.Client, role string) error {
	return func(ctx context.Context, admin *clientv3.Client, role string) error {
		_, err := admin.RoleGrantPermission(ctx, role, prefix, clientv3.GetPrefixRangeEnd(prefix), kind)
		return err
	}
}

// The role that the README tells people to make is enough, and no less is.
func TestPermissions(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	// The namespace is there, so that a reader has something to read.
	backendtest.Works(t, open(t, store, etcd.Options{}))
	restricted(t, store, map[string]func(ctx context.Context, admin *clientv3.Client, role string) error{
		"enough":     granting(clientv3.PermissionType(clientv3.PermReadWrite), namespace+"/"),
		"reader":     granting(clientv3.PermissionType(clientv3.PermRead), namespace+"/"),
		"writer":     granting(clientv3.PermissionType(clientv3.PermWrite), namespace+"/"),
		"elsewhere":  granting(clientv3.PermissionType(clientv3.PermReadWrite), "other/"),
		"some-rooms": granting(clientv3.PermissionType(clientv3.PermReadWrite), namespace+"/instances/"),
	})
	enough := open(t, store, etcd.Options{Username: "enough", Password: "secret-of-enough"})
	backendtest.Works(t, enough)
	backendtest.Said(t, enough.Watched(backendtest.Within(t), "other/", "other0"), ports.ErrPermission, "etcd", "backend_config.username", "grant its role readwrite")
	for _, role := range []string{"reader", "writer", "elsewhere", "some-rooms"} {
		refused(t, etcd.Options{URLs: store.URLs(), Username: role, Password: "secret-of-" + role}, ports.ErrPermission,
			"etcd", "backend_config.username", "lacks a permission", "grant its role readwrite")
	}
	refused(t, etcd.Options{URLs: store.URLs(), Username: "enough", Password: "wrong-secret"}, ports.ErrPermission, "backend_config.username and backend_config.password")
	refused(t, etcd.Options{URLs: store.URLs(), Username: "nobody", Password: "wrong-secret"}, ports.ErrPermission, "backend_config.username and backend_config.password")
	refused(t, etcd.Options{URLs: store.URLs()}, ports.ErrPermission, "it asks for a user", "backend_config.username")
}

func TestSecretsAreMarked(t *testing.T) {
	t.Parallel()
	backendtest.Schema(t, etcd.Schema(), etcd.Options{}, "password")
}
