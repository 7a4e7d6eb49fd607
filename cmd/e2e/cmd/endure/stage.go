package main

// stage.go: a Consul, a host on it, and the instances that are registered there.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
	"github.com/marketprism/prism/tools/stores"
)

// instance is what is registered, and how Consul has to show it.
type instance struct {
	spec   core.Spec
	drain  string // the reason, of an instance that an operator drains
	status string // in Consul's words
	output string // of its check
}

func (i instance) key() core.Key { return core.Key{Service: i.spec.Service, ID: i.spec.ID} }

// instances are of every kind: kept by the host and by a client, checked and not, drained and
// failing. The first one's port is where this program listens.
func instances(port int) []instance {
	none := &core.Check{Type: core.CheckNone}
	tcp := &core.Check{Type: core.CheckTCP, Interval: time.Second}
	return []instance{
		{
			spec:   core.Spec{Service: "web", ID: "checked", Host: "127.0.0.1", Port: port, Weight: new(100), Tags: []string{"blue", "v1"}, Keepalive: core.KeepaliveAuto, Check: tcp},
			status: "passing", output: "healthy",
		},
		{
			spec:   core.Spec{Service: "web", ID: "beating", Host: "127.0.0.2", Port: 8082, Weight: new(30), Tags: []string{"green", "v1"}, TTL: 10 * time.Second, Keepalive: core.KeepaliveClient, Check: none},
			status: "passing", output: "healthy",
		},
		{
			spec:  core.Spec{Service: "web", ID: "drained", Host: "127.0.0.3", Port: 8083, Weight: new(65535), Tags: []string{"blue", "v2"}, Keepalive: core.KeepaliveAuto, Check: none},
			drain: "disk swap", status: "critical", output: "maintenance: disk swap",
		},
		{
			spec:   core.Spec{Service: "web", ID: "failing", Host: "127.0.0.4", Port: 1, Weight: new(7), Tags: []string{"red"}, Keepalive: core.KeepaliveAuto, Check: tcp},
			status: "critical", output: "unhealthy",
		},
		{
			spec:  core.Spec{Service: "batch", ID: "drained", Host: "127.0.0.5", Port: 8085, Weight: new(1), Keepalive: core.KeepaliveAuto, Check: none},
			drain: "for the night", status: "critical", output: "maintenance: for the night",
		},
	}
}

// stage is all that runs.
type stage struct {
	consul    *stores.Cluster
	host      *host
	listener  net.Listener
	answering sync.WaitGroup
	instances []instance
	expected  shown
}

// open starts everything and returns when Consul shows what was registered.
func open(ctx context.Context, bin string) (*stage, error) {
	s := &stage{}
	if err := s.open(ctx, bin); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) open(ctx context.Context, bin string) (err error) {
	if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	s.answering.Go(func() { answer(s.listener) })
	at, err := netip.ParseAddrPort(s.listener.Addr().String())
	if err != nil {
		return err
	}
	s.instances = instances(int(at.Port()))
	if s.consul, err = stores.Start(ctx, stores.Consul, stores.Options{}); err != nil {
		return err
	}
	if s.host, err = serve(ctx, bin, s.consul.URL()); err != nil {
		return err
	}
	for _, in := range s.instances {
		if err := register(ctx, s.host.client, in); err != nil {
			return fmt.Errorf("register %v: %w", in.key(), err)
		}
	}
	version, err := s.consul.Version(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s at %s, DNS at %s, a host at %s, %d instances\n", version, s.consul.URL(), s.consul.DNS(), s.host.address, len(s.instances))
	return s.settle(ctx)
}

// answer accepts connections, which is all that a check by TCP asks, until the listener is closed.
func answer(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.Close() // a check needs no more
	}
}

func register(ctx context.Context, c *client.Client, in instance) error {
	if in.spec.Keepalive == core.KeepaliveClient {
		_, err := c.Register(ctx, in.spec) // and sends its heartbeats until the client is closed
		return err
	}
	if _, err := c.RegisterOnce(ctx, in.spec); err != nil || in.drain == "" {
		return err
	}
	_, err := c.SetStatus(ctx, discovery.StatusRequest{Key: in.key(), Status: string(core.StatusMaintenance), Reason: in.drain})
	return err
}

// settle waits until all is as it has to stay, and remembers when Consul wrote it last.
func (s *stage) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	s.expected = expect(s.instances)
	for {
		got, written, err := s.ask(ctx)
		if err == nil {
			err = s.expected.compare(got)
		}
		if err == nil {
			maps.Copy(s.expected, written)
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.host.ended:
			return errors.New("the host ended")
		case <-ctx.Done():
			return fmt.Errorf("not as registered after %v: %w", settled, err)
		}
	}
}

// look asks Consul everything once, and compares.
func (s *stage) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, oneLook)
	defer cancel()
	got, written, err := s.ask(ctx)
	if err != nil {
		return err
	}
	maps.Copy(got, written)
	return s.expected.compare(got)
}

// close ends what was started.
func (s *stage) close() error {
	var errs []error
	if s.host != nil {
		errs = append(errs, s.host.close())
	}
	if s.consul != nil {
		errs = append(errs, s.consul.Close())
	}
	if s.listener != nil {
		errs = append(errs, s.listener.Close())
		s.answering.Wait()
	}
	return errors.Join(errs...)
}
