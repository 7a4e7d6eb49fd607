package redis_test

// secured_test.go: every credential and TLS option against a server that asks for it, and the
// ways in which servers are found.

import (
	"strconv"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/plugins/redis"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

func TestPasswords(t *testing.T) {
	t.Parallel()
	for _, auth := range []stores.Auth{stores.Password, stores.User} {
		store := stores.ForTest(t, stores.Redis, stores.Options{Auth: auth})
		o := redis.Options{URL: store.URL(), Username: store.Credentials.User, Password: store.Credentials.Password}
		works(t, open(t, o))
		o.Password = "wrong-secret"
		refused(t, o, ports.ErrPermission, "backend_config.username and backend_config.password")
		o.Username, o.Password = "", ""
		refused(t, o, ports.ErrPermission, "asks for a password", "backend_config.password")
	}
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	works(t, open(t, redis.Options{URL: store.URL(), DB: 3}))
	refused(t, redis.Options{URL: store.URL(), DB: 99}, ports.ErrInvalid, "backend_config.db")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, kind := range []stores.TLS{stores.ServerTLS, stores.MutualTLS} {
		store := stores.ForTest(t, stores.Redis, stores.Options{TLS: kind})
		o := redis.Options{URL: store.URL(), TLS: backendkit.TLS{CAFile: store.Certificates.CA, ServerName: "localhost"}}
		if kind == stores.MutualTLS {
			o.CertFile, o.KeyFile = store.Certificates.Cert, store.Certificates.Key
		}
		works(t, open(t, o))
	}
}

// All at once, as options of the launched program.
func TestTheProgramTakesCredentials(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{TLS: stores.MutualTLS, Auth: stores.User})
	h := ways.Launched(t.TempDir(), binary, "redis", func(string) map[string]any {
		return map[string]any{
			"url": store.URL(), "username": store.Credentials.User, "password": store.Credentials.Password, "db": 1, "log_length": 1000,
			"ca_file": store.Certificates.CA, "cert_file": store.Certificates.Cert, "key_file": store.Certificates.Key, "server_name": "localhost",
		}
	})
	b, err := h.Open(backendtest.Within(t), "prism")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	works(t, b)
}

// enough is the role of the README.
const enough = "~{prism:prism}:* +eval +evalsha +info +time +type +exists +unlink +hget +hset +hmget +hincrby +hdel +hlen +hgetall +hscan " +
	"+zadd +zrem +zscore +zrange +zrangebyscore +zrangebylex +zremrangebyscore +xadd +xread +xrange"

func setUser(t *testing.T, admin *goredis.Client, name, rules string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", name, "on", ">secret-of-" + name}
	for rule := range strings.FieldsSeq(rules) {
		args = append(args, rule)
	}
	do(t, admin, args...)
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	admin := raw(t, store, 0)
	user := func(name, rules string) redis.Options {
		setUser(t, admin, name, rules)
		return redis.Options{URL: store.URL(), Username: name, Password: "secret-of-" + name}
	}
	works(t, open(t, user("enough", enough)))
	// Without INFO a failover does not show at once; all else does.
	works(t, open(t, user("blind", strings.Replace(enough, "+info ", "", 1))))
	other := user("other", enough)
	other.DB = 1
	refused(t, other, ports.ErrPermission, "lacks a permission", "README")
	setUser(t, admin, "other", "+select")
	works(t, open(t, other))
	for rule := range strings.FieldsSeq(enough) {
		if rule == "+info" || rule == "+eval" { // scripts that are known to the server need evalsha alone
			continue
		}
		t.Log("without", rule)
		refused(t, user("without-"+strconv.Itoa(len(rule))+rule[1:3], strings.Replace(enough+" ", rule+" ", "", 1)), ports.ErrPermission, "backend_config.username", "lacks a permission", "README")
	}
	refused(t, user("elsewhere", strings.Replace(enough, "{prism:prism}", "{prism:other}", 1)), ports.ErrPermission, "lacks a permission")
}

func TestSentinels(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{Nodes: 3, Topology: stores.Sentinel, Auth: stores.Password})
	o := redis.Options{
		Sentinels: store.Sentinels(), MasterName: stores.SentinelName, Password: store.Credentials.Password, SentinelPassword: store.Credentials.Password,
	}
	b := open(t, o)
	works(t, b)
	w := backendtest.Follow(t, b, ports.WatchEvent{}.Cursor)
	epoch := backendtest.Last(backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))).Cursor.Epoch
	require.NoError(t, store.KillNode(0))
	events := backendtest.Until(t, w, backendtest.Is(ports.WatchReset))
	assert.Contains(t, backendtest.Last(events).Reason, "epoch")
	assert.NotEqual(t, epoch, backendtest.Last(backendtest.Until(t, w, backendtest.Is(ports.WatchSynced))).Cursor.Epoch, "what the replica never got may be lost")
	works(t, b)

	o.SentinelPassword = "wrong-secret"
	refused(t, o, ports.ErrPermission, "backend_config.sentinel_password")
	o.SentinelPassword, o.MasterName = store.Credentials.Password, "another"
	refused(t, o, ports.ErrInvalid, "backend_config.master_name")
	o.Sentinels = []string{backendtest.Nowhere(t)}
	refused(t, o, ports.ErrUnavailable, "backend_config.sentinels")
}

func TestClusters(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{Nodes: 3, Topology: stores.Sharded})
	// Any node is enough to find the others, whichever has the slot of a namespace.
	for i, u := range store.URLs() {
		for _, namespace := range []string{"a", "b", "c"} {
			works(t, open(t, redis.Options{URL: u, Namespace: namespace + string(rune('0'+i))}))
		}
	}
	works(t, open(t, redis.Options{URL: "redis://" + backendtest.Nowhere(t) + "," + strings.Join(store.URLs(), ",")}))
	refused(t, redis.Options{URL: store.URL(), DB: 1}, ports.ErrInvalid, "backend_config.db")
	for i := range store.URLs() {
		setUser(t, raw(t, store, i), "enough", enough+" +cluster|slots")
	}
	works(t, open(t, redis.Options{URL: store.URL(), Username: "enough", Password: "secret-of-enough"}))
	single := stores.ForTest(t, stores.Redis, stores.Options{})
	refused(t, redis.Options{URL: single.URL() + "," + single.URL()}, ports.ErrInvalid, "backend_config.url", "no Redis Cluster")
}

func TestSecretsAreMarked(t *testing.T) {
	t.Parallel()
	backendtest.Schema(t, redis.Schema(), redis.Options{}, "password", "sentinel_password")
}
