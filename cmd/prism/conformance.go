package main

// conformance.go: the command that runs the conformance suite on a plugin, and what its flags
// mean. suite.go carries the run out, suiteview.go shows it, suitereport.go writes reports.

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/core"
)

// suiteFlags are the flags of "prism conformance".
type suiteFlags struct {
	configFlags

	plugin        string
	storeIsPlugin bool
	only, profile string
	report, file  string
	parallel      int
	seed          uint64
	list          bool
}

func (a *app) conformance() *cobra.Command {
	var f suiteFlags
	cmd := &cobra.Command{
		Use: "conformance [--plugin FILE | --backend NAME]", Short: "Show whether a backend keeps the contract",
		Long: `Run the conformance suite on a plugin: the contract of a backend, case by case. The plugin runs
under the supervisor, a process for each namespace, with the options that "prism serve" would
give it; with neither --plugin nor --backend it is the backend that the configuration names. Each
case uses a namespace of its own, named conformance-…, so the store may hold other data; still,
give it one that is there for tests, as the suite loads it. The account needs the backend's
permissions on all of these namespaces, and what is left in them stays: docs/operate.md says how
to remove it.

Cases of the profile faults break the store, and some of core write into it past the backend. This
command has the means for neither: such cases are reported as not run, never as passed. Only
where the records live in the plugin's own process, as memory's do, does --store-is-plugin let it
stop, halt and kill that process as the loss of the store. For any other store a Go test of the
backend has the means, see docs/write-a-backend.md.

A run takes about a minute, and one or two more with the cases that break the store. Progress is
shown on standard error, and so is the table of results where a report goes to standard output. The
exit code is 0 when every case that ran passed, 1 when one failed or none ran or the run was
interrupted, 2 for wrong usage, 4 when the store does not answer.`,
		Example: `  prism conformance --backend memory --store-is-plugin
  prism conformance --plugin ./prism-backend-mine --set backend_config.url=http://127.0.0.1:2379
  prism conformance --plugin ./prism-backend-mine --run '^session/' --seed 42
  prism conformance --backend etcd --report junit --report-file report.xml
  prism conformance --list --profile faults`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cases, err := f.cases()
			if err != nil {
				return err
			}
			if f.list {
				return a.listCases(cases)
			}
			return a.runSuite(cmd, &f, cases)
		},
	}
	f.addBackend(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.plugin, "plugin", "", "the plugin's `file`, in place of the one that --backend finds")
	flags.BoolVar(&f.storeIsPlugin, "store-is-plugin", false, "the records live in the plugin's process: break that as the store")
	flags.StringVar(&f.only, "run", "", "run the cases whose id matches the `regexp`")
	flags.StringVar(&f.profile, "profile", "", "run the cases of one `profile`: core or faults (default both)")
	flags.StringVar(&f.report, "report", "", "write a report in this `format`: json, junit or md")
	flags.StringVar(&f.file, "report-file", "", "the `file` to write the report to (default standard output)")
	flags.IntVar(&f.parallel, "parallel", conformance.AtOnce, "how `many` cases of core run at once")
	flags.Uint64Var(&f.seed, "seed", 0, "repeat the random choices of an earlier run; 0 is a seed of its own")
	flags.BoolVar(&f.list, "list", false, "list the cases, and run none")
	return cmd
}

// cases are those that the flags choose; the seed is settled with them.
func (f *suiteFlags) cases() ([]conformance.Case, error) {
	pattern, err := regexp.Compile(f.only)
	if err != nil {
		return nil, usageError{fmt.Errorf("--run: %q is no regular expression: %s; it is matched against ids such as session/open, see prism conformance --list",
			f.only, strings.TrimPrefix(err.Error(), "error parsing regexp: "))}
	}
	profile := conformance.Profile(f.profile)
	switch {
	case f.profile != "" && profile != conformance.ProfileCore && profile != conformance.ProfileFaults:
		return nil, usageError{fmt.Errorf("--profile: %q is not allowed; use core or faults, or leave it out for both", f.profile)}
	case f.report != "" && reportWriters[f.report] == nil:
		return nil, usageError{fmt.Errorf("--report: %q is not allowed; use json, junit or md", f.report)}
	case f.file != "" && f.report == "":
		return nil, usageError{errors.New("--report-file: the format is missing; add --report json, junit or md")}
	case f.parallel < 1 || f.parallel > maxParallel:
		return nil, usageError{fmt.Errorf("--parallel: %d is not allowed; use 1–%d", f.parallel, maxParallel)}
	}
	for f.seed == 0 {
		f.seed = uint64(rand.Uint32()) // short to type, and exact in every reader of JSON
	}
	cases := slices.DeleteFunc(conformance.Cases(conformance.WithSeed(f.seed)), func(c conformance.Case) bool {
		return !pattern.MatchString(c.ID) || profile != "" && c.Profile != profile
	})
	if len(cases) == 0 {
		return nil, usageError{fmt.Errorf("--run: no case%s matches %q; see prism conformance --list", ofProfile(f.profile), f.only)}
	}
	return cases, nil
}

