package main

// configcmd.go: the commands that show and check the configuration of a host.

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/ports"
)

func (a *app) config() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Show and check the configuration of a host",
		Example: "  prism config show\n  prism config validate --config prism.yaml",
		Args:    cobra.ArbitraryArgs,
		RunE:    onlySubcommands,
	}
	cmd.AddCommand(a.configShow(), a.configValidate())
	return cmd
}

// schemaOf asks the backend's plugin which options it takes.
func schemaOf(ctx context.Context, cfg config.Config) ([]ports.Option, error) {
	path, err := pluginhost.Find(cfg.Backend, cfg.Plugin.File, cfg.Plugin.Dirs)
	if err != nil {
		return nil, err
	}
	d, err := pluginhost.Describe(ctx, pluginhost.Launch{Path: path, Name: cfg.Backend, SHA256: cfg.Plugin.SHA256})
	return d.Options, err
}

func (a *app) configShow() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use: "show", Short: "Show each value and where it came from",
		Long: `Show each value in force, the layer and the place that it came from, and which do nothing.
Secrets are masked. Values of the backend are masked as its plugin says; where there is no
plugin, by their names.`,
		Example: "  prism config show\n  prism config show --config prism.yaml --environment production -o json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := f.load(cmd)
			if err != nil {
				return err
			}
			schema, err := schemaOf(cmd.Context(), loaded.Config)
			if err != nil {
				a.warn([]string{"secrets of the backend are masked by their names: " + err.Error()})
			}
			return a.showConfig(loaded, schema)
		},
	}
	f.addFiles(cmd)
	return cmd
}

func (a *app) showConfig(loaded *config.Loaded, schema []ports.Option) error {
	out := struct {
		Files   []string       `json:"files"`
		Values  []config.Entry `json:"values"`
		Notices []string       `json:"notices"`
	}{append([]string{}, loaded.FilesRead...), loaded.Show(schema...), []string{}}
	for _, n := range loaded.Notices {
		out.Notices = append(out.Notices, n.String())
	}
	return a.show(out, func(g *grid) {
		g.row("KEY", "VALUE", "LAYER", "FROM", "REMARK")
		for _, e := range out.Values {
			g.row(e.Path, short(e.Value), string(e.Layer), orDash(e.Origin), e.NoEffect)
		}
		g.note = "No file was read."
		if len(out.Files) > 0 {
			g.note = "Read: " + strings.Join(out.Files, ", ")
		}
		for _, n := range loaded.Notices {
			if n.Kind != config.NoticeNoEffect { // those stand in the table
				g.note += "\n" + n.String()
			}
		}
	})
}

// short is a value in a cell of a table.
func short(v any) string {
	text, isText := v.(string)
	if !isText {
		b, err := marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		text = string(b)
	}
	const limit = 60
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return text
}

func (a *app) configValidate() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use: "validate", Short: "Check the configuration, and start nothing",
		Long: `Check the configuration as "prism serve" would: every key, every value, and the backend's options
by what its plugin says. The store is not touched. The exit code is 2 when something is wrong, a
plugin that is not there included, and 4 when the plugin does not answer.`,
		Example: "  prism config validate\n  prism config validate --config prism.yaml --environment production",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := f.loadValid(cmd)
			if err != nil {
				return err
			}
			schema, err := schemaOf(cmd.Context(), loaded.Config)
			if err == nil {
				_, err = loaded.ValidateBackend(schema)
			}
			if err != nil {
				return wrongConfiguration(err)
			}
			return a.showValid(loaded)
		},
	}
	f.addFiles(cmd)
	return cmd
}

func (a *app) showValid(loaded *config.Loaded) error {
	out := struct {
		Valid   bool     `json:"valid"`
		Files   []string `json:"files"`
		Notices []string `json:"notices"`
	}{true, append([]string{}, loaded.FilesRead...), []string{}}
	for _, n := range loaded.Notices {
		out.Notices = append(out.Notices, n.String())
	}
	return a.show(out, func(g *grid) {
		for _, n := range out.Notices {
			g.row("note: " + n)
		}
		from := "the defaults"
		if len(out.Files) > 0 {
			from = strings.Join(out.Files, ", ")
		}
		g.row("The configuration is valid: " + from + ", backend " + loaded.Config.Backend + ".")
	})
}
