package main

// pick.go: the command that chooses an instance, and says why it chose none.

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

type pickFlags struct {
	url, explain     bool
	policy, key      string
	filter, endpoint string
	exclude          []string
}

func (a *app) pick() *cobra.Command {
	var f pickFlags
	cmd := &cobra.Command{
		Use: "pick SERVICE", Short: "Choose an instance as load balancing does",
		Example: `  curl "$(prism pick my-service --url)/hello"
  prism pick my-service --filter 'zone == "a"'
  prism pick my-service --explain`,
		Args: exactly("service"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := core.ValidateName("service", args[0]); err != nil {
				return err
			}
			if f.url && f.explain {
				return usageError{errors.New("--url and --explain exclude one another; use one of them")}
			}
			filter, err := core.ParseFilter(f.filter)
			if err != nil {
				return err
			}
			for _, id := range f.exclude {
				if err := core.ValidateName("exclude", id); err != nil {
					return err
				}
			}
			o := discovery.PickOptions{Policy: f.policy, Key: f.key, Endpoint: f.endpoint, Filter: filter, Exclude: f.exclude}
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				if f.explain {
					return a.explainPick(ctx, c, args[0], o)
				}
				return a.pickOne(ctx, c, args[0], o, f.url)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.url, "url", false, "print the URL alone")
	flags.BoolVar(&f.explain, "explain", false, "say of each instance whether it gets traffic, how much, and why not")
	flags.StringVar(&f.policy, "policy", "", "the `policy` instead of the host's: weighted_round_robin, round_robin, weighted_random, random")
	flags.StringVar(&f.key, "key", "", "the `key` for policies that go by one")
	flags.StringVar(&f.filter, "filter", "", "only those that an `expression` selects")
	flags.StringVar(&f.endpoint, "endpoint", "", "the `name` of a further endpoint whose URL is wanted")
	flags.StringSliceVar(&f.exclude, "exclude", nil, "`ids` not to choose")
	return cmd
}

func (a *app) pickOne(ctx context.Context, c *client.Client, service string, o discovery.PickOptions, urlOnly bool) error {
	p, err := c.Pick(ctx, service, o)
	if err != nil {
		return err
	}
	out := struct {
		Instance core.Instance `json:"instance"`
		URL      string        `json:"url"`
		freshness
	}{p.Instance, p.URL, freshnessOf(p.Freshness)}
	return a.show(out, func(g *grid) {
		if urlOnly {
			g.row(p.URL)
			return
		}
		g.row("ID", "URL", "STATUS")
		g.row(p.Instance.ID, p.URL, string(p.Instance.Status()))
		g.note = out.note()
	})
}

func (a *app) explainPick(ctx context.Context, c *client.Client, service string, o discovery.PickOptions) error {
	list, err := c.Explain(ctx, service, o)
	if err != nil {
		return err
	}
	type line struct {
		ID       string  `json:"id"`
		Eligible bool    `json:"eligible"`
		Reason   string  `json:"reason"`
		Share    float64 `json:"share"`
	}
	out := struct {
		Instances []line `json:"instances"`
	}{make([]line, 0, len(list))}
	for _, e := range list {
		out.Instances = append(out.Instances, line(e))
	}
	return a.show(out, func(g *grid) {
		g.row("ID", "SHARE", "ELIGIBLE", "REASON")
		for _, e := range out.Instances {
			eligible := "no"
			if e.Eligible {
				eligible = "yes"
			}
			g.row(e.ID, strconv.FormatFloat(100*e.Share, 'f', 1, 64)+" %", eligible, e.Reason)
		}
	})
}
