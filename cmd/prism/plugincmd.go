package main

// plugincmd.go: the commands that look at plugins without opening any.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

func (a *app) plugin() *cobra.Command {
	cmd := &cobra.Command{
		Use: "plugin", Short: "List, describe and verify backend plugins",
		Example: "  prism plugin list\n  prism plugin info etcd\n  prism plugin verify ./prism-backend-mine",
		Args:    cobra.ArbitraryArgs,
		RunE:    onlySubcommands,
	}
	cmd.AddCommand(a.pluginList(), a.pluginInfo(), a.pluginVerify())
	return cmd
}

// onlySubcommands is for commands that do nothing themselves.
func onlySubcommands(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return cmd.Help()
}

// whereFlags adds the flags that say where plugins are looked for. Without --dir it is where serve looks:
// for the backend of the configuration that may be a file.
func whereFlags(cmd *cobra.Command) func(name string) (file string, dirs []string, err error) {
	f := &configFlags{}
	var dirs []string
	cmd.Flags().StringArrayVar(&dirs, "dir", nil, "look into this `folder` instead of plugin.dirs; may be repeated")
	cmd.Flags().StringArrayVar(&f.files, "config", nil, "the YAML `file` that names plugin.dirs and plugin.file (default: as for serve)")
	return func(name string) (string, []string, error) {
		for _, dir := range dirs {
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				return "", nil, core.Invalid("--dir", dir, "there is no such folder; name one that holds plugins")
			}
		}
		if len(dirs) > 0 {
			return "", dirs, nil
		}
		loaded, err := f.load(cmd)
		if err != nil {
			return "", nil, err
		}
		where, file := loaded.Config.Plugin, ""
		if name == loaded.Config.Backend {
			file = where.File
		}
		return file, where.Dirs, nil
	}
}

func (a *app) pluginList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the plugins that are found, and where",
		Example: "  prism plugin list\n  prism plugin list --dir ./bin/plugins -o json",
		Args:    exactly(),
	}
	where := whereFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		_, dirs, err := where("")
		if err != nil {
			return err
		}
		type line struct {
			Name     string `json:"name"`
			Path     string `json:"path"`
			Shadowed bool   `json:"shadowed"`
			Problem  string `json:"problem"`
		}
		out := struct {
			Plugins []line `json:"plugins"`
		}{[]line{}}
		for _, f := range pluginhost.List(dirs) {
			out.Plugins = append(out.Plugins, line(f))
		}
		return a.show(out, func(g *grid) {
			g.row("PLUGIN", "PATH", "REMARK")
			for _, p := range out.Plugins {
				remark := p.Problem
				if p.Shadowed {
					remark = "not used: another of this name is found before it"
				}
				g.row(p.Name, p.Path, remark)
			}
		})
	}
	return cmd
}

type pluginOption struct {
	Name     string           `json:"name"`
	Type     ports.OptionType `json:"type"`
	Default  string           `json:"default"`
	Required bool             `json:"required"`
	Secret   bool             `json:"secret"`
	Doc      string           `json:"doc"`
}

type pluginDescription struct {
	Name         string         `json:"name"`
	Version      string         `json:"version"`
	Contract     int            `json:"contract"`
	Path         string         `json:"path"`
	SHA256       string         `json:"sha256"`
	Capabilities []string       `json:"capabilities"`
	Options      []pluginOption `json:"options"`
}

func describePlugin(path, sum string, d pluginrpc.Description) pluginDescription {
	out := pluginDescription{
		Name: d.Name, Version: d.Version, Contract: d.Contract, Path: path, SHA256: sum, Capabilities: capabilityNames(d.Capabilities), Options: []pluginOption{},
	}
	for _, o := range d.Options {
		out.Options = append(out.Options, pluginOption(o))
	}
	return out
}

