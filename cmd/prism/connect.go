package main

// connect.go: the host that a command talks to, and what people are told when it does not
// answer as they wished.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
)

const (
	defaultAddress = client.DefaultAddress
	envAddress     = "PRISM_ADDRESS"
	envToken       = "PRISM_TOKEN"
)

// hosts are the addresses to try in turn.
func (a *app) hosts() []string {
	list := a.addresses
	if list == "" {
		list = os.Getenv(envAddress)
	}
	var out []string
	for address := range strings.SplitSeq(list, ",") {
		if address = strings.TrimSpace(address); address != "" {
			out = append(out, address)
		}
	}
	if len(out) == 0 {
		return []string{defaultAddress}
	}
	return out
}

func (a *app) connect(log *slog.Logger) (*client.Client, error) {
	token := a.token
	if token == "" {
		token = os.Getenv(envToken)
	}
	if strings.ContainsFunc(token, unicode.IsControl) {
		return nil, &core.FieldError{Field: "token", Allowed: "a line break or another control character is in it; give the token alone, with --token or " + envToken}
	}
	return client.New(client.Config{Addresses: a.hosts(), Token: token, Logger: log})
}

// ask has do talk to the host, and adds to its error what to do next.
func (a *app) ask(cmd *cobra.Command, do func(ctx context.Context, c *client.Client) error) error {
	c, err := a.connect(nil)
	if err != nil {
		return err
	}
	defer c.Close()
	return a.advise(do(cmd.Context(), c))
}

// advisedError is an error in the words of the command line.
type advisedError struct {
	err  error
	text string
}

// Error implements error.
func (e *advisedError) Error() string { return e.text }

// Unwrap returns the error as it came.
func (e *advisedError) Unwrap() error { return e.err }

func (a *app) advise(err error) error {
	if err == nil {
		return nil
	}
	if _, isField := errors.AsType[*core.FieldError](err); isField {
		return err // it says itself what is allowed
	}
	if _, advised := errors.AsType[*advisedError](err); advised {
		return err // the host has answered, and the command has said what that means
	}
	_, answered := errors.AsType[*problem.Error](err)
	if !answered && errors.Is(err, core.ErrUnavailable) {
		return &advisedError{err: err, text: fmt.Sprintf("cannot reach a host at %s: %s; start one with \"prism serve\", or name another with --address or %s",
			strings.Join(a.hosts(), ", "), whyUnreachable(err), envAddress)}
	}
	advice := ""
	switch {
	case errors.Is(err, core.ErrNotFound):
		advice = `"prism services" and "prism instances SERVICE" list what there is`
	case errors.Is(err, core.ErrNoEligible):
		advice = `"prism pick SERVICE --explain" says why`
	case errors.Is(err, core.ErrUnauthenticated):
		advice = "give the host's token with --token or " + envToken
	case errors.Is(err, core.ErrLeaseExpired), errors.Is(err, core.ErrDeregistered):
		advice = "register again"
	case errors.Is(err, core.ErrUnavailable):
		advice = `"prism status" says more, and the host's log`
	}
	if advice == "" || strings.Contains(err.Error(), "\n") {
		return err
	}
	return &advisedError{err: err, text: err.Error() + "; " + advice}
}

// whyUnreachable is the cause without what surrounds it.
func whyUnreachable(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "it was given up"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return reason(op).Error()
	}
	return strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", "; "), core.ErrUnavailable.Error()+": ")
}

// on runs a command whose first arguments are SERVICE and ID: it checks these names before
// they become a path, and has act talk to the host.
func (a *app) on(act func(ctx context.Context, c *client.Client, key core.Key) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		key := core.Key{Service: args[0], ID: args[1]}
		if err := key.Validate(); err != nil {
			return err
		}
		return a.ask(cmd, func(ctx context.Context, c *client.Client) error { return act(ctx, c, key) })
	}
}

// ownHost is what a registration says of its place when nobody does: this machine as a host on
// it sees it, else whatever address the host sees it come from.
func (a *app) ownHost() string {
	for _, address := range a.hosts() {
		if !strings.Contains(address, "://") {
			address = "http://" + address
		}
		if u, err := url.Parse(address); err != nil || !core.IsLoopback(u.Hostname()) {
			return "0.0.0.0"
		}
	}
	return "127.0.0.1"
}
