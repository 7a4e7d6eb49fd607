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
	var out strings.Builder
	set := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	set("bind %s", loopback)
	set("dir %s", n.dataDir())
	set(`save ""`)
	set("appendonly yes")
	if c.opts.TLS == NoTLS {
		set("port %d", n.client)
	} else {
		set("port 0\ntls-port %d\ntls-replication yes", n.client)
		set("tls-ca-cert-file %s\ntls-cert-file %s\ntls-key-file %s", c.Certificates.CA, c.Certificates.serverCert, c.Certificates.serverKey)
		clients := "no"
		if c.opts.TLS == MutualTLS {
			clients = "yes"
		}
		set("tls-auth-clients %s", clients)
	}
	if c.opts.Auth != NoAuth {
		password := c.adminPassword()
		set("requirepass %s\nmasterauth %s", password, password)
	}
	if c.opts.Auth == User {
		set("user %s on >%s ~* &* +@all -@admin +info +config|get", c.Credentials.User, c.Credentials.Password)
	}
	if c.opts.DataLimit > 0 {
		set("maxmemory %d\nmaxmemory-policy noeviction", c.opts.DataLimit)
	}
	if n.index > 0 {
		set("replicaof %s %d", loopback, c.nodes[0].client)
	}
	file := filepath.Join(n.dir, "redis.conf")
	return []string{file}, os.WriteFile(file, []byte(out.String()), 0o600)
}

// adminPassword is the default user's.
func (c *Cluster) adminPassword() string {
	switch c.opts.Auth {
	case Password:
		return c.Credentials.Password
	case User:
		return c.secrets.Admin
	default:
		return ""
	}
}

// ready asks whether data is loaded, and of a replica whether it has the primary's.
func (redisServer) ready(ctx context.Context, c *Cluster, n *node) error {
	answer, err := c.redis(ctx, n, "PING")
	if err != nil || answer != "PONG" {
		return fmt.Errorf("PING: %q: %w", answer, errors.Join(err, errNotReady))
	}
	if n.index == 0 {
		return nil
	}
	answer, err = c.redis(ctx, n, "INFO", "replication")
	if err != nil || !strings.Contains(answer, "master_link_status:up") {
		return fmt.Errorf("the link to the primary is not up: %w", errors.Join(err, errNotReady))
	}
	return nil
}

var errNotReady = errors.New("not ready")

func (redisServer) setUp(context.Context, *Cluster) error { return nil }

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
	if password := c.adminPassword(); password != "" {
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
