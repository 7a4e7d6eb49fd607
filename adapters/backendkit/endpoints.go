package backendkit

// endpoints.go: where a store is, and what to say when it cannot be used.

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/marketprism/prism/core"
)

// OptionField is the name of an option as people write it, "backend_config.url".
func OptionField(option string) string { return "backend_config." + option }

// Endpoints reads the addresses in an option, one URL or several with commas. Each needs one
// of the schemes, the first of which is assumed where there is none, and gets the default port
// where it has none. Errors name the option and what is wrong, and never repeat user or password.
func Endpoints(option, text string, defaultPort int, schemes ...string) ([]*url.URL, error) {
	var urls []*url.URL
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		u, err := endpoint(option, part, defaultPort, schemes)
		if err != nil {
			return nil, err
		}
		urls = append(urls, u)
	}
	if len(urls) == 0 {
		return nil, &core.FieldError{Field: OptionField(option), Allowed: "it is empty; " + endpointRule(defaultPort, schemes)}
	}
	return urls, nil
}

func endpoint(option, text string, defaultPort int, schemes []string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = schemes[0] + "://" + text
	}
	u, err := url.Parse(text)
	if err != nil { // Its text repeats the password.
		return nil, &core.FieldError{Field: OptionField(option), Allowed: "it is not a URL; " + endpointRule(defaultPort, schemes)}
	}
	shown := Shown(u)
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return nil, core.Invalid(OptionField(option), shown, fmt.Sprintf("the scheme is %q; %s", u.Scheme, endpointRule(defaultPort, schemes)))
	case u.Hostname() == "":
		return nil, core.Invalid(OptionField(option), shown, "it names no host; "+endpointRule(defaultPort, schemes))
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), fmt.Sprint(defaultPort))
	}
	return u, nil
}

// Shown is an endpoint as errors have it, without what may be secret: a token stands where a user does, and some clients take a
// password as a query.
func Shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func endpointRule(defaultPort int, schemes []string) string {
	return fmt.Sprintf("use %s://HOST:%d, several separated by commas", strings.Join(schemes, ":// or "), defaultPort)
}
