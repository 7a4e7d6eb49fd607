package main

// app.go: the root command, and how every command ends: with one sentence on standard error
// and an exit code that scripts can tell apart.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/core"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitUnavailable = 4
)

// app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	addresses string
	token     string
	output    string
	helpFor   error // what --help was asked of, where there is no such command
}

// run carries out one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.helpFor
	}
	if err == nil {
		return exitDone
	}
	if status, ok := errors.AsType[*childExitError](err); ok {
		return status.code // the command that was run has said what there was to say
	}
	for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintln(stderr, "prism: "+line)
	}
	return exitCode(err)
}

// usageError is a command line that cannot be carried out as it is written.
type usageError struct{ error }

// Unwrap returns what is wrong.
func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	_, named := errors.AsType[*core.FieldError](err)
	switch {
	case errors.Is(err, core.ErrInvalid), errors.Is(err, core.ErrTooLarge), named && errors.Is(err, core.ErrUnsupported):
		return exitUsage
	case errors.Is(err, core.ErrNotFound):
		return exitNotFound
	case errors.Is(err, core.ErrUnavailable), errors.Is(err, core.ErrNoEligible), errors.Is(err, context.DeadlineExceeded):
		return exitUnavailable
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "prism",
		Short: "Service discovery with one behaviour over the registry that you already run",
		Long: `Prism registers services, finds, picks, watches and checks them, over memory, Consul, etcd,
NATS, Redis or a backend of your own.

"prism serve" runs a host. The other commands talk to one, at --address or PRISM_ADDRESS.
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 unavailable.`,
		Example: `  prism serve
  prism register my-service --port 8081 --check none
  prism services`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.addresses, "address", "", "the host's `URL`, several with commas are tried in turn (default $PRISM_ADDRESS, else "+defaultAddress+")")
	flags.StringVar(&a.token, "token", "", "the `token` that the host asks for (default $PRISM_TOKEN)")
	flags.StringVarP(&a.output, "output", "o", formatTable, "`format` of the answer: table, json or yaml")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		said, _, _ := strings.Cut(err.Error(), ": strconv.") // what follows is Go's own
		return usageError{fmt.Errorf("%s; see %s --help", said, cmd.CommandPath())}
	})
	root.Version = programVersion()
	root.SetVersionTemplate("prism {{.Version}}\n")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }
	root.SetCompletionCommandGroupID(groupHost)
	root.AddGroup(
		&cobra.Group{ID: groupFind, Title: "Find services:"}, &cobra.Group{ID: groupRegister, Title: "Register them:"},
		&cobra.Group{ID: groupOperate, Title: "Operate them:"}, &cobra.Group{ID: groupHost, Title: "Run a host:"},
	)
	a.add(root, groupFind, a.services(), a.instances(), a.pick(), a.wait(), a.watch(), a.events())
	a.add(root, groupRegister, a.register(), a.heartbeat(), a.deregister(), a.run())
	a.add(root, groupOperate, a.setStatus(), a.drain(), a.restore(), a.check())
	a.add(root, groupHost, a.serve(), a.status(), a.plugin(), a.conformance(), a.config(), a.version())
	root.SetHelpCommand(help(root))
	a.strictHelp(root)
	root.InitDefaultCompletionCmd()
	strictCompletion(root)
	return root
}

const (
	groupFind     = "find"
	groupRegister = "register"
	groupOperate  = "operate"
	groupHost     = "host"
)

func (a *app) add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// help replaces cobra's command, which takes any word for a command.
func help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "Show what a command does", GroupID: groupHost,
		Example: "  prism help register\n  prism help config show",
		RunE: func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err != nil {
				return usageError{err}
			}
			if len(rest) > 0 {
				return unknownCommand(found, rest[0])
			}
			return found.Help()
		},
	}
}

// strictHelp has --help refuse a command that is not there, where cobra shows the help of the one above it.
func (a *app) strictHelp(root *cobra.Command) {
	show := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 {
			a.helpFor = unknownCommand(cmd, words[0])
			return
		}
		show(cmd, args)
	})
}

// strictCompletion has cobra's command refuse what it does not know, as all others do.
func strictCompletion(root *cobra.Command) {
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	completion.Args, completion.RunE = cobra.ArbitraryArgs, onlySubcommands
	completion.Example = "  prism completion bash > /etc/bash_completion.d/prism"
	for _, shell := range completion.Commands() {
		shell.Args = exactly()
		shell.Example = "  prism completion " + shell.Name()
	}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	advice := "see " + cmd.CommandPath() + " --help"
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		advice = "did you mean " + near[0] + "?"
	}
	return usageError{fmt.Errorf("there is no command %q; %s", name, advice)}
}

// exactly refuses any other number of arguments, and says which there should be.
func exactly(names ...string) cobra.PositionalArgs { return between(len(names), len(names), names...) }

// between likewise, for commands whose last arguments may be left out (or, most being −1,
// repeated).
func between(least, most int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		wanted := strings.ToUpper(strings.Join(names, " "))
		switch {
		case len(args) < least:
			return usageError{fmt.Errorf("%s is missing; use %s", strings.ToUpper(names[len(args)]), cmd.UseLine())}
		case most >= 0 && len(args) > most:
			return usageError{fmt.Errorf("%q is too much: %s takes %s; see %s --help", args[most], cmd.CommandPath(), orNothing(wanted), cmd.CommandPath())}
		}
		return nil
	}
}

func orNothing(words string) string {
	if words == "" {
		return "no arguments"
	}
	return words
}
