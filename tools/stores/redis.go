package stores

// redis.go: Redis, asked by its own protocol.

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

type redisServer struct{}

func (redisServer) scheme(secured bool) string {
	if secured {
		return "rediss"
	}
	return "redis"
}

func (redisServer) configure(c *Cluster, n *node) ([]string, error) {
	file, sentinel := filepath.Join(n.dataDir(), "redis.conf"), n.index >= c.opts.Nodes
	args := []string{file}
	if sentinel {
		args = append(args, "--sentinel")
	}
	if c.opts.Topology == Sentinel {
		// Sentinels write into it who leads, which is as good as data.
		if _, err := os.Stat(file); err == nil {
			return args, nil
		}
	}
	var out strings.Builder
	set := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	set("bind %s\ndir %s", loopback, n.dataDir())
	if c.opts.TLS == NoTLS {
		set("port %d", n.client)
	} else {
		set("port 0\ntls-port %d\ntls-replication yes\ntls-cluster yes", n.client)
		set("tls-ca-cert-file %s\ntls-cert-file %s\ntls-key-file %s", c.Certificates.CA, c.Certificates.serverCert, c.Certificates.serverKey)
		clients := "no"
		if c.opts.TLS == MutualTLS {
			clients = "yes"
		}
		set("tls-auth-clients %s", clients)
	}
	if password := c.defaultPassword(n); password != "" {
		set("requirepass %s", password)
	}
	if sentinel {
		c.configureSentinel(set)
	} else {
		c.configureData(n, set)
	}
	return args, os.WriteFile(file, []byte(out.String()), 0o600)
}

// SentinelName is what sentinels call the primary.
const SentinelName = "prism"

func (c *Cluster) configureSentinel(set func(format string, args ...any)) {
	set("sentinel monitor %s %s %d 2", SentinelName, loopback, c.nodes[0].client)
	// A sentinel that has just heard of another primary counts from then on, and connects to it in this time, or
	// the sentinels would choose once more.
	set("sentinel down-after-milliseconds %s 3000\nsentinel failover-timeout %[1]s 5000", SentinelName)
	if c.opts.Auth != NoAuth {
		set("sentinel auth-pass %s %s\nsentinel sentinel-pass %s", SentinelName, c.defaultPassword(c.nodes[0]), c.Credentials.Password)
	}
}

func (c *Cluster) configureData(n *node, set func(format string, args ...any)) {
	set("save \"\"\nappendonly yes")
	if c.opts.Auth != NoAuth {
		set("masterauth %s", c.defaultPassword(n))
	}
	if c.opts.Auth == User {
		set("user %s on >%s ~* &* +@all -@admin +info +config|get", c.Credentials.User, c.Credentials.Password)
	}
	if c.opts.DataLimit > 0 {
		set("maxmemory %d\nmaxmemory-policy noeviction", c.opts.DataLimit)
	}
	switch {
	case c.opts.Topology == Sharded:
		set("cluster-enabled yes\ncluster-port %d", n.peer)
	case n.index > 0:
		set("replicaof %s %d", loopback, c.nodes[0].client)
	}
}

// defaultPassword is that of a server's default user.
func (c *Cluster) defaultPassword(n *node) string {
	if c.opts.Auth == User && n.index < c.opts.Nodes {
		return c.secrets.Admin
	}
	return c.Credentials.Password
}

// ready asks whether data is loaded, of a replica whether it has the primary's, of a sentinel
// whether it knows the others and all replicas, and of a shard whether all slots are served.
func (redisServer) ready(ctx context.Context, c *Cluster, n *node) error {
	switch {
	case n.index >= c.opts.Nodes:
		// It asks the primary for them every 10 s, and without them it has none to choose when that is lost.
		if err := c.expect(ctx, n, fmt.Sprintf("slaves=%d,sentinels=%d", c.opts.Nodes-1, c.opts.Nodes), "INFO", "sentinel"); err != nil {
			return err
		}
		return c.expect(ctx, n, "OK", "SENTINEL", "CKQUORUM", SentinelName)
	case c.opts.Topology == Sharded && !c.fresh:
		return c.expect(ctx, n, "cluster_state:ok", "CLUSTER", "INFO")
	case c.opts.Topology == Sharded || n.index == 0 && c.opts.Topology == Replicated:
		return c.expect(ctx, n, "PONG", "PING")
	case c.expect(ctx, n, "role:master", "INFO", "replication") == nil:
		return nil
	default:
		return c.expect(ctx, n, "master_link_status:up", "INFO", "replication")
	}
}

