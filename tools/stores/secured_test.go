package stores_test

// secured_test.go: TLS and authentication let in who shows what the cluster says, and nobody else.

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/tools/stores"
)

func TestCredentialsAreNeeded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind    stores.Kind
		auth    stores.Auth
		refused string
	}{
		{stores.Consul, stores.Token, "403"},
		{stores.Etcd, stores.Password, "user name is empty"},
		{stores.NATS, stores.Password, "Authorization Violation"},
		{stores.NATS, stores.Token, "Authorization Violation"},
		{stores.NATS, stores.NKey, "Authorization Violation"},
		{stores.NATS, stores.JWT, "Authorization Violation"},
		{stores.Redis, stores.Password, "NOAUTH"},
		{stores.Redis, stores.User, "NOAUTH"},
	} {
		t.Run(string(c.kind)+" "+string(c.auth), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			cluster := stores.ForTest(t, c.kind, stores.Options{Auth: c.auth, TLS: stores.ServerTLS, Fast: true})
			known := newClient(t, cluster)
			stranger := *known
			stranger.creds = stores.Credentials{}
			require.NoError(t, known.put(ctx, "k", "v"))
			require.ErrorContains(t, stranger.put(ctx, "k", "v"), c.refused)
			if file := cluster.Credentials.SeedFile + cluster.Credentials.CredsFile; file != "" {
				info, err := os.Stat(file)
				require.NoError(t, err)
				assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			}

			_, err := cluster.Leader(ctx)
			require.NoError(t, err, "who leads is known with authentication too")
			require.NoError(t, cluster.Wipe(ctx))
			require.NoError(t, known.put(ctx, "k", "v"), "credentials outlive a wipe")
			require.ErrorContains(t, stranger.put(ctx, "k", "v"), c.refused)
		})
	}
}

func TestConsulTokensMayDoWhatTheirRulesSay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := stores.ForTest(t, stores.Consul, stores.Options{Auth: stores.Token, Fast: true})
	token, err := c.ConsulToken(ctx, `key_prefix "mine/" { policy = "write" }`)
	require.NoError(t, err)
	client := newClient(t, c)
	client.creds.Token = token
	require.NoError(t, client.put(ctx, "mine/k", "v"))
	require.ErrorContains(t, client.put(ctx, "other/k", "v"), "403")
	_, err = c.ConsulToken(ctx, `nonsense`)
	require.ErrorContains(t, err, "Failed to parse ACL rules")
}

func TestTLSIsNeeded(t *testing.T) {
	t.Parallel()
	for _, kind := range stores.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c := stores.ForTest(t, kind, stores.Options{TLS: stores.MutualTLS, Fast: true})
			files := c.Certificates
			known := newClient(t, c)
			require.NoError(t, known.put(ctx, "k", "v"))

			nameless := *known
			nameless.tls = tlsConfig(t, files.CA, "", "")
			require.Error(t, nameless.put(ctx, "k", "v"), "a client without a certificate is refused")
			late := *known
			late.tls = tlsConfig(t, files.CA, files.ExpiredCert, files.ExpiredKey)
			require.Error(t, late.put(ctx, "k", "v"), "a client whose certificate ran out is refused")
			other := *known
			other.tls = tlsConfig(t, files.OtherCA, files.Cert, files.Key)
			require.ErrorContains(t, other.put(ctx, "k", "v"), "unknown authority")
		})
	}
}

func TestAnExpiredServerIsRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range stores.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c := stores.ForTest(t, kind, stores.Options{TLS: stores.ExpiredTLS, Fast: true})
			require.ErrorContains(t, newClient(t, c).put(ctx, "k", "v"), "certificate has expired")
		})
	}
}

func TestThreeNodesWithTLSAndAuthentication(t *testing.T) {
	t.Parallel()
	for kind, auth := range map[stores.Kind]stores.Auth{stores.Consul: stores.Token, stores.Etcd: stores.Password, stores.NATS: stores.JWT} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c := stores.ForTest(t, kind, stores.Options{Nodes: 3, TLS: stores.ServerTLS, Auth: auth, Fast: true})
			client := newClient(t, c)
			var err error
			require.Eventually(t, func() bool {
				err = client.put(ctx, "k", "v")
				// NATS loads an operator's account when it is first asked for; while its leader does so, the account has no JetStream.
				return err == nil || !strings.Contains(err.Error(), "JetStream not enabled for account")
			}, limit, 10*time.Millisecond)
			require.NoError(t, err)
			for client.at = range c.Nodes() {
				require.Eventually(t, func() bool { return must(client.get(ctx, "k"))(t) == "v" }, limit, 10*time.Millisecond)
			}
			_, err = c.Leader(ctx)
			require.NoError(t, err)
		})
	}
}

func TestEtcdsLeaderIsKnownBehindMutualTLSAndPasswords(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := stores.ForTest(t, stores.Etcd, stores.Options{TLS: stores.MutualTLS, Auth: stores.Password, Fast: true})
	assert.Equal(t, 0, must(c.Leader(ctx))(t))
}

func TestDataIsLimited(t *testing.T) {
	t.Parallel()
	for kind, want := range map[stores.Kind]string{stores.Etcd: "database space exceeded", stores.NATS: "insufficient", stores.Redis: "OOM"} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c := stores.ForTest(t, kind, stores.Options{DataLimit: 2 << 20, Fast: true})
			client := newClient(t, c)
			value := strings.Repeat("x", 50<<10)
			var err error
			for i := 0; i < 200 && err == nil; i++ {
				err = client.put(ctx, "k"+string(rune('a'+i/26))+string(rune('a'+i%26)), value)
			}
			require.ErrorContains(t, err, want)
		})
	}
}

func TestStreamsHaveALeaderOfTheirOwn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := stores.ForTest(t, stores.NATS, stores.Options{Nodes: 3})
	client := newClient(t, c)
	require.NoError(t, client.put(ctx, "k", "v"))
	first, err := c.StreamLeader(ctx, "T")
	require.NoError(t, err)
	require.NoError(t, c.StopNode(ctx, first))
	second, err := c.StreamLeader(ctx, "T")
	require.NoError(t, err)
	assert.NotEqual(t, first, second)

	etcd := stores.ForTest(t, stores.Etcd, stores.Options{Fast: true})
	_, err = etcd.StreamLeader(ctx, "T")
	require.ErrorContains(t, err, "etcd has no streams")
	_, err = etcd.ConsulToken(ctx, "")
	require.ErrorContains(t, err, "etcd has no ACL tokens")
}

func TestConsulAnswersDNS(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := stores.ForTest(t, stores.Consul, stores.Options{Fast: true})
	assert.True(t, answers(t, c.DNS()))
	_, err := newClient(t, c).http(ctx, http.MethodGet, "/ui/", nil)
	require.NoError(t, err, "the UI is there")
}
