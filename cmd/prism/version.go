package main

// version.go: what program this is.

import (
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/ports"
)

// release is set by the linker for a release; a build from a checkout is "dev".
var release = "dev"

type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Contract int    `json:"contract"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && release == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return release
}

func buildOf() buildInfo {
	b := buildInfo{Version: programVersion(), Contract: ports.ContractVersion, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	return b
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show what program this is",
		Example: "  prism version\n  prism version -o json",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			b := buildOf()
			return a.show(b, func(g *grid) {
				g.row("prism", b.Version)
				g.row("commit", orDash(b.Commit))
				g.row("backend contract", strconv.Itoa(b.Contract))
				g.row("go", b.Go+" "+b.Platform)
			})
		},
	}
}
