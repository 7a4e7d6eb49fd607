// Package probe makes health checks over HTTP, TCP and gRPC, and by command: the
// ports.Prober of a host and of programs that embed Prism.
//
// Instances are probed where their owners say that they are, so a probe is a request that
// others can aim. It goes to no link-local, metadata, multicast or unspecified address,
// whatever a name resolves to at that moment; it follows redirects within the same host and
// port only; it ignores the proxies of the environment; and it says nothing of the answer but what is
// in its one sentence.
package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Options of a Prober; the zero value is good.
type Options struct {
	// Version goes into the User-Agent, "prism-health/<version>"; "" means "dev".
	Version string
	// RootCAs verify the certificates of https and grpcs targets; nil means the system's.
	RootCAs *x509.CertPool
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
	// AllowExec lets checks of type exec run commands on this machine.
	AllowExec bool
	// AllowOtherHosts lets a health check URL name another host than the instance's own. It is
	// asked for here as well as at registration, which may have been at a host that allows it.
	AllowOtherHosts bool
}

// Prober implements ports.Prober. Each probe has a connection of its own, so that a server
// that no longer accepts any is noticed. It is safe for concurrent use.
type Prober struct {
	userAgent string
	allowExec bool
	foreign   bool // other hosts than an instance's own are allowed
	dialer    *net.Dialer
	tls       *tls.Config
	http      *http.Client
	closed    atomic.Bool
}

// defaultTimeout is for instances whose check was not resolved against a host's defaults.
const defaultTimeout = 10 * time.Second

// New returns a Prober.
func New(o Options) *Prober {
	p := &Prober{
		userAgent: "prism-health/" + cmp.Or(o.Version, "dev"),
		allowExec: o.AllowExec, foreign: o.AllowOtherHosts,
		dialer: &net.Dialer{KeepAlive: -1, Control: refuse},
		tls: &tls.Config{
			RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12,
			InsecureSkipVerify: o.InsecureSkipVerify, // the operator's choice, off by default
		},
	}
	p.http = &http.Client{
		Transport: &http.Transport{
			DialContext: p.dialer.DialContext, TLSClientConfig: p.tls.Clone(), ForceAttemptHTTP2: true,
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p
}

// Close makes every later Probe fail with core.ErrClosed. Probes under way end with their
// contexts.
func (p *Prober) Close() {
	p.closed.Store(true)
	p.http.CloseIdleConnections()
}

// Probe implements ports.Prober. The error is core.ErrUnsupported for a check that is unknown or
// not allowed here, core.ErrClosed, or the context's.
func (p *Prober) Probe(ctx context.Context, in core.Instance) (ports.ProbeResult, error) {
	if p.closed.Load() {
		return ports.ProbeResult{}, core.ErrClosed
	}
	a := attempt{in: in, begun: time.Now(), timeout: cmp.Or(in.Check.Timeout, defaultTimeout)}
	limited, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	var r ports.ProbeResult
	switch in.Check.Type {
	case core.CheckHTTP:
		u, err := target(in)
		switch {
		case err != nil:
			r.Detail = oneLine(err)
		case !p.foreign && !in.IsOwnHost(u.Hostname()):
			return ports.ProbeResult{}, unsupported("health_check_url", show(u),
				"this host probes an instance at its own host "+in.Host+" only; it allows others with checks.allow_other_hosts")
		default:
			r = p.probeHTTP(limited, a, u)
		}
	case core.CheckTCP:
		r = p.probeTCP(limited, a)
	case core.CheckGRPC:
		r = p.probeGRPC(limited, a)
	case core.CheckExec:
		if !p.allowExec {
			return ports.ProbeResult{}, unsupported("check.type", string(in.Check.Type), "this host does not allow exec checks; use http, tcp, grpc or none")
		}
		r = p.probeExec(limited, a)
	case core.CheckNone:
		r = ports.ProbeResult{Healthy: true, Detail: "no check: a live lease is healthy"}
	default:
		return ports.ProbeResult{}, unsupported("check.type", string(in.Check.Type), "use http, tcp, grpc, exec or none")
	}
	if err := ctx.Err(); err != nil {
		return ports.ProbeResult{}, err
	}
	r.Latency = time.Since(a.begun)
	return r, nil
}

func unsupported(field, value, allowed string) error {
	err := core.Invalid(field, value, allowed)
	err.Kind = core.ErrUnsupported
	return err
}

// attempt is one probe under way.
type attempt struct {
	in      core.Instance
	begun   time.Time
	timeout time.Duration
}

// took says how long it has taken so far.
func (a attempt) took() string {
	ms := float64(time.Since(a.begun)) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("in %.1f ms", ms)
	}
	return fmt.Sprintf("in %.0f ms", ms)
}

// unanswered words the failure of a connection or a call.
func (a attempt) unanswered(ctx context.Context, target string, err error) ports.ProbeResult {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ports.ProbeResult{Detail: fmt.Sprintf("no answer from %s within %s", target, a.timeout)}
	}
	return ports.ProbeResult{Detail: fmt.Sprintf("no answer from %s: %s", target, oneLine(err))}
}

// oneLine is an error's text, fit for a sentence. The URL that net/http puts in front of its
// errors may hold a secret in its query: it goes.
func oneLine(err error) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return short(err.Error(), 200)
}

// short cuts a text from outside to a number of bytes and leaves out what is not printable.
func short(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }), " ")
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
