package core

// name.go: what services, instances and tags may be called, and where they are reached.

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// MaxName is the greatest length of a service name, an instance id or a tag, in bytes.
const MaxName = 128

const nameRule = "use 1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit"

// Key names one instance within the namespace of its host.
type Key struct {
	Service string
	ID      string
}

// String returns "service/id"; neither part can contain a slash.
func (k Key) String() string { return k.Service + "/" + k.ID }

// Validate checks both names.
func (k Key) Validate() error {
	if err := ValidateName("service", k.Service); err != nil {
		return err
	}
	return ValidateName("id", k.ID)
}

// ValidateName checks a service name, an instance id, a tag or a namespace and names
// the first character that is wrong.
func ValidateName(field, name string) error {
	switch {
	case name == "":
		return &FieldError{Field: field, Allowed: "it is empty; " + nameRule}
	case len(name) > MaxName:
		return Invalid(field, name, fmt.Sprintf("it has %d bytes; %s", len(name), nameRule))
	}
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if letter || i > 0 && (r == '.' || r == '_' || r == '-') {
			continue
		}
		return Invalid(field, name, fmt.Sprintf("the character %q at position %d; %s", r, i+1, nameRule))
	}
	return nil
}

// DeriveID returns the id of an instance that did not choose one: the same process at
// the same place gets the same id, so that a restart takes over its own record.
func DeriveID(service, host string, port int) string {
	raw := service + "-" + host + "-" + strconv.Itoa(port)
	id := strings.Map(func(r rune) rune {
		if ValidateName("id", "x"+string(r)) == nil {
			return r
		}
		return '-'
	}, raw)
	if len(id) > MaxName {
		sum := sha256.Sum256([]byte(raw))
		tail := "-" + hex.EncodeToString(sum[:8])
		id = id[:MaxName-len(tail)] + tail
	}
	return id
}

// NormaliseHost checks a host name or address and returns its canonical form: addresses
// without brackets, IPv4-mapped IPv6 as IPv4. A zone ("fe80::1%eth0") means something on
// one machine only and is refused.
func NormaliseHost(field, host string) (string, error) {
	const rule = "use a host name, an IPv4 or an IPv6 address"
	if host == "" {
		return "", &FieldError{Field: field, Allowed: "it is empty; " + rule}
	}
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(bare); err == nil {
		if addr.Zone() != "" {
			return "", Invalid(field, host, "an IPv6 zone is meaningful on one machine only; leave out "+strconv.Quote("%"+addr.Zone()))
		}
		return addr.Unmap().String(), nil
	}
	if strings.Contains(bare, ":") || bare != host {
		return "", Invalid(field, host, rule+"; the port is a field of its own")
	}
	if len(host) > 253 {
		return "", Invalid(field, host, "a host name has at most 253 bytes")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 {
			return "", Invalid(field, host, "each part of a host name has 1–63 bytes; "+rule)
		}
		for i, r := range label {
			ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' && i > 0
			if !ok {
				return "", Invalid(field, host, fmt.Sprintf("the character %q; %s", r, rule))
			}
		}
	}
	if allDigitsAndDots(host) {
		return "", Invalid(field, host, "it looks like an IPv4 address but is none")
	}
	return host, nil
}

func allDigitsAndDots(s string) bool {
	return strings.Trim(s, "0123456789.") == ""
}

// ValidatePort checks a TCP or UDP port.
func ValidatePort(field string, port int) error {
	if port < 1 || port > 65535 {
		return Invalid(field, port, "use 1–65535")
	}
	return nil
}

// JoinAddress returns host:port with IPv6 in brackets (RFC 3986, section 3.2.2).
func JoinAddress(host string, port int) string {
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// IsWildcard reports whether a host means "any address of this machine".
func IsWildcard(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsUnspecified()
}

// IsLoopback reports whether a host is reachable from its own machine only.
func IsLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(host, "localhost") || strings.HasSuffix(strings.ToLower(host), ".localhost")
	}
	return addr.Unmap().IsLoopback()
}
