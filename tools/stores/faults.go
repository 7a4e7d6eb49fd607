package stores

// faults.go: what else befalls servers: they hang, cannot be reached, or lose their leader.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Pause holds all nodes where they are (SIGSTOP) and returns when they have stopped: connections
// stay open and nothing answers.
func (c *Cluster) Pause() error { return c.signal(c.nodes, pause, true) }

// Resume lets all nodes go on.
func (c *Cluster) Resume() error { return c.signal(c.nodes, resume, false) }

// PauseNode holds one node where it is.
func (c *Cluster) PauseNode(i int) error { return c.signal(c.nodes[i:i+1], pause, true) }

// ResumeNode lets one node go on.
func (c *Cluster) ResumeNode(i int) error { return c.signal(c.nodes[i:i+1], resume, false) }

func (c *Cluster) signal(nodes []*node, send func(*os.Process) error, paused bool) error {
	return c.each(nodes, func(n *node) error {
		p, _ := n.running()
		if p == nil {
			return errors.New("does not run: start it first")
		}
		if err := send(p.cmd.Process); err != nil {
			return err
		}
		n.set(p, paused)
		if !paused {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		return until(ctx, func(context.Context) error {
			halted, err := halted(p.cmd.Process.Pid)
			if err == nil && !halted {
				err = errors.New("threads still run")
			}
			return err
		})
	})
}

// Cut parts clients and store, which needs Options.Proxied.
func (c *Cluster) Cut(how Cut) error {
	return c.each(c.nodes, func(n *node) error { return n.cut(how) })
}

// CutNode parts clients and one node, which needs Options.Proxied.
func (c *Cluster) CutNode(i int, how Cut) error {
	return c.each(c.nodes[i:i+1], func(n *node) error { return n.cut(how) })
}

// Sever drops everything between clients and store: Cut(Blackholed).
func (c *Cluster) Sever() error { return c.Cut(Blackholed) }

// Mend joins clients and store again.
func (c *Cluster) Mend() error { return c.Cut(Joined) }

func (n *node) cut(how Cut) error {
	if n.proxy == nil {
		return errors.New("has no proxy that could cut: start it with Options.Proxied")
	}
	return n.proxy.Set(how)
}

// Leader waits until a node that answers is known to lead, and returns its index: of etcd and
// Consul the raft leader, of NATS the leader of JetStream's metadata, of Redis the primary.
func (c *Cluster) Leader(ctx context.Context) (int, error) {
	return c.agree(ctx, func(ctx context.Context, n *node) (int, error) { return c.server.leader(ctx, c, n) })
}

// agree asks the nodes that answer for a node until one names a node that answers too.
func (c *Cluster) agree(ctx context.Context, ask func(context.Context, *node) (int, error)) (int, error) {
	found := -1
	err := until(ctx, func(ctx context.Context) error {
		errs := []error{errors.New("no node knows a leader that runs")}
		for _, n := range c.nodes {
			if _, answers := n.running(); !answers {
				continue
			}
			i, err := ask(ctx, n)
			if err == nil {
				if _, answers := c.nodes[i].running(); answers {
					found = i
					return nil
				}
				err = fmt.Errorf("node %d still names node %d", n.index, i)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.kind, err)
	}
	return found, nil
}

// byPort returns the index of the node for which port gives p.
func (c *Cluster) byPort(p string, port func(*node) int) (int, error) {
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return address(port(n)) == p })
	if i < 0 {
		return 0, fmt.Errorf("no node is at %q", p)
	}
	return i, nil
}
