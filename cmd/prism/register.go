package main

// register.go: the commands of an owner: register, heartbeat, deregister.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/adapters/inbound/httpapi"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// leaseOutput is what a registration's answer says of the lease.
type leaseOutput struct {
	ID         string         `json:"id"`
	TTLSeconds core.Duration  `json:"ttl_seconds"`
	Keepalive  core.Keepalive `json:"keepalive"`
}

func (a *app) register() *cobra.Command {
	var f specFlags
	var keepalive string
	cmd := &cobra.Command{
		Use: "register SERVICE", Short: "Register an instance",
		Long: `Register an instance of a service. The answer holds a lease: whoever has it may send
heartbeats ("prism heartbeat"), which must come within the ttl, and deregister the instance.
With --keepalive auto the host keeps the instance registered while it lives itself. To
register a program for as long as it runs, use "prism run".`,
		Example: `  prism register my-service --port 8081
  prism register my-service --host 10.0.0.7 --port 8081 --tag public --metadata '{"role":"api"}' --check-path /alive
  prism register my-service --from registration.json`,
		Args: exactly("service"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := f.spec(a, cmd, args[0])
			if err != nil {
				return err
			}
			if keepalive != "" {
				spec.Keepalive = core.Keepalive(keepalive)
			}
			if err := checkSpec(spec); err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				got, err := c.RegisterOnce(ctx, spec)
				if err != nil {
					return err
				}
				return a.showRegistered(got)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&keepalive, "keepalive", "", "`who` keeps it registered: client (default), by heartbeats, or auto, the host")
	return cmd
}

func (a *app) showRegistered(got discovery.Registered) error {
	in := got.Instance
	a.warn(got.Warnings)
	warnings := got.Warnings
	if warnings == nil {
		warnings = []string{}
	}
	out := struct {
		Instance core.Instance `json:"instance"`
		Lease    leaseOutput   `json:"lease"`
		Warnings []string      `json:"warnings"`
	}{in, leaseOutput{got.Lease, core.Duration(in.TTL), in.Keepalive}, warnings}
	return a.show(out, func(g *grid) {
		g.row("registered", in.Key().String())
		g.row("url", in.BaseURL())
		g.row("lease", got.Lease)
		if in.Keepalive == core.KeepaliveClient {
			g.row("heartbeat", fmt.Sprintf("within %s, again and again: prism heartbeat LEASE", in.TTL))
		}
	})
}

func (a *app) warn(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(a.stderr, "prism: warning: "+printable(w))
	}
}

func (a *app) heartbeat() *cobra.Command {
	return &cobra.Command{
		Use: "heartbeat LEASE...", Short: "Renew leases",
		Long: `Renew leases, or with - those on standard input, one a line. The exit code is 0 when all were
renewed, 4 when the store is away (try again), else 1: expired and unknown leases have to be
registered again; superseded and deregistered ones are over.`,
		Example: "  prism heartbeat \"$LEASE\"\n  prism heartbeat - < leases",
		Args:    between(1, -1, "lease"),
		RunE: func(cmd *cobra.Command, args []string) error {
			leases, err := a.leases(args)
			if err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				var results []discovery.HeartbeatResult
				for some := range slices.Chunk(leases, httpapi.MaxLeases) {
					beaten, err := c.Heartbeat(ctx, some)
					if err != nil {
						return err
					}
					results = append(results, beaten...)
				}
				return a.showBeats(results)
			})
		},
	}
}

func (a *app) leases(args []string) ([]string, error) {
	if len(args) != 1 || args[0] != "-" {
		return args, nil
	}
	raw, err := a.readInput("lease", "-")
	if err != nil {
		return nil, err
	}
	leases := strings.Fields(string(raw))
	if len(leases) == 0 {
		return nil, &core.FieldError{Field: "lease", Allowed: "standard input is empty; give one lease a line"}
	}
	return leases, nil
}

func (a *app) showBeats(results []discovery.HeartbeatResult) error {
	type beat struct {
		Instance string              `json:"instance"`
		State    core.HeartbeatState `json:"state"`
	}
	out := struct {
		Results []beat `json:"results"`
	}{make([]beat, 0, len(results))}
	var failed error
	for _, r := range results {
		name := "-" // a lease is a secret: what is shown is whose it is
		if lease, err := core.ParseLease(r.Lease); err == nil {
			name = lease.Key.String()
		}
		out.Results = append(out.Results, beat{name, r.State})
		if err := r.State.Err(); err != nil && failed == nil {
			failed = beatFailed(name, err)
		}
	}
	err := a.show(out, func(g *grid) {
		g.row("INSTANCE", "STATE")
		for _, b := range out.Results {
			g.row(b.Instance, string(b.State))
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// beatFailed is the error of one heartbeat. During an outage the host has answered, so its own
// address is not in doubt.
func beatFailed(name string, err error) error {
	err = fmt.Errorf("heartbeat of %s: %w", name, err)
	if errors.Is(err, core.ErrUnavailable) {
		return &advisedError{err: err, text: err.Error() + "; the lease goes on meanwhile: try again"}
	}
	return err
}

func (a *app) deregister() *cobra.Command {
	var f actFlags
	cmd := &cobra.Command{
		Use: "deregister SERVICE ID", Short: "Remove an instance",
		Example: "  prism deregister my-service my-service-10.0.0.7-8080 --reason 'moved away'",
		Args:    exactly("service", "id"),
		RunE: a.on(func(ctx context.Context, c *client.Client, key core.Key) error {
			err := c.Deregister(ctx, discovery.DeregisterRequest{Key: key, Lease: f.lease, Reason: f.reason})
			if err != nil {
				return err
			}
			out := struct {
				Deregistered string `json:"deregistered"`
			}{key.String()}
			return a.show(out, func(g *grid) { g.row("deregistered", key.String()) })
		}),
	}
	f.add(cmd)
	return cmd
}
