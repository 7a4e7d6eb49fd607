package stores

// nats.go: NATS with JetStream, asked through its monitoring port.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
)

type natsServer struct{}

// scheme is "tls" with TLS, which makes clients ask for it.
func (natsServer) scheme(secured bool) string {
	if secured {
		return "tls"
	}
	return "nats"
}

func (natsServer) configure(c *Cluster, n *node) ([]string, error) {
	type object = map[string]any
	// The configuration language of NATS takes JSON.
	stream := object{"store_dir": n.dataDir()}
	config := object{"server_name": fmt.Sprintf("node%d", n.index), "listen": address(n.client), "http": address(n.aux), "jetstream": stream}
	if c.opts.DataLimit > 0 {
		stream["max_file_store"] = c.opts.DataLimit
	}
	if len(c.nodes) > 1 {
		var routes []string
		for _, m := range c.nodes {
			if m != n {
				routes = append(routes, "nats-route://"+address(m.peer))
			}
		}
		// Clients know the addresses that they were given, so that a proxy cannot be passed by.
		config["cluster"] = object{"name": "prism", "listen": address(n.peer), "routes": routes, "no_advertise": true}
	}
	if c.opts.TLS != NoTLS {
		config["tls"] = object{
			"ca_file": c.Certificates.CA, "cert_file": c.Certificates.serverCert, "key_file": c.Certificates.serverKey,
			"verify": c.opts.TLS == MutualTLS,
		}
	}
	switch c.opts.Auth {
	case Password:
		config["authorization"] = object{"user": c.Credentials.User, "password": c.Credentials.Password}
	case Token:
		config["authorization"] = object{"token": c.Credentials.Token}
	case NKey:
		config["authorization"] = object{"users": []object{{"nkey": c.secrets.UserKey}}}
	case JWT:
		config["operator"] = c.secrets.Operator
		config["resolver"] = "MEMORY"
		config["resolver_preload"] = object{c.secrets.AccountKey: c.secrets.Account, c.secrets.SystemKey: c.secrets.System}
		config["system_account"] = c.secrets.SystemKey
	default:
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(n.dir, "nats.conf")
	if err := os.WriteFile(file, encoded, 0o600); err != nil || c.opts.Include == "" {
		return []string{"-c", file}, err
	}
	more, err := filepath.Rel(n.dir, c.opts.Include) // it takes no other paths
	if err != nil {
		return nil, err
	}
	both := filepath.Join(n.dir, "both.conf")
	return []string{"-c", both}, os.WriteFile(both, fmt.Appendf(nil, "include %q\ninclude %q\n", "./nats.conf", "./"+more), 0o600)
}

// ready asks whether JetStream is up and, in a cluster, in step with its leader.
func (natsServer) ready(ctx context.Context, c *Cluster, n *node) error {
	return c.call(ctx, http.MethodGet, monitor(n, "/healthz"), "", "", nil, nil)
}

func (natsServer) setUp(context.Context, *Cluster) error { return nil }

func monitor(n *node, path string) string { return "http://" + address(n.aux) + path }

// led is what NATS tells of a group of servers.
type led struct {
	Leader string
}

func (natsServer) leader(ctx context.Context, c *Cluster, n *node) (int, error) {
	if len(c.nodes) == 1 {
		return 0, nil
	}
	var answer struct {
		Meta *led `json:"meta_cluster"`
	}
	if err := c.call(ctx, http.MethodGet, monitor(n, "/jsz"), "", "", nil, &answer); err != nil {
		return 0, err
	}
	if answer.Meta == nil {
		return 0, fmt.Errorf("node %d knows no leader", n.index)
	}
	return c.byName(answer.Meta.Leader)
}

// StreamLeader waits until a node that answers is known to lead a stream of NATS, and returns its
// index. It need not be Leader, and is the one whose loss a stream's clients feel.
func (c *Cluster) StreamLeader(ctx context.Context, stream string) (int, error) {
	if c.kind != NATS {
		return 0, fmt.Errorf("%s has no streams with a leader: NATS has", c.kind)
	}
	return c.agree(ctx, func(ctx context.Context, n *node) (int, error) {
		var answer struct {
			Accounts []struct {
				Streams []struct {
					Name    string
					Cluster *led
				} `json:"stream_detail"`
			} `json:"account_details"`
		}
		if err := c.call(ctx, http.MethodGet, monitor(n, "/jsz?accounts=true&streams=true"), "", "", nil, &answer); err != nil {
			return 0, err
		}
		for _, account := range answer.Accounts {
			for _, s := range account.Streams {
				switch {
				case s.Name != stream:
				case s.Cluster == nil:
					return n.index, nil // A server alone.
				default:
					return c.byName(s.Cluster.Leader)
				}
			}
		}
		return 0, fmt.Errorf("node %d does not hold stream %q", n.index, stream)
	})
}

func (c *Cluster) byName(name string) (int, error) {
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return fmt.Sprintf("node%d", n.index) == name })
	if i < 0 {
		return 0, fmt.Errorf("no node is called %q", name)
	}
	return i, nil
}