// expect sends a command whose answer has to contain a text.
func (c *Cluster) expect(ctx context.Context, n *node, text string, command ...string) error {
	answer, err := c.redis(ctx, n, command...)
	if err == nil && !strings.Contains(answer, text) {
		err = errNotReady
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %q, and %q is waited for", strings.Join(command, " "), err, answer, text)
	}
	return nil
}

var errNotReady = errors.New("not ready")

// slots is how many parts a cluster of Redis divides its keys into.
const slots = 16384

// setUp makes the shards meet and gives each its slots. It waits until all know, and can be done
// again.
func (r redisServer) setUp(ctx context.Context, c *Cluster) error {
	if c.opts.Topology != Sharded {
		return nil
	}
	first := c.nodes[0]
	for i, n := range c.nodes {
		from, to := i*slots/len(c.nodes), (i+1)*slots/len(c.nodes)-1
		_, err := c.redis(ctx, n, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(from), strconv.Itoa(to))
		if err != nil && !strings.Contains(err.Error(), "already busy") {
			return err
		}
		if _, err := c.redis(ctx, n, "CLUSTER", "MEET", loopback, strconv.Itoa(first.client), strconv.Itoa(first.peer)); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := c.expect(ctx, n, "cluster_state:ok", "CLUSTER", "INFO"); err != nil {
			return err
		}
	}
	return nil
}

func (redisServer) leader(ctx context.Context, c *Cluster, n *node) (int, error) {
	answer, err := c.redis(ctx, n, "INFO", "replication")
	if err != nil {
		return 0, err
	}
	if strings.Contains(answer, "role:master") {
		return n.index, nil
	}
	return 0, fmt.Errorf("node %d is a replica", n.index)
}

// RedisCommand sends a command to a node as the default user, who may do everything, and returns
// the answer as text: a string, a number, or an error of the server's.
func (c *Cluster) RedisCommand(ctx context.Context, node int, command ...string) (string, error) {
	if c.kind != Redis {
		return "", fmt.Errorf("%s takes no commands of Redis: see Call", c.kind)
	}
	return c.redis(ctx, c.nodes[node], command...)
}

// redis sends one command on a connection of its own and returns the answer as text.
func (c *Cluster) redis(ctx context.Context, n *node, command ...string) (answer string, err error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address(n.client))
	if err != nil {
		return "", err
	}
	if c.tls != nil {
		conn = tls.Client(conn, c.tls)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	reader := bufio.NewReader(conn)
	if password := c.defaultPassword(n); password != "" {
		if _, err := exchange(conn, reader, "AUTH", password); err != nil {
			return "", err
		}
	}
	return exchange(conn, reader, command...)
}

// exchange speaks RESP: an array of strings out; a string, a number or an error in.
func exchange(w io.Writer, r *bufio.Reader, command ...string) (string, error) {
	var out strings.Builder
	fmt.Fprintf(&out, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return "", err
	}
	line, err := r.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err != nil || line == "" {
		return "", fmt.Errorf("redis answered %q: %w", line, errors.Join(err, errNotReady))
	}
	switch line[0] {
	case '+', ':':
		return line[1:], nil
	case '$':
		size, err := strconv.Atoi(line[1:])
		if err != nil || size < 0 {
			return "", err
		}
		content := make([]byte, size+len("\r\n"))
		_, err = io.ReadFull(r, content)
		return string(content[:size]), err
	default:
		return "", errors.New(line)
	}
}
