package main

// find.go: the commands that read: services, instances, pick, wait.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

type freshness struct {
	Stale bool  `json:"stale"`
	AgeMS int64 `json:"age_ms"`
}

func freshnessOf(f discovery.Freshness) freshness {
	return freshness{Stale: f.Stale, AgeMS: f.Age.Milliseconds()}
}

// note tells people that an answer may be old; programs read it in the answer.
func (f freshness) note() string {
	if !f.Stale {
		return ""
	}
	return fmt.Sprintf("This may be out of date: the host has had no word from its store for %s.", (time.Duration(f.AgeMS) * time.Millisecond).Round(time.Millisecond))
}

type serviceLine struct {
	Name      string `json:"name"`
	Instances int    `json:"instances"`
	Healthy   int    `json:"healthy"`
}

func (a *app) services() *cobra.Command {
	return &cobra.Command{
		Use: "services", Short: "List the services that have instances",
		Example: "  prism services\n  prism services -o json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				list, fresh, err := c.Services(ctx)
				if err != nil {
					return err
				}
				out := struct {
					Services []serviceLine `json:"services"`
					freshness
				}{make([]serviceLine, 0, len(list)), freshnessOf(fresh)}
				for _, s := range list {
					out.Services = append(out.Services, serviceLine(s))
				}
				return a.show(out, func(g *grid) {
					g.row("SERVICE", "INSTANCES", "HEALTHY")
					for _, s := range out.Services {
						g.row(s.Name, strconv.Itoa(s.Instances), strconv.Itoa(s.Healthy))
					}
					g.note = out.note()
				})
			})
		},
	}
}

func (a *app) instances() *cobra.Command {
	var status, tags, anyTags, noTags []string
	var filter string
	cmd := &cobra.Command{
		Use: "instances SERVICE", Short: "List the instances of a service",
		Long: "List the instances of a service, whatever their status. A service that nobody registered lists as empty.",
		Example: `  prism instances my-service
  prism instances my-service --status healthy --tag public
  prism instances my-service --filter 'version == "1.0.0" && weight > 10'`,
		Args: exactly("service"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := query(status, tags, anyTags, noTags, filter)
			if err != nil {
				return err
			}
			if err := core.ValidateName("service", args[0]); err != nil {
				return err
			}
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				list, fresh, err := c.Instances(ctx, args[0], q)
				if err != nil {
					return err
				}
				return a.showInstances(list, freshnessOf(fresh))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&status, "status", nil, "only these `statuses`: unknown, healthy, unhealthy, starting, maintenance, stopping")
	flags.StringSliceVar(&tags, "tag", nil, "only with all of these `tags`")
	flags.StringSliceVar(&anyTags, "any-tag", nil, "only with at least one of these `tags`")
	flags.StringSliceVar(&noTags, "no-tag", nil, "only with none of these `tags`")
	flags.StringVar(&filter, "filter", "", "only those that an `expression` selects")
	return cmd
}

func query(status, tags, anyTags, noTags []string, filter string) (q discovery.Query, err error) {
	for _, s := range status {
		parsed, err := core.ParseStatus("status", s)
		if err != nil {
			return q, err
		}
		q.Status = append(q.Status, parsed)
	}
	for flag, list := range map[string][]string{"tag": tags, "any-tag": anyTags, "no-tag": noTags} {
		for _, t := range list {
			if err := core.ValidateName(flag, t); err != nil {
				return q, err
			}
		}
	}
	q.Tags, q.AnyTags, q.NoTags = tags, anyTags, noTags
	q.Filter, err = core.ParseFilter(filter)
	return q, err
}

func (a *app) showInstances(list []core.Instance, fresh freshness) error {
	if list == nil {
		list = []core.Instance{}
	}
	out := struct {
		Instances []core.Instance `json:"instances"`
		freshness
	}{list, fresh}
	return a.show(out, func(g *grid) {
		instanceRows(g, list)
		g.note = fresh.note()
	})
}

func instanceRows(g *grid, list []core.Instance) {
	g.row("ID", "URL", "STATUS", "WEIGHT", "VERSION", "ZONE", "TAGS", "REASON")
	for _, in := range list {
		status := string(in.Status())
		if in.Suspect {
			status += " (suspect)"
		}
		g.row(in.ID, in.BaseURL(), status, strconv.Itoa(in.Weight), in.Version, orDash(in.Zone),
			orDash(strings.Join(in.Tags.Strings(), ",")), in.State.Reason)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) wait() *cobra.Command {
	var least int
	var timeout string
	cmd := &cobra.Command{
		Use: "wait SERVICE", Short: "Wait until instances may receive traffic",
		Long:    "Wait until so many instances of a service may receive traffic. At the timeout the exit code is 4.",
		Example: "  prism wait my-service\n  prism wait my-service --min 3 --timeout 2m && ./start",
		Args:    exactly("service"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := core.ValidateName("service", args[0]); err != nil {
				return err
			}
			limit, err := core.ParseDuration("timeout", timeout)
			if err != nil {
				return err
			}
			if least < 1 {
				return core.Invalid("min", least, "use 1 or more")
			}
			if limit <= 0 {
				return core.Invalid("timeout", timeout, "use more than 0 seconds")
			}
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				ctx, cancel := context.WithTimeout(ctx, limit)
				defer cancel()
				list, satisfied, err := c.Wait(ctx, args[0], least)
				if err != nil {
					return err
				}
				if !satisfied {
					return tooFew(cmd.Context(), c, args[0], least, limit)
				}
				return a.showInstances(list, freshness{})
			})
		},
	}
	cmd.Flags().IntVar(&least, "min", 1, "how `many` instances to wait for")
	cmd.Flags().StringVar(&timeout, "timeout", "30s", "how `long` to wait, in seconds or as 30s, 2m")
	return cmd
}

// tooFew is the end of a wait at its timeout. How many there are is asked for: the host's own
// answer may have come too late.
func tooFew(ctx context.Context, c *client.Client, service string, least int, limit time.Duration) error {
	list, err := c.Explain(ctx, service, discovery.PickOptions{})
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		return err
	}
	eligible := 0
	for _, in := range list {
		if in.Eligible {
			eligible++
		}
	}
	return fmt.Errorf("%w: after %s service %s has %d of %d", core.ErrNoEligible, limit, service, eligible, least)
}
