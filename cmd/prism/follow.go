package main

// follow.go: the commands that go on until they are ended: watch, and events with --follow.

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

type watchLine struct {
	Kind     discovery.WatchKind `json:"kind"`
	Service  string              `json:"service,omitempty"`
	ID       string              `json:"id,omitempty"`
	Instance *core.Instance      `json:"instance,omitempty"`
}

func (a *app) watch() *cobra.Command {
	return &cobra.Command{
		Use: "watch [SERVICE...]", Short: "Follow instances as they come, change and go",
		Long: `Follow the named services, or all: reset, a put for each instance, synced; then changes.
After a gap comes another reset: what is not put again by the next synced is gone.`,
		Example: "  prism watch\n  prism watch my-service -o json",
		Args:    between(0, -1, "service..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, service := range args {
				if err := core.ValidateName("service", service); err != nil {
					return err
				}
			}
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				w, err := c.Watch(ctx, args...)
				if err != nil {
					return err
				}
				defer w.Close()
				for {
					item, err := w.Next(ctx)
					if err != nil {
						return ended(ctx, err)
					}
					if err := a.showWatched(item); err != nil {
						return err
					}
				}
			})
		},
	}
}

// ended is the error of a command that people end themselves.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (a *app) showWatched(item discovery.WatchItem) error {
	line := watchLine{Kind: item.Kind, Service: item.Key.Service, ID: item.Key.ID}
	text := string(item.Kind)
	switch item.Kind {
	case discovery.WatchPut:
		line.Instance = &item.Instance
		text = fmt.Sprintf("put     %s  %s  %s", item.Key, item.Instance.BaseURL(), item.Instance.Status())
	case discovery.WatchDelete:
		text = fmt.Sprintf("delete  %s", item.Key)
	case discovery.WatchReset, discovery.WatchSynced:
	}
	return a.item(line, text)
}

type eventFlags struct {
	after, service string
	types          []string
	limit          int
	follow         bool
}

func (a *app) events() *cobra.Command {
	var f eventFlags
	cmd := &cobra.Command{
		Use: "events", Short: "Show what happened, or follow what happens",
		Example: `  prism events --service my-service
  prism events --type service_expired,service_deregistered --limit 20
  prism events --follow -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.service != "" {
				if err := core.ValidateName("service", f.service); err != nil {
					return err
				}
			}
			var types []core.EventType
			for _, name := range f.types {
				t, err := core.ParseEventType("type", name)
				if err != nil {
					return err
				}
				types = append(types, t)
			}
			return a.ask(cmd, func(ctx context.Context, c *client.Client) error {
				if f.follow {
					if cmd.Flags().Changed("limit") {
						return core.Invalid("limit", f.limit, "with --follow there is none; leave one of them out")
					}
					return a.followEvents(ctx, c, discovery.SubscribeOptions{After: f.after, Service: f.service, Types: types})
				}
				return a.listEvents(ctx, c, discovery.HistoryQuery{After: f.after, Service: f.service, Types: types, Limit: f.limit})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.after, "after", "", "what came after this `cursor` (default: the newest, or with --follow new ones)")
	flags.StringVar(&f.service, "service", "", "only events of this `service`")
	flags.StringSliceVar(&f.types, "type", nil, "only events of these `types`")
	flags.IntVar(&f.limit, "limit", 100, "how `many` to show, 1–1,000")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what happens")
	return cmd
}

func (a *app) listEvents(ctx context.Context, c *client.Client, q discovery.HistoryQuery) error {
	if q.Limit < 1 || q.Limit > 1000 {
		return core.Invalid("limit", q.Limit, "use 1–1,000")
	}
	list, next, reset, err := c.Events(ctx, q)
	if err != nil {
		return err
	}
	if list == nil {
		list = []core.Event{}
	}
	out := struct {
		Events     []core.Event `json:"events"`
		NextCursor string       `json:"next_cursor"`
		Reset      bool         `json:"reset"`
	}{list, next, reset}
	return a.show(out, func(g *grid) {
		g.row("TIME", "EVENT", "INSTANCE", "STATUS", "CAUSE", "ACTOR", "REASON")
		for _, e := range list {
			g.row(core.FormatTime(e.Time), string(e.Type), instanceOf(e), statusOf(e), string(e.Cause), e.Actor, e.Reason)
		}
		if reset {
			g.note = "Events are missing before the first one: the cursor is too old, or of another life of the host."
		}
	})
}

func (a *app) followEvents(ctx context.Context, c *client.Client, o discovery.SubscribeOptions) error {
	sub, err := c.Follow(ctx, o)
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		item, err := sub.Next(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		switch {
		case item.Reset:
			err = a.item(map[string]bool{"reset": true}, "reset: events are missing here; look at the state anew")
		case item.Lagged > 0:
			err = a.item(map[string]int{"lagged": item.Lagged}, fmt.Sprintf("lagged: %d events are missing here", item.Lagged))
		default:
			e := item.Event
			parts := []string{core.FormatTime(e.Time), string(e.Type), instanceOf(e), statusOf(e), string(e.Cause), e.Actor, e.Reason}
			err = a.item(e, strings.Join(parts, "  "))
		}
		if err != nil {
			return err
		}
	}
}

func instanceOf(e core.Event) string {
	if e.Service == "" {
		return "-"
	}
	return e.Service + "/" + e.ID
}

func statusOf(e core.Event) string {
	if e.OldStatus != "" && e.NewStatus != "" && e.OldStatus != e.NewStatus {
		return string(e.OldStatus) + " → " + string(e.NewStatus)
	}
	return orDash(string(e.NewStatus))
}
