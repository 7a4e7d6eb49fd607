package pluginrpc_test

// serve_test.go: the life of a plugin's process, with real processes: this test binary plays the
// plugin (see TestMain).

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// played is the plugin that the test binary plays.
func played(play string) pluginrpc.Plugin {
	f := &fake{
		// Health does what a careless backend does to its output.
		health: func(context.Context) error {
			fmt.Println("printed to stdout") //nolint:forbidigo // That is the test.
			slog.Default().Info("logged by the backend", "key", "value")
			return nil
		},
		close: func() error {
			slog.Default().Info("the backend was closed")
			if play == "hangs" {
				select {}
			}
			return nil
		},
		get: func(context.Context, []core.Key) ([]ports.Found, error) {
			return []ports.Found{{Record: new(testRecord("a"))}}, nil
		},
	}
	if play == "traces" {
		tracing(f)
	}
	p := f.plugin()
	switch play {
	case "nameless":
		p.Name = ""
	case "no open":
		p.Open = nil
	case "bad default":
		p.Options = []ports.Option{{Name: "db", Type: ports.OptionInt, Default: "none"}}
	}
	return p
}

// child is a plugin's process, launched by hand so that its every pipe is the test's.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	reader io.Closer     // of stderr
	line   string        // the handshake
	stdout chan string   // what came on stdout after the handshake, at its end
	stderr chan string   // all of stderr, at its end
	exited chan struct{} // closed when it has ended
}

// launch starts the test binary as a plugin and reads its handshake. With a nil stdin the child
// gets a pipe.
func launch(t *testing.T, play string, stdin *os.File) *child {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	cmd := exec.CommandContext(ctx, exe)
	dir, err := os.MkdirTemp("", "prpc") // Short: the path of a socket has at most 108 bytes.
	require.NoError(t, err)
	cmd.Env = []string{
		envPlay + "=" + play, "TMPDIR=" + dir, "PLUGIN_PROTOCOL_VERSIONS=1",
		pluginrpc.Handshake.MagicCookieKey + "=" + pluginrpc.Handshake.MagicCookieValue,
		pluginrpc.EnvLogLevel + "=debug",
	}
	c := &child{cmd: cmd, stdout: make(chan string, 1), stderr: make(chan string, 1), exited: make(chan struct{})}
	if stdin != nil {
		cmd.Stdin = stdin
	} else {
		c.stdin, err = cmd.StdinPipe()
		require.NoError(t, err)
	}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	c.reader = stderr
	require.NoError(t, cmd.Start())
	out := bufio.NewReader(stdout)
	c.line, err = out.ReadString('\n')
	collected := make(chan struct{}, 2)
	collect := func(r io.Reader, to chan<- string) {
		all, _ := io.ReadAll(r)
		to <- string(all)
		collected <- struct{}{}
	}
	go collect(out, c.stdout)
	go collect(stderr, c.stderr)
	go func() {
		<-collected
		<-collected
		_ = cmd.Wait() // The tests look at ProcessState.
		close(c.exited)
	}()
	t.Cleanup(func() {
		cancel()
		<-c.exited
		left, err := filepath.Glob(filepath.Join(dir, "*"))
		assert.NoError(t, err)
		if cmd.ProcessState.Success() {
			assert.Empty(t, left, "the socket is left behind")
		}
		assert.NoError(t, os.RemoveAll(dir))
	})
	require.NoError(t, err, "no handshake")
	return c
}

