// Package stores starts real Consul, etcd, NATS and Redis servers on loopback for tests: one of
// them or a cluster of three, with TLS and authentication where asked, on ports of their own and
// with data in a temporary folder.
//
//	etcd := stores.ForTest(t, stores.Etcd, stores.Options{Nodes: 3})
//	client := dial(etcd.URLs())
//	leader, err := etcd.Leader(ctx)
//	err = etcd.KillNode(leader)
//
// The servers are pinned by ../servers and built when first asked for; Consul takes some minutes
// then. PRISM_CONSUL_BIN, PRISM_ETCD_BIN, PRISM_NATS_BIN and PRISM_REDIS_BIN name other binaries,
// of an older version or of Valkey, say.
// Each server is a process group of its own and ends with the process that started it, even
// when that one is killed (on Linux, by PR_SET_PDEATHSIG; elsewhere only Close ends it).
package stores

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A Kind is one of the stores.
type Kind string

// The stores.
const (
	Consul Kind = "consul"
	Etcd   Kind = "etcd"
	NATS   Kind = "nats"
	Redis  Kind = "redis"
)

// Kinds lists the stores in the order of their names.
func Kinds() []Kind { return []Kind{Consul, Etcd, NATS, Redis} }

// TLS says what connections of clients are protected by.
type TLS int

// What a server's clients need. The files are in Cluster.Certificates.
const (
	NoTLS      TLS = iota
	ServerTLS      // The server shows a certificate of Certificates.CA.
	MutualTLS      // And asks for one of the client.
	ExpiredTLS     // The server's certificate ran out a day ago.
)

// Auth says how clients show who they are. What they show is in Cluster.Credentials.
type Auth string

// Ways to authenticate, and which stores have them.
const (
	NoAuth   Auth = ""
	Password Auth = "password" // etcd and NATS: a user and a password; Redis: requirepass.
	User     Auth = "user"     // Redis: an ACL user with a password, who may do everything but administer.
	Token    Auth = "token"    // Consul: an ACL token, all else denied; NATS: a token.
	NKey     Auth = "nkey"     // NATS: an nkey, its seed in a file.
	JWT      Auth = "jwt"      // NATS: a user of an operator's account, with a credentials file.
)

// Topology says how three nodes of Redis make one store.
type Topology string

// What clients of Redis are given the addresses of.
const (
	Replicated Topology = ""         // A primary, node 0, and two replicas that refuse writes.
	Sentinel   Topology = "sentinel" // The same, and three sentinels that choose a new primary; see Cluster.Sentinels.
	Sharded    Topology = "sharded"  // Redis Cluster: three primaries that share the slots.
)

// Options say what to start. The zero value is one server without TLS and authentication, with
// the timing of production.
type Options struct {
	// Nodes is 1 or 3, and 1 where it is 0.
	Nodes int
	// Topology is Redis' alone. All but Replicated need three nodes.
	Topology Topology
	TLS      TLS
	Auth     Auth
	// Fast trades what production has for speed: etcd elects within 0.1 s (so that the least TTL
	// is 1 s, not 2 s) and does not sync its disk; a single Consul starts in 0.1 s instead of 1.5 s, and loses
	// its data when it is stopped. Not for tests of expiry and of faults.
	Fast bool
	// Proxied puts a Proxy before each node, so that Cut can part clients and store. Addresses
	// and URLs are then the proxies'.
	Proxied bool
	// DataLimit bounds the data in bytes: Redis' maxmemory, etcd's quota, NATS' file storage.
	// 0 is the store's own default. Consul has no such limit.
	DataLimit int64
	// Connections is how many Consul takes from one address at a time. In production that is 200; here one
	// address stands for many machines, and 0 is 2,000.
	Connections int
	// UsualPort gives the first node the port that people know the store by, where that is free.
	UsualPort bool
	// Include is a file of further configuration for NATS, which it reads at each start and at each
	// SIGHUP.
	Include string
	// Binary is the server to run instead of the pinned one: an older version, say.
	Binary string
	// Dir is where data, configuration, certificates and logs go, in a new folder that Close
	// removes. The system's temporary folder where it is empty.
	Dir string
}

// startLimit bounds a start of servers that are already built. Usually it takes a second.
const startLimit = 90 * time.Second

