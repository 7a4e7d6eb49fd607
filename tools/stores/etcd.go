package stores

// etcd.go: etcd, asked through the JSON gateway on its client port.

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

type etcdServer struct{}

func (etcdServer) scheme(secured bool) string {
	if secured {
		return "https"
	}
	return "http"
}

func (e etcdServer) configure(c *Cluster, n *node) ([]string, error) {
	var members []string
	for _, m := range c.nodes {
		members = append(members, fmt.Sprintf("node%d=http://%s", m.index, address(m.peer)))
	}
	client, peer := c.direct(n, ""), "http://"+address(n.peer)
	args := []string{
		"--name", fmt.Sprintf("node%d", n.index), "--data-dir", n.dataDir(),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", strings.Join(members, ","), "--initial-cluster-token", c.dir,
	}
	if c.opts.Fast {
		args = append(args, "--unsafe-no-fsync", "--heartbeat-interval=10", "--election-timeout=100")
	}
	if c.opts.DataLimit > 0 {
		args = append(args, "--quota-backend-bytes", strconv.FormatInt(c.opts.DataLimit, 10))
	}
	if c.opts.TLS != NoTLS {
		args = append(args, "--cert-file", c.Certificates.serverCert, "--key-file", c.Certificates.serverKey)
	}
	if c.opts.TLS == MutualTLS { // --trusted-ca-file alone already asks for a client's certificate
		args = append(args, "--trusted-ca-file", c.Certificates.CA, "--client-cert-auth")
	}
	return args, nil
}

// ready reads by consensus, which a node that has no leader cannot.
func (etcdServer) ready(ctx context.Context, c *Cluster, n *node) error {
	return c.call(ctx, http.MethodGet, c.direct(n, "/health"), "", "", nil, nil)
}

// setUp creates root, who may do everything, and a user who may read and write all keys. The last
// step turns authentication on, so a set-up that broke off can be done again.
func (e etcdServer) setUp(ctx context.Context, c *Cluster) error {
	if c.opts.Auth == NoAuth {
		return nil
	}
	type fields map[string]any
	name, all := c.Credentials.User, base64.StdEncoding.EncodeToString([]byte{0})
	for _, step := range []struct {
		path string
		body fields
	}{
		{"user/add", fields{"name": "root", "password": c.secrets.Admin}},
		{"role/add", fields{"name": "root"}},
		{"user/grant", fields{"user": "root", "role": "root"}},
		{"user/add", fields{"name": name, "password": c.Credentials.Password}},
		{"role/add", fields{"name": name}},
		{"role/grant", fields{"name": name, "perm": fields{"permType": "READWRITE", "key": all, "range_end": all}}},
		{"user/grant", fields{"user": name, "role": name}},
		{"enable", fields{}},
	} {
		err := c.call(ctx, http.MethodPost, c.direct(c.nodes[0], "/v3/auth/"+step.path), "", "", step.body, nil)
		if err != nil && !strings.Contains(err.Error(), "already exists") {
			return err
		}
	}
	return nil
}

func (e etcdServer) leader(ctx context.Context, c *Cluster, n *node) (int, error) {
	leader, _, err := e.status(ctx, c, n)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(c.nodes, func(m *node) bool {
		_, answers := m.running()
		if !answers {
			return false
		}
		_, id, err := e.status(ctx, c, m)
		return err == nil && id == leader
	})
	if i < 0 {
		return 0, fmt.Errorf("node %d names a leader %s that does not answer", n.index, leader)
	}
	return i, nil
}

// status returns the leader's id, "0" where there is none, and the node's own.
func (e etcdServer) status(ctx context.Context, c *Cluster, n *node) (leader, id string, err error) {
	token, err := e.logIn(ctx, c, n)
	if err != nil {
		return "", "", err
	}
	var status struct {
		Leader string
		Header struct {
			MemberID string `json:"member_id"`
		}
	}
	err = c.call(ctx, http.MethodPost, c.direct(n, "/v3/maintenance/status"), "Authorization", token, struct{}{}, &status)
	return status.Leader, status.Header.MemberID, err
}

// logIn returns a token of root's, or "" where nobody has to log in.
func (etcdServer) logIn(ctx context.Context, c *Cluster, n *node) (string, error) {
	if c.opts.Auth == NoAuth {
		return "", nil
	}
	var session struct{ Token string }
	login := map[string]string{"name": "root", "password": c.secrets.Admin}
	err := c.call(ctx, http.MethodPost, c.direct(n, "/v3/auth/authenticate"), "", "", login, &session)
	return session.Token, err
}