// dial connects to the child as its handshake says.
func (c *child) dial(t *testing.T, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	parts := strings.Split(strings.TrimSpace(c.line), "|")
	require.GreaterOrEqual(t, len(parts), 5, c.line)
	assert.Equal(t, []string{"1", "1", "unix"}, parts[:3])
	assert.Equal(t, "grpc", parts[4])
	conn, err := grpc.NewClient("unix:"+parts[3], append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// open opens the backend in the child.
func (c *child) open(t *testing.T) (*grpc.ClientConn, ports.Backend) {
	t.Helper()
	conn := c.dial(t)
	b, err := pluginrpc.NewClient(conn).Open(t.Context(), nil)
	require.NoError(t, err)
	return conn, b
}

// log checks that stderr holds JSON lines and returns their messages.
func (c *child) log(t *testing.T) []string {
	t.Helper()
	var messages []string
	for line := range strings.Lines(<-c.stderr) {
		var entry struct {
			Time  time.Time
			Level slog.Level
			Msg   string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		messages = append(messages, entry.Msg)
	}
	return messages
}

func TestPluginEndsWithItsHostsPipe(t *testing.T) {
	c := launch(t, "fake", nil)
	_, b := c.open(t)
	require.NoError(t, b.Health(t.Context()))
	require.NoError(t, c.stdin.Close()) // What the kernel does for a host that dies.
	wait(t, c.exited, "the plugin ends")
	assert.True(t, c.cmd.ProcessState.Success())
	assert.Empty(t, <-c.stdout, "stdout belongs to the handshake")
	log := c.log(t)
	assert.Contains(t, log, "logged by the backend")
	assert.Contains(t, log, "the plugin ends")
	assert.Contains(t, log, "the backend was closed")
	require.ErrorIs(t, b.Health(t.Context()), ports.ErrUnavailable)
}

func TestPluginEndsWithItsHostsConnection(t *testing.T) {
	t.Parallel()
	c := launch(t, "fake", nil)
	conn, b := c.open(t)
	require.NoError(t, b.Health(t.Context()))
	require.NoError(t, conn.Close())
	wait(t, c.exited, "the plugin ends")
	assert.Contains(t, c.log(t), "the backend was closed")
}

func TestPluginSurvivesAReconnect(t *testing.T) {
	t.Parallel()
	c := launch(t, "fake", nil)
	first, _ := c.open(t)
	require.NoError(t, first.Close())
	second := pluginrpc.NewClient(c.dial(t))
	_, err := second.Describe(t.Context())
	require.NoError(t, err)
	select {
	case <-c.exited:
		require.Fail(t, "it ended with the first connection")
	case <-time.After(3 * time.Second): // Longer than the grace.
	}
	_, err = second.Describe(t.Context())
	require.NoError(t, err)
}

func TestPluginIgnoresSignals(t *testing.T) {
	c := launch(t, "fake", nil)
	_, b := c.open(t)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE} {
		require.NoError(t, c.cmd.Process.Signal(sig))
		require.NoError(t, b.Health(t.Context()), sig)
	}
	require.NoError(t, b.Close())
	require.NoError(t, c.stdin.Close())
	wait(t, c.exited, "the plugin ends")
	assert.True(t, c.cmd.ProcessState.Success(), c.cmd.ProcessState.String())
	assert.Contains(t, c.log(t), "a signal was ignored; the host ends this process", "at the level that was asked for")
}

func TestPluginWhoseLogNobodyReadsStillClosesItsBackend(t *testing.T) {
	c := launch(t, "fake", nil)
	c.open(t)
	require.NoError(t, c.reader.Close()) // As when the host has died.
	require.NoError(t, c.stdin.Close())
	wait(t, c.exited, "the plugin ends")
	assert.True(t, c.cmd.ProcessState.Success(), c.cmd.ProcessState.String())
}

func TestPluginWithoutAPipeLivesByItsConnection(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, null.Close()) })
	c := launch(t, "fake", null)
	conn, b := c.open(t)
	require.NoError(t, b.Health(t.Context()))
	require.NoError(t, conn.Close())
	wait(t, c.exited, "the plugin ends")
}

func TestBackendThatDoesNotCloseIsLeftBehind(t *testing.T) {
	t.Parallel()
	c := launch(t, "hangs", nil)
	c.open(t)
	require.NoError(t, c.stdin.Close())
	wait(t, c.exited, "the plugin ends")
	assert.Contains(t, c.log(t), "the backend did not close in time")
}