// Start builds the store if it has to, starts it, and returns when it takes writes. The context
// ends the start, not the servers: those are Close's.
func Start(ctx context.Context, kind Kind, opts Options) (*Cluster, error) {
	if opts.Nodes == 0 {
		opts.Nodes = 1
	}
	server, err := serverOf(kind, opts)
	if err != nil {
		return nil, err
	}
	binary := opts.Binary
	if binary == "" {
		if binary, err = Binary(ctx, kind); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	// A free port is free only until somebody else takes it, so a bind that fails is tried anew.
	for attempt := 1; ; attempt++ {
		c, err := launch(ctx, kind, server, binary, opts)
		if err == nil || !errors.Is(err, errPortTaken) || attempt == 5 {
			return c, err
		}
	}
}

func serverOf(kind Kind, opts Options) (server, error) {
	servers := map[Kind]server{Consul: consulServer{}, Etcd: etcdServer{}, NATS: natsServer{}, Redis: redisServer{}}
	auths := map[Kind][]Auth{Consul: {Token}, Etcd: {Password}, NATS: {Password, Token, NKey, JWT}, Redis: {Password, User}}
	s, ok := servers[kind]
	switch {
	case !ok:
		return nil, fmt.Errorf("store %q is not known: it is one of %q", kind, Kinds())
	case opts.Nodes != 1 && opts.Nodes != 3:
		return nil, fmt.Errorf("%s: Nodes is %d: it is 1 or 3", kind, opts.Nodes)
	case opts.Topology != Replicated && (kind != Redis || opts.Nodes != 3 || opts.Proxied):
		return nil, fmt.Errorf("%s: Topology is %q: leave it empty, but for Redis with 3 Nodes that are not Proxied", kind, opts.Topology)
	case opts.Topology != Replicated && opts.Topology != Sentinel && opts.Topology != Sharded:
		return nil, fmt.Errorf("%s: Topology is %q: it is empty, %q or %q", kind, opts.Topology, Sentinel, Sharded)
	case opts.Auth != NoAuth && !slices.Contains(auths[kind], opts.Auth):
		return nil, fmt.Errorf("%s: Auth is %q: it is empty or one of %q", kind, opts.Auth, auths[kind])
	case opts.TLS < NoTLS || opts.TLS > ExpiredTLS:
		return nil, fmt.Errorf("%s: TLS is %d: it is NoTLS, ServerTLS, MutualTLS or ExpiredTLS", kind, opts.TLS)
	case opts.DataLimit < 0:
		return nil, fmt.Errorf("%s: DataLimit is %d bytes: it is 0 or more", kind, opts.DataLimit)
	case opts.Connections < 0 || opts.Connections > 0 && kind != Consul:
		return nil, fmt.Errorf("%s: Connections is %d: it is 0, or for Consul more", kind, opts.Connections)
	case opts.Include != "" && kind != NATS:
		return nil, fmt.Errorf("%s: Include is %q, and only NATS reads further configuration: leave it empty", kind, opts.Include)
	case opts.DataLimit > 0 && kind == Consul:
		return nil, fmt.Errorf("%s: DataLimit is %d bytes, and Consul has no such limit: leave it 0", kind, opts.DataLimit)
	}
	return s, nil
}

// ServerIs begins the line of a test's log, under -v, that names the server and its version.
const ServerIs = "the server is "

// ForTest starts a store for the time of a test, which it fails if it cannot. The end of the
// logs is shown if the test has failed.
func ForTest(tb testing.TB, kind Kind, opts Options) *Cluster {
	tb.Helper()
	c, err := Start(tb.Context(), kind, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Log(c.Logs())
		}
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	if testing.Verbose() {
		version, err := c.Version(tb.Context())
		if err != nil {
			version = err.Error()
		}
		tb.Log(ServerIs + version)
	}
	return c
}

// Logs returns the end of each node's log.
func (c *Cluster) Logs() string {
	var out strings.Builder
	for i, n := range c.nodes {
		fmt.Fprintf(&out, "--- log of %s node %d, its end:\n%s\n", c.kind, i, tail(n.logPath(), 20))
	}
	return out.String()
}

// tail returns the last lines of a file, or why there are none.
func tail(path string, lines int) string {
	content, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