// maxParallel is as many cases as a person can mean: each has a process or two.
const maxParallel = 256

func ofProfile(profile string) string {
	if profile == "" {
		return ""
	}
	return " of the profile " + profile
}

func (a *app) listCases(cases []conformance.Case) error {
	type line struct {
		ID          string              `json:"id"`
		Profile     conformance.Profile `json:"profile"`
		Needs       []string            `json:"needs"`
		Requirement string              `json:"requirement"`
	}
	out := struct {
		Cases []line `json:"cases"`
	}{[]line{}}
	for _, c := range cases {
		needs := []string{}
		for _, fault := range c.Needs {
			needs = append(needs, string(fault))
		}
		if c.Writes {
			needs = append(needs, "write")
		}
		out.Cases = append(out.Cases, line{c.ID, c.Profile, needs, c.Requirement})
	}
	return a.show(out, func(g *grid) {
		g.row("CASE", "PROFILE", "NEEDS", "REQUIREMENT")
		for _, l := range out.Cases {
			g.row(l.ID, string(l.Profile), orDash(strings.Join(l.Needs, ",")), l.Requirement)
		}
	})
}

// choosePlugin has --plugin stand for the configuration's backend and plugin.file.
func (f *suiteFlags) choosePlugin(cmd *cobra.Command) error {
	if f.plugin == "" {
		return nil
	}
	path, err := pluginhost.Find("", f.plugin, nil)
	if err != nil {
		return usageError{fmt.Errorf("--plugin: %w", err)}
	}
	f.fixed = map[string]any{"plugin.file": path}
	if cmd.Flags().Changed("backend") {
		return nil
	}
	d, err := pluginhost.Describe(cmd.Context(), pluginhost.Launch{Path: path})
	if err != nil {
		return wrongConfiguration(fmt.Errorf("--plugin: %w", err))
	}
	f.fixed["backend"] = d.Name
	return nil
}

// commandLine repeats a run of all cases with this seed. What the plugin calls a secret is not in
// it.
func (f *suiteFlags) commandLine(shown func(key, value string) string) string {
	words := []string{shellWord(asTyped(os.Args[0], exec.LookPath)), "conformance"}
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, shellWord(value))
		}
	}
	add("--plugin", f.plugin)
	add("--backend", f.backend)
	for _, file := range f.files {
		add("--config", file)
	}
	add("--environment", f.environment)
	for _, set := range f.set {
		key, value, _ := strings.Cut(set, "=")
		add("--set", key+"="+shown(key, value))
	}
	if f.storeIsPlugin {
		words = append(words, "--store-is-plugin")
	}
	if f.parallel != conformance.AtOnce {
		add("--parallel", strconv.Itoa(f.parallel))
	}
	add("--seed", strconv.FormatUint(f.seed, 10))
	return strings.Join(words, " ")
}

// chosenCases are the flags that choose among the cases, as the end of a command line.
func (f *suiteFlags) chosenCases() string {
	var words string
	if f.profile != "" {
		words = " --profile " + shellWord(f.profile)
	}
	if f.only != "" {
		words += " --run " + shellWord(f.only)
	}
	return words
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellWord quotes a word for a shell where it needs that.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// openReport opens the report's file, before anything runs that takes long; nil for standard
// output. What stood in it stays until the report is written.
func (f *suiteFlags) openReport() (*os.File, error) {
	if f.file == "" {
		return nil, nil //nolint:nilnil // no file is what "" asks for
	}
	out, err := os.OpenFile(f.file, os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // a report is for everybody, at a path of the user's
	if err != nil {
		cause := err
		if path, ok := errors.AsType[*os.PathError](err); ok {
			cause = path.Err
		}
		return nil, core.Invalid("--report-file", f.file, cmp.Or(cause, err).Error()+"; name a file in a folder that you may write to")
	}
	return out, nil
}
