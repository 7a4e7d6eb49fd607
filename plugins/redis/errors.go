package redis

// errors.go: what Redis and its connections say, as one sentence and one sentinel of package ports.

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	goredis "github.com/redis/go-redis/v9"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

// server is what sentences call the server, wherever one is configured.
var server = "the server of " + backendkit.OptionField("url") + " (or sentinels)"

// known are errors of Redis of which people can do something about, by what they begin with;
// within a script of Redis 6 that stands inside of a longer text.
var known = []struct {
	codes    []string
	sentence string
	as       error
}{
	{[]string{"NOAUTH"}, "redis: the server asks for a password; set " + backendkit.OptionField("password"), ports.ErrPermission},
	{[]string{"WRONGPASS", "invalid password", "invalid username-password"}, "redis: the server does not know this user with this password; look at " + backendkit.OptionField("username") + " and " + backendkit.OptionField("password"), ports.ErrPermission},
	{[]string{"AUTH <password> called without any password", "Client sent AUTH, but no password is set"}, "redis: the server has no password; leave " + backendkit.OptionField("password") + " out", ports.ErrPermission},
	{[]string{"NOPERM", "The user executing the script"}, "redis: the user in " + backendkit.OptionField("username") + " lacks a permission for the keys of the namespace; see the README for what it needs", ports.ErrPermission},
	{[]string{"OOM"}, "redis: " + server + " has reached its maxmemory and takes no writes; raise maxmemory, or remove what else it holds", ports.ErrUnavailable},
	{[]string{"MISCONF"}, "redis: " + server + " cannot write to its disk and takes no writes; look at its log and its disk", ports.ErrUnavailable},
	{[]string{"NOREPLICAS"}, "redis: too few replicas are connected to " + server + " for it to take writes; start them, or lower its min-replicas-to-write", ports.ErrUnavailable},
	{[]string{"READONLY"}, "redis: the server is a read-only replica; set " + backendkit.OptionField("url") + " to the primary", ports.ErrUnavailable},
	{[]string{"LOADING"}, "redis: " + server + " is still loading its data; wait for it", ports.ErrUnavailable},
	{[]string{"MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"}, "redis: the cluster of " + backendkit.OptionField("url") + " has no primary for the namespace just now; see CLUSTER INFO", ports.ErrUnavailable},
	{[]string{"BUSY"}, "redis: " + server + " is busy with a long script of another user; see SCRIPT KILL", ports.ErrUnavailable},
	{[]string{"max number of clients"}, "redis: " + server + " has its maximum of clients; raise maxclients", ports.ErrUnavailable},
	{[]string{"DB index is out of range", "SELECT is not allowed in cluster mode"}, "redis: the server has no such database (a Redis Cluster has 0 alone); look at " + backendkit.OptionField("db"), ports.ErrInvalid},
	{[]string{"WRONGTYPE"}, "redis: the namespace holds keys that are not Prism's; choose another " + backendkit.OptionField(ports.OptionNamespace), ports.ErrInvalid},
}

// says reports whether a server's error has one of these codes or texts.
func says(err error, codes ...string) bool {
	text := err.Error()
	for _, code := range codes {
		at := strings.Index(text, code)
		if at == 0 || at > 0 && (strings.Contains(code, " ") || text[at-1] == ' ' || text[at-1] == '-') {
			return true
		}
	}
	return false
}

// fail turns an error of the client into one that wraps exactly one sentinel.
func fail(err error) error {
	if err == nil || backendkit.HasSentinel(err) {
		return err
	}
	if strings.Contains(err.Error(), "all sentinels specified") {
		return sentinels(err)
	}
	if _, answered := errors.AsType[goredis.Error](err); answered {
		for _, k := range known {
			if says(err, k.codes...) {
				return fmt.Errorf("%s: %w", k.sentence, k.as)
			}
		}
		return fmt.Errorf("redis: %s answers %q: %w", server, err.Error(), ports.ErrUnavailable)
	}
	if late := backendkit.Unanswered("redis", err); late != nil {
		return late
	}
	if said := backendkit.TLSProblem(err); said != "" {
		return fmt.Errorf("redis: %s: %w", said, ports.ErrUnavailable)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("redis: cannot connect (%s); is Redis running there? Look at %s: %w", op.Err.Error(), backendkit.OptionField("url"), ports.ErrUnavailable)
	}
	return fmt.Errorf("redis: the connection failed (%s); look at %s: %w", err.Error(), backendkit.OptionField("url"), ports.ErrUnavailable)
}

// sentinels says why none of them named the primary.
func sentinels(err error) error {
	switch {
	case says(err, "WRONGPASS", "NOAUTH", "invalid password"):
		return fmt.Errorf("redis: the sentinels do not take the login; look at %s: %w", backendkit.OptionField("sentinel_password"), ports.ErrPermission)
	case errors.Is(err, goredis.Nil):
		return fmt.Errorf("redis: the sentinels know no primary of that name; look at %s: %w", backendkit.OptionField("master_name"), ports.ErrInvalid)
	}
	return fmt.Errorf("redis: no sentinel named the primary; are they running? Look at %s: %w", backendkit.OptionField("sentinels"), ports.ErrUnavailable)
}

// atEndpoint says of which endpoint an error is.
func atEndpoint(endpoint string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		hint := "does it speak TLS? Then use rediss"
		if strings.HasPrefix(endpoint, "rediss:") { // an alert may be lost with the connection
			hint = "does it ask for a certificate? Look at " + backendkit.OptionField("cert_file") + " and " + backendkit.OptionField("key_file")
		}
		return fmt.Errorf("%s %s: redis: the server ended the connection at once; %s: %w", backendkit.OptionField("url"), endpoint, hint, ports.ErrUnavailable)
	}
	return fmt.Errorf("%s %s: %w", backendkit.OptionField("url"), endpoint, fail(err))
}

// retriable reports whether the next attempt may do better: the store is away, not against it.
func retriable(err error) bool { return errors.Is(err, ports.ErrUnavailable) }
