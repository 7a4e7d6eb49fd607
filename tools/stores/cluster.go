package stores

// cluster.go: the servers of one store, and what can be done to them.

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// A server is what differs between the stores.
type server interface {
	// scheme is of URLs, without and with TLS.
	scheme(secured bool) string
	// configure writes the configuration of a node and returns the arguments to start it with.
	configure(c *Cluster, n *node) ([]string, error)
	// ready asks a node whether it takes writes; before set-up it may be unable to tell.
	ready(ctx context.Context, c *Cluster, n *node) error
	// setUp prepares a store that has no data: users and the like.
	setUp(ctx context.Context, c *Cluster) error
	// leader asks a node which node leads; an error where it does not know.
	leader(ctx context.Context, c *Cluster, n *node) (int, error)
}

// A node is one server of a cluster. Its ports and files outlive its process.
type node struct {
	index                     int
	dir                       string
	client, peer, gossip, aux int // Ports; what peer, gossip and aux are for is the store's.
	proxy                     *Proxy

	mu      sync.Mutex
	process *process // nil when it was stopped.
	paused  bool
}

func (n *node) dataDir() string { return filepath.Join(n.dir, "data") }
func (n *node) logPath() string { return filepath.Join(n.dir, "log") }

// running returns the node's process, or nil, and whether it answers: runs and is not paused.
func (n *node) running() (p *process, answers bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process, n.process != nil && !n.paused
}

func (n *node) set(p *process, paused bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process, n.paused = p, paused
}

// A Cluster is one store: one server, or three that replicate. What it tells about itself may be
// asked from many goroutines; what starts, stops and pauses is for one at a time.
type Cluster struct {
	kind    Kind
	opts    Options
	server  server
	binary  string
	dir     string
	nodes   []*node
	fresh   bool // There is no data yet, so that setUp has to run.
	secrets secrets
	tls     *tls.Config // How this package connects; nil without TLS.
	client  *http.Client

	// Credentials are what a client shows; empty where Options.Auth is. Restarts keep them.
	Credentials Credentials
	// Certificates are files for clients; empty where Options.TLS is NoTLS.
	Certificates Certificates
}

// Credentials are what a client shows. Which of them, Options.Auth says.
type Credentials struct {
	User, Password string
	Token          string
	SeedFile       string // NATS: an nkey's seed.
	CredsFile      string // NATS: a user's JWT and seed.
}

// secrets are what only the servers and this package know.
type secrets struct {
	Admin string // The password of etcd's root and Redis' default user.
	// What NATS is configured with: the public key of the user, or the JWTs of the operator and
	// of two accounts, and the accounts' public keys.
	UserKey                   string
	Operator, Account, System string
	AccountKey, SystemKey     string
}

func launch(ctx context.Context, kind Kind, s server, binary string, opts Options) (*Cluster, error) {
	dir, err := os.MkdirTemp(opts.Dir, "prism-"+string(kind)+"-")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	c := &Cluster{kind: kind, opts: opts, server: s, binary: binary, dir: dir, fresh: true, secrets: secrets{Admin: rand.Text()}}
	if err := c.prepare(); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, errors.Join(err, c.Close()))
	}
	if err := c.Start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// prepare chooses ports and writes certificates and credentials.
func (c *Cluster) prepare() error {
	if c.opts.TLS != NoTLS {
		var err error
		if c.Certificates, c.tls, err = issue(filepath.Join(c.dir, "tls"), c.opts.TLS == ExpiredTLS); err != nil {
			return err
		}
	}
	// A connection that is kept would outlive Close.
	c.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: c.tls}}
	if err := c.issueCredentials(); err != nil {
		return err
	}
	servers := c.opts.Nodes
	if c.opts.Topology == Sentinel {
		servers *= 2 // The sentinels come after those that hold data.
	}
	for i := range servers {
		n := &node{index: i, dir: filepath.Join(c.dir, fmt.Sprintf("node%d", i))}
		c.nodes = append(c.nodes, n)
		for _, port := range []*int{&n.client, &n.peer, &n.gossip, &n.aux} {
			var err error
			if *port, err = freePort(); err != nil {
				return err
			}
		}
		if usual := usualPorts[c.kind]; c.opts.UsualPort && i == 0 && probe(usual) == nil {
			release(n.client)
			n.client = usual
		}
		if err := os.MkdirAll(n.dataDir(), 0o700); err != nil {
			return err
		}
		if c.opts.Proxied {
			var err error
			if n.proxy, err = NewProxy(address(n.client)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cluster) issueCredentials() error {
	var err error
	switch c.opts.Auth {
	case NoAuth:
	case Password:
		c.Credentials = Credentials{User: "prism", Password: rand.Text()}
		if c.kind == Redis {
			c.Credentials.User = "" // requirepass is the password of whoever gives no name.
		}
	case User:
		c.Credentials = Credentials{User: "prism", Password: rand.Text()}
	case Token:
		c.Credentials.Token = randomUUID()
	case NKey, JWT:
		err = c.issueNATS()
	}
	return err
}

// Kind returns which store it is.
func (c *Cluster) Kind() Kind { return c.kind }

// Nodes returns how many servers hold data.
func (c *Cluster) Nodes() int { return c.opts.Nodes }

// Addresses returns the host and port for clients of each node.
func (c *Cluster) Addresses() []string { return addresses(c.nodes[:c.opts.Nodes]) }

// Sentinels returns the host and port of each sentinel of Redis, if there are any. They know the
// primary as SentinelName, and ask for Credentials.Password where Options.Auth is set. As nodes
// they come after those that hold data: with three, they are 3 to 5.
func (c *Cluster) Sentinels() []string { return addresses(c.nodes[c.opts.Nodes:]) }

func addresses(nodes []*node) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		if out[i] = address(n.client); n.proxy != nil {
			out[i] = n.proxy.Address()
		}
	}
	return out
}

