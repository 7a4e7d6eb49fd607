package main

// suite.go: a run of the conformance suite, from the plugin's options to the last report.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/config"
	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/conformance/ways"
	"github.com/marketprism/prism/ports"
)

// suiteReport is what came of a run, with what it was a run of.
type suiteReport struct {
	Backend  string `json:"backend"`
	Version  string `json:"version"`
	Contract int    `json:"contract"`
	// Capabilities are what the backend claims: they choose what the cases assert.
	Capabilities []string      `json:"capabilities"`
	Prism        string        `json:"prism"`
	Seed         uint64        `json:"seed"`
	Command      string        `json:"command"` // repeats the run
	Started      time.Time     `json:"started"`
	Duration     time.Duration `json:"duration_ns"`
	conformance.Report

	ofAll string // Command, for all cases
}

// repeat is the command line that repeats one case.
func (r *suiteReport) repeat(id string) string { return r.ofAll + " --run '^" + id + "$'" }

// subject is the plugin that a suite runs on.
type subject struct {
	path    string
	info    ports.Info
	options map[string]any
	command string
}

// runSuite runs cases. Errors are for what kept them from running, and for a bad outcome.
func (a *app) runSuite(cmd *cobra.Command, f *suiteFlags, cases []conformance.Case) error {
	return a.untilSignal(cmd.Context(), func(ctx context.Context) error {
		s, err := f.subject(ctx, cmd)
		if err != nil {
			return err
		}
		out, err := f.openReport()
		if err != nil {
			return err
		}
		if out != nil {
			defer out.Close() //nolint:errcheck // writing it closes it and tells
		}
		h, remove, err := f.harness(s)
		if err != nil {
			return err
		}
		defer remove()
		info, err := probeStore(ctx, h)
		if err != nil {
			return err
		}
		r := &suiteReport{
			Backend: s.info.Name, Version: s.info.Version, Contract: ports.ContractVersion, Prism: programVersion(),
			Capabilities: capabilityNames(info.Capabilities), Seed: f.seed, Command: s.command + f.chosenCases(), ofAll: s.command,
			Started: time.Now().UTC().Truncate(time.Second),
		}
		view := newSuiteView(a.stderr, r, len(cases))
		began := time.Now()
		r.Report = conformance.Run(ctx, cases, h, view, conformance.WithParallel(f.parallel))
		r.Duration = time.Since(began)
		view.end()
		return errors.Join(a.tellSuite(f, r, out), verdict(ctx, r))
	})
}

// subject reads the configuration and asks the plugin what it is.
func (f *suiteFlags) subject(ctx context.Context, cmd *cobra.Command) (*subject, error) {
	if err := f.choosePlugin(cmd); err != nil {
		return nil, err
	}
	loaded, err := f.loadValid(cmd)
	if err != nil {
		return nil, err
	}
	cfg := loaded.Config
	path, err := pluginhost.Find(cfg.Backend, cfg.Plugin.File, cfg.Plugin.Dirs)
	if err != nil {
		return nil, wrongConfiguration(err)
	}
	d, err := pluginhost.Describe(ctx, pluginhost.Launch{Path: path, Name: cfg.Backend, SHA256: cfg.Plugin.SHA256})
	if err != nil {
		return nil, wrongConfiguration(err)
	}
	if f.storeIsPlugin && d.Capabilities.MultiHost {
		return nil, usageError{fmt.Errorf("--store-is-plugin: backend %s says that several hosts share its store (multi_host), so that is not in the plugin's process; leave the flag out", d.Name)}
	}
	raw, err := loaded.ValidateBackend(d.Options)
	if err != nil {
		return nil, wrongConfiguration(err)
	}
	var options map[string]json.RawMessage
	if err := json.Unmarshal(raw, &options); err != nil {
		return nil, fmt.Errorf("the options of backend %s: %w", d.Name, err)
	}
	delete(options, ports.OptionNamespace) // each case has its own
	s := &subject{
		path: path, info: ports.Info{Name: d.Name, Version: d.Version, Capabilities: d.Capabilities, Limits: d.Limits}, options: map[string]any{},
		command: f.commandLine(shownBy(loaded, d.Options)),
	}
	for name, value := range options {
		s.options[name] = value
	}
	return s, nil
}

