package probe_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/marketprism/prism/adapters/probe"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

var _ ports.Prober = (*probe.Prober)(nil)

// TestMain also plays the commands of exec checks, so that they are the same everywhere.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "play:") {
		os.Exit(play(os.Args[1:]))
	}
	// net/http reads these once: a probe that asked a proxy would fail.
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// play is a command of an exec check.
func play(args []string) int {
	switch args[0] {
	case "play:pass":
		say(os.Stdout, "disk ok\n")
	case "play:fail":
		say(os.Stderr, "disk full\nof logs\x1b[31m")
		return 3
	case "play:env":
		say(os.Stdout, "path="+os.Getenv("PATH")[:1]+" token=["+os.Getenv("CONSUL_HTTP_TOKEN")+"]")
	case "play:parent": // starts a child and waits for it
		child := exec.Command(os.Args[0], "play:child", args[1]) //nolint:noctx // its parent's prober ends it
		child.Stdout = os.Stdout
		if err := child.Run(); err != nil {
			return 1
		}
	case "play:child": // holds a connection for as long as it lives
		conn, err := net.DialTimeout("tcp", args[1], time.Minute) //nolint:noctx // as above
		if err != nil {
			return 1
		}
		_, err = io.Copy(io.Discard, conn)
		if err != nil {
			return 1
		}
	}
	return 0
}

// instance is at an address, and is checked as c says.
func instance(t *testing.T, scheme, address string, c core.Check) core.Instance {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := net.LookupPort("tcp", port) //nolint:noctx // a number
	require.NoError(t, err)
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	in := core.Instance{Service: "web", ID: "a", Scheme: scheme, Host: host, Port: number, Check: c}
	in.HealthCheckURL = in.BaseURL() + "/health"
	return in
}

func newProber(t *testing.T, o probe.Options) *probe.Prober {
	t.Helper()
	p := probe.New(o)
	t.Cleanup(p.Close)
	return p
}

// check probes an instance with a prober of its own.
func check(t *testing.T, in core.Instance) ports.ProbeResult {
	t.Helper()
	r, err := newProber(t, probe.Options{AllowExec: true}).Probe(t.Context(), in)
	require.NoError(t, err)
	return r
}

// listen accepts connections at an address and gives each to serve, until the test ends.
func listen(t *testing.T, address string, serve func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close() // ends Accept
		<-done
	})
	return l.Addr().String()
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}
