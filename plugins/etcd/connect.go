package etcd

// connect.go: what is found out before gRPC is asked, which reconnects in silence and says
// little of why it cannot, and whether the servers are new enough.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-semver/semver"
	"go.etcd.io/etcd/client/v3"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

// reachable returns nil when one endpoint takes connections, and else says why the first
// does not.
func (s settings) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	errs := make([]error, len(s.endpoints))
	var group sync.WaitGroup
	for i, u := range s.endpoints {
		group.Go(func() {
			if errs[i] = s.dial(ctx, u); errs[i] == nil {
				cancel() // one is enough
			}
		})
	}
	group.Wait()
	if slices.Contains(errs, nil) {
		return nil
	}
	return errs[0]
}

func problem(u *url.URL, format string, args ...any) error {
	return fmt.Errorf("etcd: %s %s: %s: %w", backendkit.OptionField("url"), u, fmt.Sprintf(format, args...), ports.ErrUnavailable)
}

// dial connects to one endpoint as the client will.
func (s settings) dial(ctx context.Context, u *url.URL) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return problem(u, "cannot connect (%s); is etcd running there?", bare(err))
	}
	defer func() { _ = conn.Close() }() // nothing was sent
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return problem(u, "%s", err)
		}
	}
	if s.tls == nil {
		return nil
	}
	cfg := s.tls.Clone()
	cfg.NextProtos = []string{"h2"}
	if cfg.ServerName == "" {
		cfg.ServerName = u.Hostname()
	}
	err = shake(ctx, tls.Client(conn, cfg))
	if err == nil {
		return nil
	}
	if said := backendkit.TLSProblem(err); said != "" {
		return problem(u, "%s", said)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) { // what etcd does with what it takes for garbage
		return problem(u, "the server ends the TLS handshake, so it does not speak TLS there; write http, if that is meant")
	}
	return problem(u, "the TLS handshake failed (%s)", bare(err))
}

// explain looks for the one cause of silence that gRPC does not tell: an endpoint of http that
// wants https.
func (s settings) explain(err error) error {
	if s.tls != nil || !errors.Is(err, ports.ErrUnavailable) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), verdictWithin)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // Nothing is sent; only whether it is TLS is asked.
	for _, u := range s.endpoints {
		conn, dialErr := dialer.DialContext(ctx, "tcp", u.Host)
		if dialErr == nil {
			_ = conn.Close() // nothing was sent
		}
		op, ok := errors.AsType[*net.OpError](dialErr)
		if alert := ok && op.Op == "remote error"; dialErr == nil || alert {
			return problem(u, "the server speaks TLS there; write https")
		}
	}
	return err
}

// verdictWithin is how long a server has to say what need not be said: that it refuses a
// client's certificate, which in TLS 1.3 comes after the client's handshake is done, or its
// version, where another member has told its own.
const verdictWithin = 300 * time.Millisecond

// shake makes the handshake and waits for the server's verdict: an alert, its first frame, or
// its silence.
func shake(ctx context.Context, conn *tls.Conn) error {
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(verdictWithin)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	if op, ok := errors.AsType[*net.OpError](err); ok && !op.Timeout() {
		return err
	}
	return nil
}

// bare is an error of package net without the address, which the message has already.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// A watch's proof of completeness is etcd's progress notification on request, which in earlier
// releases may overtake events (etcd-io/etcd#15220). Each line lists the first good one of its
// minor version; what is not listed and above is good.
var (
	firstGood = map[int64]semver.Version{
		4: {Major: 3, Minor: 4, Patch: 25},
		5: {Major: 3, Minor: 5, Patch: 8},
	}
	oldest = semver.Version{Major: 3, Minor: 4}
)

// checkVersions refuses servers that are too old. Members that do not answer are left out.
func checkVersions(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	endpoints := client.Endpoints()
	errs := make([]error, len(endpoints))
	answered := make([]bool, len(endpoints))
	var group sync.WaitGroup
	for i, endpoint := range endpoints {
		group.Go(func() {
			status, err := client.Status(ctx, endpoint)
			if err != nil {
				errs[i] = fail(err)
				return
			}
			answered[i] = true
			errs[i] = checkVersion(endpoint, status.Version)
			time.AfterFunc(verdictWithin, cancel) // who has not answered by then is away
		})
	}
	group.Wait()
	for i := range endpoints {
		if answered[i] && errs[i] != nil {
			return errs[i]
		}
	}
	if slices.Contains(answered, true) {
		return nil
	}
	return errs[0]
}

func checkVersion(endpoint, version string) error {
	v, err := semver.NewVersion(version)
	if err != nil {
		return fmt.Errorf("etcd: %s says that its version is %q, which is none: %w", endpoint, version, ports.ErrUnsupported)
	}
	good, listed := firstGood[v.Minor]
	if v.Major == oldest.Major && listed {
		if v.LessThan(good) {
			return fmt.Errorf("etcd: %s %s is version %s, whose watches may seem complete before they are; upgrade it to %s or later: %w",
				backendkit.OptionField("url"), endpoint, v, good, ports.ErrUnsupported)
		}
		return nil
	}
	if v.LessThan(oldest) {
		return fmt.Errorf("etcd: %s %s is version %s; upgrade it to 3.4.25, 3.5.8 or later: %w", backendkit.OptionField("url"), endpoint, v, ports.ErrUnsupported)
	}
	return nil
}
