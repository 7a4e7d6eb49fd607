package probe

// http.go: a GET of the health check URL.

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	maxRedirects = 3
	maxBody      = 64 << 10
)

func (p *Prober) probeHTTP(ctx context.Context, a attempt, u *url.URL) ports.ProbeResult {
	for hop := 0; ; hop++ {
		resp, err := p.get(ctx, u)
		if err != nil {
			return a.unanswered(ctx, show(u), err)
		}
		next, why := redirect(resp, a.in.Check, hop)
		if next == nil {
			r := a.judge(ctx, resp, u, why)
			resp.Body.Close()
			return r
		}
		resp.Body.Close()
		u = next
	}
}

func (p *Prober) get(ctx context.Context, u *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", p.userAgent)
	return p.http.Do(req)
}

// target is the health check URL with the check's own path, if it has one. A wildcard host
// in it stands for the instance's.
func target(in core.Instance) (*url.URL, error) {
	u, err := url.Parse(cmp.Or(in.HealthCheckURL, in.BaseURL()+"/health"))
	if err != nil || u.Host == "" {
		return nil, &core.FieldError{Field: "health_check_url", Allowed: "it cannot be read; use an http or https URL"}
	}
	if core.IsWildcard(u.Hostname()) {
		u.Host = net.JoinHostPort(in.Host, port(u))
	}
	if in.Check.Path != "" {
		path, err := url.ParseRequestURI(in.Check.Path)
		if err != nil {
			return nil, core.Invalid("check.path", in.Check.Path, `use a path such as "/health"`)
		}
		u.Path, u.RawPath, u.RawQuery = path.Path, path.RawPath, path.RawQuery
	}
	return u, nil
}

// redirect returns where to look instead, or nil and, where a redirect is not followed, why.
func redirect(resp *http.Response, c core.Check, hop int) (next *url.URL, why string) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, ""
	}
	if c.PassesStatus(resp.StatusCode) {
		return nil, ""
	}
	next, err := resp.Location()
	switch {
	case err != nil:
		return nil, ", a redirect to nowhere"
	case hostPort(next) != hostPort(resp.Request.URL):
		return nil, fmt.Sprintf(", a redirect to another host or port, %s, which is not followed", short(next.Host, 100))
	case hop == maxRedirects:
		return nil, fmt.Sprintf(", and it is the redirect after %d redirects", maxRedirects)
	}
	next.User = nil
	return next, ""
}

// hostPort is what of a URL is connected to.
func hostPort(u *url.URL) string { return strings.ToLower(net.JoinHostPort(u.Hostname(), port(u))) }

func port(u *url.URL) string {
	return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
}

// judge says what an answer means.
func (a attempt) judge(ctx context.Context, resp *http.Response, u *url.URL, why string) ports.ProbeResult {
	c := a.in.Check
	r := ports.ProbeResult{StatusCode: resp.StatusCode}
	got := func() string { return fmt.Sprintf("HTTP %d from %s %s", resp.StatusCode, show(u), a.took()) }
	if !c.PassesStatus(resp.StatusCode) {
		if why == "" {
			why = ", expected " + cmp.Or(c.ExpectStatus, "200-299")
		}
		r.Detail = got() + why
		return r
	}
	if c.ExpectBody != "" {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		if !bytes.Contains(body, []byte(c.ExpectBody)) {
			switch {
			case ctx.Err() != nil:
				r.Detail = fmt.Sprintf("%s, but its body was not there within %s", got(), a.timeout)
			case err != nil:
				r.Detail = got() + ", but its body broke off: " + oneLine(err)
			default:
				r.Detail = fmt.Sprintf("%s, but %q is not in its first 64 KiB", got(), short(c.ExpectBody, 60))
			}
			return r
		}
	}
	r.Healthy, r.Detail = true, got()
	if c.ExpectStatus == "" && resp.StatusCode >= 400 {
		r.Detail += "; it counts as alive, as nobody asked for this check"
	}
	return r
}

// show writes a URL without what may be secret.
func show(u *url.URL) string {
	return short((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String(), 200)
}
