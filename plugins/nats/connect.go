package nats

// connect.go: the connection, and whether the server is new enough.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/ports"
)

const (
	connectTimeout = 2 * time.Second // of one server
	// reconnectWait, with its jitter, is between two attempts: the store's return shall show soon.
	reconnectWait = 150 * time.Millisecond
	// pingEvery and pingsOut bound how long a connection whose other end is gone without a word
	// is believed in.
	pingEvery = 3 * time.Second
	pingsOut  = 2
)

// connection is that to NATS, and what its callbacks tell.
type connection struct {
	*nats.Conn

	log  *slog.Logger
	life context.Context //nolint:containedctx // Dialling, of every reconnect too, ends with it.
	end  context.CancelFunc

	mu      sync.Mutex // guards the rest
	waiting map[*request]struct{}
	barred  error // why the login is refused that was taken before; nil while it is not
}

// request is one on its way, to which the server may say that it is not permitted.
type request struct {
	subject string
	cancel  context.CancelCauseFunc
}

// connect returns when a server took the login. The context bounds that alone.
func (s settings) connect(ctx context.Context, log *slog.Logger) (*connection, error) {
	c := &connection{log: log, waiting: make(map[*request]struct{})}
	c.life, c.end = context.WithCancel(context.Background())
	release := context.AfterFunc(ctx, c.end)
	opts := []nats.Option{
		nats.Name("prism"), nats.Timeout(connectTimeout), nats.SetCustomDialer(c), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectWait, reconnectWait), nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsOut),
		// What was not sent is an error at once, and never a write that goes out minutes later.
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.note(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the connection to NATS broke; it is made anew", "error", fail(err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			c.bar(nil)
			log.Info("connected to NATS again")
		}),
	}
	if s.tls != nil {
		opts = append(opts, nats.Secure(s.tls))
	}
	servers := make([]string, len(s.servers))
	for i, u := range s.servers {
		servers[i] = u.String()
	}
	var err error
	c.Conn, err = nats.Connect(strings.Join(servers, ","), append(opts, s.login...)...)
	if !release() && err == nil {
		c.Close()
		err = ctx.Err()
	}
	if err != nil {
		c.end()
		if ctx.Err() != nil {
			return nil, fail(ctx.Err())
		}
		return nil, s.connectProblem(err)
	}
	if err := checkVersion(c.ConnectedUrlRedacted(), c.ConnectedServerVersion()); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// Dial implements nats.CustomDialer.
func (c *connection) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(c.life, connectTimeout)
	defer cancel()
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// close ends the connection and waits for its goroutines to have nothing more to say.
func (c *connection) close() {
	c.end()
	c.Close()
}

// watching is a context for a request to a subject, which ends when the server says that it is
// not permitted.
func (c *connection) watching(ctx context.Context, subject string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &request{subject: subject, cancel: cancel}
	c.mu.Lock()
	c.waiting[r] = struct{}{}
	c.mu.Unlock()
	return ctx, func() {
		c.mu.Lock()
		delete(c.waiting, r)
		c.mu.Unlock()
		cancel(nil)
	}
}

// note takes an error that the server sent by itself.
func (c *connection) note(err error) {
	switch {
	case isLogin(err):
		if why := fail(err); c.bar(why) { // it comes at each attempt
			c.log.Warn("NATS does not take the login any more; it is tried again", "error", why)
		}
		return
	case !errors.Is(err, nats.ErrPermissionViolation):
		c.log.Warn("NATS reports a problem", "error", fail(err))
		return
	}
	said := strings.ToLower(err.Error()) // the server's spelling of a subject is not always kept
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.waiting {
		if strings.Contains(said, `"`+strings.ToLower(r.subject)+`"`) || strings.Contains(said, "subscription") {
			r.cancel(fail(err))
		}
	}
}

// bar notes why the login is refused, or with nil that it is not, and reports whether that is news.
func (c *connection) bar(why error) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	news = (c.barred == nil) != (why == nil)
	c.barred = why
	return news
}

// refusal is why no request will be answered; nil where one may be.
func (c *connection) refusal() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.barred
}

// connectProblem says in words why no server could be used.
func (s settings) connectProblem(err error) error {
	problem := func(format string, args ...any) error {
		return fmt.Errorf("nats: %s %s: %s: %w", backendkit.OptionField("url"), s.servers[0], fmt.Sprintf(format, args...), ports.ErrUnavailable)
	}
	text := err.Error()
	switch {
	case isLogin(err), strings.Contains(text, "Authentication"), strings.Contains(text, "nkeys not supported"):
		if s.logsIn == "" {
			return fmt.Errorf("nats: the server asks for a login; set %s and password, or token, creds_file or nkey_seed_file: %w", backendkit.OptionField("user"), ports.ErrPermission)
		}
		return fmt.Errorf("nats: the server refuses the login; look at %s: %w", backendkit.OptionField(s.logsIn), ports.ErrPermission)
	case errors.Is(err, nats.ErrSecureConnRequired):
		return problem("the server asks for TLS; use tls:// there")
	case errors.Is(err, nats.ErrSecureConnWanted):
		return problem("the server has no TLS; use nats:// there")
	}
	said := backendkit.TLSProblem(err)
	switch {
	case said != "" && s.tls == nil: // the client follows a server that asks for TLS
		return problem("the server asks for TLS; use tls:// there")
	case said != "":
		return problem("%s", said)
	case s.tls != nil && !isDial(err): // in TLS 1.3 a server may refuse a certificate after the handshake
		return problem("the TLS connection failed (%s); look at %s and %s", bare(err), backendkit.OptionField("cert_file"), backendkit.OptionField("ca_file"))
	}
	return problem("cannot connect (%s); is NATS running there?", bare(err))
}

// isDial reports whether not even TCP was connected, or nothing was answered.
func isDial(err error) bool {
	op, network := errors.AsType[*net.OpError](err)
	return network && op.Op == "dial" || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoServers) || network && op.Timeout()
}

// bare is an error without the address, which the message has already.
func bare(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "nats: ")
}

// oldest is the first version that ends sessions in time. 2.11.0 and 2.11.1 leave no marker where a
// message's own TTL runs out (nats-server#6741), and 2.11.2 lets it live as long as a marker
// (nats-server#6818).
var oldest = [...]int{2, 11, 3}

func checkVersion(server, version string) error {
	core, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	parts := strings.Split(core, ".")
	var has [len(oldest)]int
	for i := range has {
		n, err := strconv.Atoi(parts[min(i, len(parts)-1)])
		if err != nil || i >= len(parts) {
			return fmt.Errorf("nats: %s %s says that its version is %q, which is none: %w", backendkit.OptionField("url"), server, version, ports.ErrUnsupported)
		}
		has[i] = n
	}
	if slices.Compare(has[:], oldest[:]) < 0 {
		return fmt.Errorf("nats: %s %s is version %s, whose messages do not expire one by one as sessions need it; upgrade it to %d.%d.%d or later: %w",
			backendkit.OptionField("url"), server, version, oldest[0], oldest[1], oldest[2], ports.ErrUnsupported)
	}
	return nil
}