func TestServeExplainsItself(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	cookie := pluginrpc.Handshake.MagicCookieKey + "=" + pluginrpc.Handshake.MagicCookieValue
	for play, c := range map[string]struct {
		env  string
		want string
	}{
		"fake":        {"", "fake 1.2.3 is a backend plugin of Prism and is not meant to be run by hand"},
		"nameless":    {cookie, "Plugin.Name"},
		"no open":     {cookie, "Plugin.Open"},
		"bad default": {cookie, "backend_config.db"},
	} {
		t.Run(play, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = []string{envPlay + "=" + play, c.env}
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, 1, exit.ExitCode())
			assert.Contains(t, stderr.String(), c.want)
			assert.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
			assert.Empty(t, stdout.String())
		})
	}
}

// dispense launches the plugin as go-plugin's own hosts do.
func dispense(tb testing.TB) (*plugin.Client, plugin.ClientProtocol, *pluginrpc.Client) {
	tb.Helper()
	exe, err := os.Executable()
	require.NoError(tb, err)
	cmd := exec.CommandContext(context.Background(), exe)
	cmd.Env = []string{envPlay + "=fake"}
	host := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: pluginrpc.Handshake, VersionedPlugins: pluginrpc.ClientPlugins(), Cmd: cmd, AutoMTLS: true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
		SyncStdout: io.Discard, SyncStderr: io.Discard,
	})
	tb.Cleanup(host.Kill)
	protocol, err := host.Client()
	require.NoError(tb, err)
	raw, err := protocol.Dispense(pluginrpc.PluginName)
	require.NoError(tb, err)
	client, ok := raw.(*pluginrpc.Client)
	require.True(tb, ok, "%T", raw)
	return host, protocol, client
}

func TestGoPluginHostWithAutoMTLS(t *testing.T) {
	host, protocol, client := dispense(t)
	require.NoError(t, protocol.Ping())
	d, err := client.Describe(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "fake", d.Name)
	b, err := client.Open(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, b.Health(t.Context()), "what it prints to stdout breaks nothing")
	found, err := b.Get(t.Context(), []core.Key{testKey})
	require.NoError(t, err)
	assert.Equal(t, testRecord("a"), *found[0].Record)
	require.NoError(t, b.Close())
	host.Kill()
	require.True(t, host.Exited())
}

func TestHostsPluginSetServesNothing(t *testing.T) {
	p, ok := pluginrpc.ClientPlugins()[ports.ContractVersion][pluginrpc.PluginName].(plugin.GRPCPlugin)
	require.True(t, ok)
	require.Error(t, p.GRPCServer(nil, grpc.NewServer()))
}

// BenchmarkApply measures one Apply through a plugin against go-plugin's bare Ping, in turns, so
// that both see the same machine. The aim is at most 1.3 pings.
func BenchmarkApply(b *testing.B) {
	_, protocol, client := dispense(b)
	backend, err := client.Open(b.Context(), nil)
	require.NoError(b, err)
	r := testRecord("a")
	r.Body = []byte(`{"v":1,"host":"10.0.0.1","port":8080,"metadata":"` + strings.Repeat("x", 300) + `"}`)
	muts := []ports.Mutation{{Put: &ports.Put{Record: r}}}
	var pings, applies []time.Duration
	for b.Loop() {
		start := time.Now()
		err := protocol.Ping()
		pinged := time.Now()
		require.NoError(b, err)
		again := time.Now()
		_, err = backend.Apply(b.Context(), muts)
		applies = append(applies, time.Since(again))
		require.NoError(b, err)
		pings = append(pings, pinged.Sub(start))
	}
	slices.Sort(pings)
	slices.Sort(applies)
	ping, apply := pings[len(pings)/2], applies[len(applies)/2]
	b.ReportMetric(float64(ping.Nanoseconds()), "ns/ping")
	b.ReportMetric(float64(apply.Nanoseconds()), "ns/apply")
	b.ReportMetric(float64(apply)/float64(ping), "pings/apply")
}
