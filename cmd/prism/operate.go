package main

// operate.go: the commands that act on instances: set-status, drain, restore, check.

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// actFlags are for acts that the history keeps.
type actFlags struct{ reason, lease string }

func (f *actFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.reason, "reason", "", "`why`, for the history and for others")
	cmd.Flags().StringVar(&f.lease, "lease", "", "the owner's `lease`; without it this is an operator's act")
}

func (a *app) setStatus() *cobra.Command {
	var f actFlags
	cmd := &cobra.Command{
		Use: "set-status SERVICE ID STATUS", Short: "Set the status of an instance",
		Long: `Set the status of an instance: up, healthy, unhealthy, starting, maintenance or stopping.
healthy and unhealthy hold until a check says otherwise; maintenance and stopping until "up".`,
		Example: "  prism set-status my-service my-service-10.0.0.7-8080 maintenance --reason 'disk swap'",
		Args:    exactly("service", "id", "status"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, err := core.ParseSettable("status", args[2]); err != nil {
				return err
			}
			return a.on(a.changeStatus(args[2], &f))(cmd, args)
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) drain() *cobra.Command {
	var f actFlags
	cmd := &cobra.Command{
		Use: "drain SERVICE ID", Short: "Take an instance out of traffic",
		Long:    "Take an instance out of traffic: its status becomes maintenance, and checks do not end that.",
		Example: "  prism drain my-service my-service-10.0.0.7-8080 --reason deployment",
		Args:    exactly("service", "id"),
		RunE:    a.on(a.changeStatus(string(core.StatusMaintenance), &f)),
	}
	f.add(cmd)
	return cmd
}

func (a *app) restore() *cobra.Command {
	var f actFlags
	cmd := &cobra.Command{
		Use: "restore SERVICE ID", Short: "Bring a drained instance back into traffic",
		Example: "  prism restore my-service my-service-10.0.0.7-8080",
		Args:    exactly("service", "id"),
		RunE:    a.on(a.changeStatus(string(core.StatusUp), &f)),
	}
	f.add(cmd)
	return cmd
}

// changeStatus is the act of setting a status; the flags are read when it is carried out.
func (a *app) changeStatus(status string, f *actFlags) func(context.Context, *client.Client, core.Key) error {
	return func(ctx context.Context, c *client.Client, key core.Key) error {
		in, err := c.SetStatus(ctx, discovery.StatusRequest{Key: key, Status: status, Reason: f.reason, Lease: f.lease})
		if err != nil {
			return err
		}
		return a.show(in, func(g *grid) { instanceRows(g, []core.Instance{in}) })
	}
}

// errUnhealthy is the end of a check that did its work and found an unhealthy instance.
var errUnhealthy = errors.New("the instance is unhealthy")

func (a *app) check() *cobra.Command {
	return &cobra.Command{
		Use: "check SERVICE ID", Short: "Check an instance's health now",
		Long:    "Check an instance's health now, by the host that answers; this changes nothing. The exit code is 1 when it is unhealthy.",
		Example: "  prism check my-service my-service-10.0.0.7-8080",
		Args:    exactly("service", "id"),
		RunE:    a.on(a.checkOnce),
	}
}

func (a *app) checkOnce(ctx context.Context, c *client.Client, key core.Key) error {
	res, err := c.Check(ctx, key)
	if err != nil {
		return err
	}
	out := struct {
		Healthy    bool    `json:"healthy"`
		StatusCode int     `json:"status_code"`
		LatencyMS  float64 `json:"latency_ms"`
		Detail     string  `json:"detail"`
	}{res.Healthy, res.StatusCode, float64(res.Latency.Microseconds()) / 1000, res.Detail}
	verdict := "unhealthy"
	if res.Healthy {
		verdict = "healthy"
	}
	if err := a.show(out, func(g *grid) { g.row(verdict, res.Detail) }); err != nil || res.Healthy {
		return err
	}
	return fmt.Errorf("%w: %s", errUnhealthy, res.Detail)
}