// capabilityNames are those that a backend has, as the protocol calls them.
func capabilityNames(c ports.Capabilities) []string {
	names := []string{}
	for _, can := range []struct {
		name string
		has  bool
	}{
		{"history", c.History},
		{"resume", c.Resume},
		{"replicated", c.Replicated},
		{"expiry_unattended", c.ExpiryUnattended},
		{"durable", c.Durable},
		{"multi_host", c.MultiHost},
	} {
		if can.has {
			names = append(names, can.name)
		}
	}
	return names
}

func (a *app) pluginInfo() *cobra.Command {
	cmd := &cobra.Command{
		Use: "info NAME", Short: "Show what a plugin is and which options it takes",
		Long:    "Show what a plugin is and which options it takes in backend_config. It is started and asked; its store is not touched.",
		Example: "  prism plugin info etcd",
		Args:    exactly("name"),
	}
	where := whereFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file, dirs, err := where(args[0])
		if err != nil {
			return err
		}
		return a.showPlugin(cmd.Context(), args[0], file, dirs, "")
	}
	return cmd
}

func (a *app) pluginVerify() *cobra.Command {
	var sum string
	cmd := &cobra.Command{
		Use: "verify NAME|PATH", Short: "Check that a plugin can be used, and print its digest",
		Long: `Check that a plugin starts, introduces itself, has the name of its file and speaks this
program's contract, and print the digest to pin it with (plugin.sha256). With --sha256 the
digest must be that one. Whether it keeps the contract is for the conformance suite to show.`,
		Example: "  prism plugin verify etcd\n  prism plugin verify ./prism-backend-mine --sha256 \"$DIGEST\"",
		Args:    exactly("name"),
	}
	where := whereFlags(cmd)
	cmd.Flags().StringVar(&sum, "sha256", "", "the `digest` that the file must have")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file, dirs, err := where(args[0])
		if err != nil {
			return err
		}
		return a.showPlugin(cmd.Context(), args[0], file, dirs, sum)
	}
	return cmd
}

// showPlugin starts a plugin, by name or path, and shows what it says. The name's file, where one is
// set, comes before the folders.
func (a *app) showPlugin(ctx context.Context, plugin, file string, dirs []string, sum string) error {
	launch := pluginhost.Launch{Name: plugin, SHA256: sum}
	if strings.ContainsAny(plugin, `/\`) {
		file = plugin
		launch.Name, _ = strings.CutPrefix(strings.TrimSuffix(filepath.Base(plugin), ".exe"), "prism-backend-")
	}
	path, err := pluginhost.Find(plugin, file, dirs)
	if file != "" && errors.Is(err, core.ErrNotFound) {
		return &advisedError{err: err, text: "there is no plugin " + file + `; give its path, or a name that "prism plugin list" shows`}
	}
	if err != nil {
		return err
	}
	launch.Path = path
	digest, err := pluginhost.Digest(path)
	if err != nil {
		return err
	}
	d, err := pluginhost.Describe(ctx, launch)
	if err != nil {
		return err
	}
	if d.Contract != ports.ContractVersion {
		return fmt.Errorf("%w: %s speaks version %d of the contract, this program %d", core.ErrUnsupported, path, d.Contract, ports.ContractVersion)
	}
	out := describePlugin(path, digest, d)
	return a.show(out, func(g *grid) {
		g.row("name", out.Name)
		g.row("version", out.Version)
		g.row("contract", strconv.Itoa(out.Contract))
		g.row("path", out.Path)
		g.row("sha256", out.SHA256)
		g.row("capabilities", orDash(strings.Join(out.Capabilities, ", ")))
		for _, o := range out.Options {
			remarks := []string{string(o.Type)}
			if o.Required {
				remarks = append(remarks, "required")
			}
			if o.Secret {
				remarks = append(remarks, "secret")
			}
			if o.Default != "" {
				remarks = append(remarks, "default "+o.Default)
			}
			g.row("option", o.Name+" ("+strings.Join(remarks, ", ")+") "+o.Doc)
		}
	})
}
