package consul

// errors.go: what went wrong, in one sentence that says where to look.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// denial is how Consul says what a token lacks.
var denial = regexp.MustCompile(`lacks permission '([a-z]+):([a-z]+)' on "([^"]*)"`)

// failure makes of an error of the client's one of the contract's. The context's own error
// stays what it is.
func (b *Backend) failure(ctx context.Context, err error) error {
	if b.background.Err() != nil {
		return fmt.Errorf("the consul backend is %w", ports.ErrClosed)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its text repeats the address
	}
	if se, ok := errors.AsType[*statusError](err); ok {
		return b.refusal(se)
	}
	if problem := backendkit.TLSProblem(err); problem != "" {
		return fmt.Errorf("consul: %s %s: %s: %w", backendkit.OptionField("url"), b.way.where(), problem, ports.ErrUnavailable)
	}
	return fmt.Errorf("consul at %s does not answer (%s); look at %s: %w", b.way.where(), oneLine(err.Error()), backendkit.OptionField("url"), ports.ErrUnavailable)
}

// refusal is an HTTP answer that is no result.
func (b *Backend) refusal(se *statusError) error {
	text := oneLine(se.body)
	switch {
	case se.code == http.StatusForbidden && strings.Contains(text, "ACL not found"):
		return fmt.Errorf("consul does not know the token; look at %s: %w", backendkit.OptionField("token"), ports.ErrPermission)
	case se.code == http.StatusForbidden:
		return b.denied(text)
	case se.code == http.StatusUnauthorized:
		return fmt.Errorf("consul, or a proxy before it, wants to know who asks; look at %s, username and password: %w", backendkit.OptionField("token"), ports.ErrPermission)
	case se.code == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("consul takes no request of that size (%s): %w", text, ports.ErrTooLarge)
	case strings.Contains(text, "HTTP request to an HTTPS server"):
		return core.Invalid(backendkit.OptionField("url"), b.way.where(), "the server there speaks TLS; use https://HOST:PORT")
	case strings.Contains(text, "No path to datacenter"):
		return core.Invalid(backendkit.OptionField("datacenter"), b.options.Datacenter, "Consul knows no such datacenter")
	case strings.Contains(text, "Enterprise feature"), strings.Contains(text, `query parameter: "ns"`), strings.Contains(text, `query parameter: "partition"`):
		return &core.FieldError{Field: backendkit.OptionField("consul_namespace"), Allowed: "it and partition are for Consul Enterprise, and this server is not (" + text + "); leave them out"}
	case strings.Contains(text, "unable to store logs"), strings.Contains(text, "no space left on device"):
		return fmt.Errorf("consul at %s (%s) cannot write its log (%s); make room on the disk of its data_dir and start it again: %w", b.way.where(), backendkit.OptionField("url"), text, ports.ErrUnavailable)
	case strings.Contains(text, "No cluster leader"):
		return b.leaderless()
	case se.code >= 500, se.code == http.StatusTooManyRequests:
		return b.failing(fmt.Sprintf("cannot serve now (%s)", text))
	default:
		return fmt.Errorf("what answers at %s is not Consul, or refuses to be asked (status %d, %s); look at %s: %w",
			b.way.where(), se.code, text, backendkit.OptionField("url"), ports.ErrUnavailable)
	}
}

// failing is a Consul that answers and does not do what it should, for a reason of its own.
func (b *Backend) failing(how string) error {
	return fmt.Errorf("consul at %s (%s) %s; look at what its servers log: %w", b.way.where(), backendkit.OptionField("url"), how, ports.ErrUnavailable)
}

// leaderless says why a Consul that answers can do nothing.
func (b *Backend) leaderless() error {
	return fmt.Errorf("consul at %s (%s) has no leader: most of its servers are down, or cannot write, as on a full disk; look at what they log, and at the disk of data_dir: %w",
		b.way.where(), backendkit.OptionField("url"), ports.ErrUnavailable)
}

// denied says which permission is missing, and how to give it or do without.
func (b *Backend) denied(text string) error {
	rule, other := fmt.Sprintf("key_prefix %q { policy = \"write\" }", b.keys.root()), ""
	missing := "a permission"
	if m := denial.FindStringSubmatch(text); m != nil {
		missing = fmt.Sprintf("%s:%s on %q", m[1], m[2], m[3])
		switch m[1] {
		case "node":
			rule, other = fmt.Sprintf("node_prefix %q { policy = \"write\" }", b.mirror.nodes()), ", or set "+backendkit.OptionField("mirror")+" to false"
		case "service":
			rule, other = `service_prefix "" { policy = "write" }`, ", or set "+backendkit.OptionField("mirror")+" to false"
		}
	}
	return fmt.Errorf("consul: the token of %s lacks %s; give it the rule %s%s: %w", backendkit.OptionField("token"), missing, rule, other, ports.ErrPermission)
}

// isDenial tells an operation that may not be done from one whose condition does not hold.
func isDenial(e *api.TxnError) bool { return strings.Contains(e.What, "Permission denied") }

// isTooOld tells that the server does not know an operation that we need.
func isTooOld(e *api.TxnError) bool { return strings.Contains(e.What, "unknown KV operation") }

func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// isMissingNode tells that a node of the catalog is gone that we thought was there.
func isMissingNode(e *api.TxnError) bool {
	return strings.Contains(strings.ToLower(e.What), "missing node registration")
}
