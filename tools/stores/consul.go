package stores

// consul.go: Consul, asked through its HTTP API.

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

type consulServer struct{}

func (consulServer) scheme(secured bool) string { return etcdServer{}.scheme(secured) }

const consulToken = "X-Consul-Token" //nolint:gosec // The name of a header.

func (consulServer) configure(c *Cluster, n *node) ([]string, error) {
	type object = map[string]any
	ports := object{"server": n.peer, "serf_lan": n.gossip, "serf_wan": -1, "grpc": -1, "grpc_tls": -1, "dns": n.aux, "http": n.client, "https": -1}
	config := object{"ports": ports, "ui_config": object{"enabled": true}, "disable_update_check": true} // that would leave loopback
	config["limits"] = object{"http_max_conns_per_client": cmp.Or(c.opts.Connections, 2000)}
	if c.opts.TLS != NoTLS {
		ports["http"], ports["https"] = -1, n.client
		config["tls"] = object{"https": object{
			"ca_file": c.Certificates.CA, "cert_file": c.Certificates.serverCert, "key_file": c.Certificates.serverKey,
			"verify_incoming": c.opts.TLS == MutualTLS,
		}}
	}
	if c.opts.Auth == Token {
		config["acl"] = object{"enabled": true, "default_policy": "deny", "tokens": object{
			"initial_management": c.Credentials.Token, "agent": c.Credentials.Token,
		}}
	}
	args := []string{"agent", "-bind", loopback, "-disable-host-node-id", "-log-level", "info", "-node", fmt.Sprintf("node%d", n.index)}
	if c.opts.Fast && len(c.nodes) == 1 {
		args = append(args, "-dev")
	} else {
		config["performance"] = object{"raft_multiplier": 1}
		args = append(args, "-server", "-client", loopback, "-data-dir", n.dataDir(), fmt.Sprintf("-bootstrap-expect=%d", len(c.nodes)))
		for _, m := range c.nodes {
			if m != n {
				args = append(args, "-retry-join", address(m.gossip))
			}
		}
		if len(c.nodes) > 1 {
			config["retry_interval"] = "1s" // The peers start together, and the first tries fail.
		}
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(n.dir, "consul.json")
	return append(args, "-config-file", file), os.WriteFile(file, encoded, 0o600)
}

// ready writes, which a node that knows no leader cannot, and removes what it wrote.
func (consulServer) ready(ctx context.Context, c *Cluster, n *node) error {
	url := c.direct(n, "/v1/kv/prism-test-ready")
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		var done bool
		if err := c.call(ctx, method, url, consulToken, c.Credentials.Token, nil, &done); err != nil {
			return err
		}
		if !done {
			return fmt.Errorf("%s %s was not done", method, url)
		}
	}
	return nil
}

func (consulServer) setUp(context.Context, *Cluster) error { return nil }

func (consulServer) leader(ctx context.Context, c *Cluster, n *node) (int, error) {
	var leader string
	if err := c.call(ctx, http.MethodGet, c.direct(n, "/v1/status/leader"), consulToken, c.Credentials.Token, nil, &leader); err != nil {
		return 0, err
	}
	return c.byPort(leader, func(m *node) int { return m.peer })
}

// ConsulToken creates an ACL token that may do what the rules say, in Consul's language for them
// (`key_prefix "prism/" { policy = "read" }`), and returns its secret. Needs Options.Auth Token.
func (c *Cluster) ConsulToken(ctx context.Context, rules string) (string, error) {
	if c.kind != Consul || c.opts.Auth != Token {
		return "", fmt.Errorf("%s has no ACL tokens: start Consul with Options.Auth Token", c.kind)
	}
	put := func(path string, body, out any) error {
		return c.call(ctx, http.MethodPut, c.direct(c.nodes[0], "/v1/acl/"+path), consulToken, c.Credentials.Token, body, out)
	}
	var policy struct{ ID string }
	name := "test-" + strings.ReplaceAll(randomUUID(), "-", "")
	if err := put("policy", map[string]string{"Name": name, "Rules": rules}, &policy); err != nil {
		return "", err
	}
	var token struct{ SecretID string }
	err := put("token", map[string]any{"Policies": []map[string]string{{"ID": policy.ID}}}, &token)
	return token.SecretID, err
}