// URLs returns the URL of each node, as its clients take it and without credentials.
func (c *Cluster) URLs() []string {
	out := c.Addresses()
	for i := range out {
		out[i] = c.server.scheme(c.opts.TLS != NoTLS) + "://" + out[i]
	}
	return out
}

// URL returns the URL of the first node.
func (c *Cluster) URL() string { return c.URLs()[0] }

// PIDs returns the process ids of the nodes that run.
func (c *Cluster) PIDs() []int {
	var out []int
	for _, n := range c.nodes {
		if p, _ := n.running(); p != nil {
			out = append(out, p.cmd.Process.Pid)
		}
	}
	return out
}

// DNS returns the address of the DNS server of Consul's first node; other stores have none.
func (c *Cluster) DNS() string { return address(c.nodes[0].aux) }

// Start starts the nodes that do not run, on the ports and with the data that they had, and
// returns when the store takes writes.
func (c *Cluster) Start(ctx context.Context) error {
	if err := c.start(ctx, c.nodes...); err != nil {
		return err
	}
	if !c.fresh {
		return nil
	}
	if err := until(ctx, func(ctx context.Context) error { return c.server.setUp(ctx, c) }); err != nil {
		return fmt.Errorf("%s: set up: %w", c.kind, err)
	}
	c.fresh = false
	return nil
}

// StartNode starts one node. Where most of its peers do not run it waits for them until the
// context ends.
func (c *Cluster) StartNode(ctx context.Context, i int) error { return c.start(ctx, c.nodes[i]) }

func (c *Cluster) start(ctx context.Context, nodes ...*node) error {
	for _, n := range nodes {
		if p, _ := n.running(); p != nil {
			if p.ended() == nil {
				continue
			}
			n.set(nil, false)
		}
		args, err := c.server.configure(c, n)
		if err != nil {
			return fmt.Errorf("%s node %d: %w", c.kind, n.index, err)
		}
		p, err := run(c.binary, args, n.dir, n.logPath())
		if err != nil {
			return fmt.Errorf("%s node %d: %w", c.kind, n.index, err)
		}
		n.set(p, false)
	}
	for _, n := range nodes {
		err := until(ctx, func(ctx context.Context) error {
			p, _ := n.running()
			if err := p.ended(); err != nil {
				return finalError{err}
			}
			return c.server.ready(ctx, c, n)
		})
		if err != nil && !errors.Is(err, errPortTaken) {
			err = fmt.Errorf("%w; its log ends:\n%s", err, tail(n.logPath(), 15))
		}
		if err != nil {
			return fmt.Errorf("%s node %d did not become ready: %w", c.kind, n.index, err)
		}
	}
	return nil
}

// each does something to nodes at the same time and joins the errors.
func (c *Cluster) each(nodes []*node, do func(*node) error) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			if err := do(n); err != nil {
				errs[i] = fmt.Errorf("%s node %d: %w", c.kind, n.index, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Stop asks all nodes to end and waits until they have. Their data stays.
func (c *Cluster) Stop(ctx context.Context) error {
	return c.each(c.nodes, func(n *node) error { return n.end(func(p *process) error { return p.stop(ctx) }) })
}

// StopNode asks one node to end and waits until it has.
func (c *Cluster) StopNode(ctx context.Context, i int) error {
	return c.each(c.nodes[i:i+1], func(n *node) error { return n.end(func(p *process) error { return p.stop(ctx) }) })
}

// Kill ends all nodes without giving them time to write anything.
func (c *Cluster) Kill() error {
	return c.each(c.nodes, func(n *node) error { return n.end((*process).kill) })
}

// KillNode ends one node without giving it time to hand over.
func (c *Cluster) KillNode(i int) error {
	return c.each(c.nodes[i:i+1], func(n *node) error { return n.end((*process).kill) })
}

func (n *node) end(how func(*process) error) error {
	p, _ := n.running()
	if p == nil {
		return nil
	}
	err := how(p)
	n.set(nil, false)
	return err
}

// Restart stops and starts all nodes, with their data.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.Stop(ctx); err != nil {
		return err
	}
	return c.Start(ctx)
}

// Wipe stops all nodes, removes their data and starts them. Credentials work as before.
func (c *Cluster) Wipe(ctx context.Context) error {
	if err := c.Stop(ctx); err != nil {
		return err
	}
	if err := c.RemoveData(); err != nil {
		return err
	}
	return c.Start(ctx)
}

// RemoveData empties a store that was stopped.
func (c *Cluster) RemoveData() error {
	err := c.stopped("its data is removed", func(n *node) error {
		return errors.Join(os.RemoveAll(n.dataDir()), os.MkdirAll(n.dataDir(), 0o700))
	})
	c.fresh = c.fresh || err == nil
	return err
}

// Close ends all nodes at once, each by its own process id, and removes all that was written.
func (c *Cluster) Close() error {
	errs := []error{c.Kill()}
	for _, n := range c.nodes {
		release(n.client, n.peer, n.gossip, n.aux)
		if n.proxy != nil {
			errs = append(errs, n.proxy.Close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}