// shownBy tells how a value of the configuration may be shown. One that is under another name
// there stays a secret.
func shownBy(loaded *config.Loaded, schema []ports.Option) func(key, value string) string {
	entries := loaded.Show(schema...)
	return func(key, value string) string {
		for _, e := range entries {
			if e.Path != key {
				continue
			}
			if text, isText := e.Value.(string); isText {
				return text
			}
			return value
		}
		return "***"
	}
}

// harness launches the plugin; remove takes away what that leaves.
func (f *suiteFlags) harness(s *subject) (h conformance.Harness, remove func(), err error) {
	options := func(string) map[string]any { return maps.Clone(s.options) }
	if !f.storeIsPlugin {
		return ways.Launched("", s.path, s.info.Name, options), func() {}, nil
	}
	dir, err := os.MkdirTemp("", "prism-")
	if err != nil {
		return nil, nil, err
	}
	return ways.WithVandal(ways.LaunchedStore(dir, s.path, s.info.Name, options), ways.NoDocuments{}),
		func() { _ = os.RemoveAll(dir) }, nil // it is under the system's own folder for such files
}

// probeStore opens the backend once, so that a store that is not there is said once, and returns
// what the backend says of itself with its options.
func probeStore(ctx context.Context, h conformance.Harness) (ports.Info, error) {
	b, err := h.Open(ctx, "conformance-"+strings.ToLower(rand.Text()[:12]))
	if err != nil {
		return ports.Info{}, wrongConfiguration(err)
	}
	return b.Info(), b.Close()
}

// verdict is the error of a run whose backend did not show that it keeps the contract.
func verdict(ctx context.Context, r *suiteReport) error {
	switch {
	case r.Failed > 0:
		return fmt.Errorf("backend %s does not keep the contract: %d of %d cases failed", r.Backend, r.Failed, len(r.Results))
	case ctx.Err() != nil:
		return fmt.Errorf("the run was interrupted; %d of %d cases were not run", r.NotRun, len(r.Results))
	case r.Passed == 0:
		return fmt.Errorf("no case was run: %s", r.Results[0].Reason)
	}
	return nil
}

// tellSuite shows the result, and writes the report.
func (a *app) tellSuite(f *suiteFlags, r *suiteReport, out *os.File) error {
	if f.report == "" {
		return a.show(r, r.table)
	}
	write := reportWriters[f.report]
	if out == nil {
		g := &grid{}
		r.table(g)
		return errors.Join(g.write(a.stderr), write(a.stdout, r))
	}
	err := errors.Join(out.Truncate(0), write(out, r), out.Close())
	if err != nil {
		err = fmt.Errorf("--report-file: %s could not be written: %w", f.file, err)
	}
	return errors.Join(a.show(r, r.table), err)
}

// reportWriters write the formats of --report.
var reportWriters = map[string]func(io.Writer, *suiteReport) error{
	"json":  func(w io.Writer, r *suiteReport) error { return writeJSON(w, r) },
	"junit": writeJUnit,
	"md":    writeMarkdown,
}

// errAbandoned ends a run that a second signal does not let end in good order.
var errAbandoned = errors.New("a second signal ended the run at once; nothing was reported")

// untilSignal does some work whose context ends with the first signal, and gives up waiting for
// it at a second one.
func (a *app) untilSignal(ctx context.Context, work func(ctx context.Context) error) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- work(ctx) }()
	select {
	case err := <-done:
		return err
	case <-signals:
		fmt.Fprintln(a.stderr, "prism: interrupted; what runs is ended, what is left is not run")
		cancel()
	}
	err := leave(signals, func() error { return <-done })
	switch {
	case errors.Is(err, errForced):
		return errAbandoned
	case errors.Is(err, context.Canceled):
		return errors.New("the run was interrupted before the first case")
	}
	return err
}
