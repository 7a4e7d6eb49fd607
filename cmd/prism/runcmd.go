package main

// runcmd.go: the command that registers a program for as long as it runs.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core"
)

const (
	// runTTL is within what time others notice that this process died: session_ttl's default.
	runTTL = 15 * time.Second
	// lastCall bounds what is said to the host at the end.
	lastCall = 5 * time.Second
)

// childExitError carries the exit code of the command that was run.
type childExitError struct{ code int }

// Error implements error.
func (e *childExitError) Error() string {
	return fmt.Sprintf("the command ended with status %d", e.code)
}

func (a *app) run() *cobra.Command {
	var f specFlags
	var drain string
	cmd := &cobra.Command{
		Use: "run SERVICE [flags] -- COMMAND [ARG...]", Short: "Register a program for as long as it runs",
		Long: `Register an instance, send its heartbeats, and run a command until it ends; then deregister it
and end with the command's exit code. SIGTERM and ctrl-C take the instance out of traffic
first, wait the drain timeout, deregister, and only then reach the command; a second one ends
both at once (within half a second of the first it counts as the same). Other signals are
passed on. Until the host has answered, the command does not run, and a signal ends all at once.

What is sent to the command as well does not wait for the instance to leave: ctrl-C at a terminal
reaches both, and so does the stop of a systemd unit without KillMode=mixed.`,
		Example: `  prism run my-service --port 8081 -- ./server --listen :8081
  prism run my-service --port 8081 --check-path /alive --drain-timeout 20s -- python3 -m http.server 8081`,
		Args: func(cmd *cobra.Command, args []string) error {
			at := cmd.ArgsLenAtDash()
			switch {
			case at == 0 || len(args) == 0:
				return usageError{errors.New("SERVICE is missing; use prism run SERVICE --port PORT -- COMMAND")}
			case at < 0 || at == len(args):
				return usageError{errors.New("COMMAND is missing; put it after --, as in prism run SERVICE --port PORT -- COMMAND")}
			case at > 1:
				return usageError{fmt.Errorf("%q is too much before --; use prism run SERVICE --port PORT -- COMMAND", args[1])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := f.spec(a, cmd, args[0])
			if err != nil {
				return err
			}
			spec.Keepalive = core.KeepaliveClient
			if spec.TTL == 0 {
				spec.TTL = runTTL
			}
			pause, err := core.ParseDuration("drain-timeout", drain)
			if err != nil {
				return err
			}
			if pause < 0 {
				return core.Invalid("drain-timeout", drain, "use 0 seconds or more")
			}
			return a.runCommand(cmd.Context(), spec, pause, args[1:])
		},
	}
	f.add(cmd)
	cmd.Flags().Lookup("ttl").Usage = fmt.Sprintf("%s (default %d)", ttlUsage, int(runTTL.Seconds()))
	cmd.Flags().StringVar(&drain, "drain-timeout", "5s", "how `long` to stay out of traffic before the command is told to end")
	return cmd
}

// runner is a command and its registration.
type runner struct {
	a       *app
	reg     *client.Registration
	child   *exec.Cmd
	drain   time.Duration
	signals chan os.Signal
	ended   chan error // how the child ended; holds one
}

func (a *app) runCommand(ctx context.Context, spec core.Spec, drain time.Duration, command []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return &advisedError{err: core.ErrNotFound, text: "the command " + command[0] + " is not there, or no program; give its path"}
	}
	c, err := a.connect(slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer c.Close()
	r := &runner{a: a, drain: drain, signals: make(chan os.Signal, 8), ended: make(chan error, 1)}
	signal.Notify(r.signals, append([]os.Signal{os.Interrupt, syscall.SIGTERM}, passedSignals...)...)
	defer signal.Stop(r.signals)

	if err := r.register(ctx, c, spec); err != nil {
		return err
	}
	a.warn(r.reg.Warnings())
	r.child = exec.CommandContext(context.WithoutCancel(ctx), path, command[1:]...)
	r.child.Stdin, r.child.Stdout, r.child.Stderr, r.child.WaitDelay = a.stdin, a.stdout, a.stderr, lastCall
	if err := r.child.Start(); err != nil {
		r.deregister(ctx)
		return fmt.Errorf("the command %s cannot be run: %w", command[0], err)
	}
	go func() { r.ended <- r.child.Wait() }()
	return r.tend(ctx)
}

// register registers the instance, unless a signal says to end before the host has answered.
func (r *runner) register(ctx context.Context, c *client.Client, spec core.Spec) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error // the goroutine's until registered is closed
	registered := make(chan struct{})
	go func() {
		defer close(registered)
		r.reg, err = c.Register(ctx, spec)
	}()
	for {
		select {
		case <-registered:
			return r.a.advise(err)
		case s := <-r.signals:
			if !ends(s) {
				continue // there is no command yet to pass it to
			}
			cancel()
			<-registered
			if err == nil {
				r.deregister(ctx)
			} else {
				r.a.warn([]string{fmt.Sprintf("ended before the host at %s had answered; an instance that it registered all the same runs out within its ttl", strings.Join(r.a.hosts(), ", "))})
			}
			return &childExitError{code: 128 + signalNumber(s)}
		}
	}
}

// tend passes signals on until the child ends, or is to end.
func (r *runner) tend(ctx context.Context) error {
	for {
		select {
		case err := <-r.ended:
			r.deregister(ctx)
			return childExit(err)
		case s := <-r.signals:
			if !ends(s) {
				r.pass(s)
				continue
			}
			return r.leave(ctx, s)
		case <-ctx.Done():
			return r.leave(ctx, syscall.SIGTERM)
		}
	}
}

// leave ends child and registration in good order, or at once when another signal says so.
func (r *runner) leave(ctx context.Context, s os.Signal) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	first := newFirstSignal()
	left := make(chan error, 1)
	go func() { left <- r.depart(ctx, s) }()
	var forced error
	for {
		select {
		case err := <-left:
			return cmp.Or(forced, err)
		case s := <-r.signals:
			if !ends(s) {
				r.pass(s)
				continue
			}
			if !first.insisted(s) {
				continue
			}
			forced = &childExitError{code: 128 + signalNumber(s)}
			cancel()
			_ = r.child.Process.Kill() // it may be gone already
		}
	}
}

