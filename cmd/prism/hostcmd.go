package main

// hostcmd.go: the command that describes a host.

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
)

func (a *app) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Describe the host, its backend and its view",
		Long:    "Describe the host, its backend and its view. The exit code is 4 when the host is not ready.",
		Example: "  prism status\n  prism status --address http://10.0.0.7:8640 -o json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				s, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if err := a.show(s, func(g *grid) { statusRows(g, s) }); err != nil || s.Ready {
					return err
				}
				return &advisedError{err: core.ErrUnavailable, text: "the host is not ready: " + s.Reason + "; its log says more"}
			})
		},
	}
}

func statusRows(g *grid, s client.HostStatus) {
	ready := "yes"
	if !s.Ready {
		ready = "no, " + s.Reason
	}
	g.row("ready", ready)
	g.row("program", "prism "+s.Build.Version+" "+s.Build.Go)
	g.row("uptime", time.Duration(s.UptimeSeconds*float64(time.Second)).Round(time.Second).String())
	g.row("namespace", s.Namespace)
	g.row("backend", strings.TrimSpace(s.Backend.Name+" "+s.Backend.Version)+fmt.Sprintf(" (contract %d)", s.Backend.Contract))
	var can []string
	for name, has := range s.Backend.Capabilities {
		if has {
			can = append(can, name)
		}
	}
	slices.Sort(can)
	g.row("capabilities", orDash(strings.Join(can, ", ")))
	if p := s.Plugin; p != nil {
		g.row("plugin", fmt.Sprintf("pid %d, restarted %d times, %s", p.PID, p.Restarts, p.Path))
	}
	view := "connected"
	if !s.View.Connected {
		view = "not connected"
	}
	g.row("view", fmt.Sprintf("%s, %d ms old, %d services, %d instances", view, s.View.AgeMS, s.View.Services, s.View.Instances))
	g.row("kept alive here", strconv.Itoa(s.View.Held)+" instances in "+strconv.Itoa(s.View.Sessions)+" sessions")
	if s.View.Skipped > 0 {
		g.row("unreadable", strconv.Itoa(s.View.Skipped)+" records")
	}
	if s.View.LastFailure != "" {
		g.row("last failure", s.View.LastFailure)
	}
}