// depart takes the instance out of traffic, waits for callers to notice, deregisters it, and
// then tells the child to end. When ctx ends it gives up.
func (r *runner) depart(ctx context.Context, s os.Signal) error {
	call, cancel := context.WithTimeout(ctx, lastCall)
	err := r.reg.SetStatus(call, string(core.StatusStopping), "the program is ending")
	cancel()
	if err != nil && ctx.Err() == nil {
		r.a.warn([]string{"the instance could not be shown as stopping: " + err.Error()})
	}
	pause := time.NewTimer(r.drain)
	defer pause.Stop()
	select {
	case err := <-r.ended:
		r.deregister(ctx)
		return childExit(err)
	case <-pause.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.deregister(ctx)
	r.pass(s)
	select {
	case err := <-r.ended:
		return childExit(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deregister removes the instance; where that fails it runs out by itself.
func (r *runner) deregister(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCall)
	defer cancel()
	if err := r.reg.Close(ctx); err != nil {
		r.a.warn([]string{"the instance could not be deregistered and runs out within its ttl: " + err.Error()})
	}
}

func (r *runner) pass(s os.Signal) {
	if err := r.child.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = r.child.Process.Kill() // a system that cannot pass signals on
	}
}

// childExit is how a shell would see the child's end; nil for success.
func childExit(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return fmt.Errorf("the command did not end as it should: %w", err)
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return &childExitError{code: 128 + int(ws.Signal())}
	}
	return &childExitError{code: exit.ExitCode()}
}

func signalNumber(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return int(n)
	}
	return 0
}
