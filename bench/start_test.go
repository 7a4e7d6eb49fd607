package bench_test

// start_test.go: how long a host takes to be of use, beside the least that any host of a
// plugin has to do.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/bench/empty"
)

// BenchmarkStart compares the time from the launch of `prism serve`, with the memory backend as
// a plugin, until GET /readyz answers 200, with that from the launch of an empty plugin until
// it has answered its first call. The first is two processes, one after the other. The aim is
// one and a half times as long and 50 ms at most: over-aim-ms is not positive.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir() + string(filepath.Separator)
	plugins := filepath.Join(dir, "plugins") + string(filepath.Separator)
	require.NoError(b, os.Mkdir(plugins, 0o755))
	build(b, dir, "../cmd", "./prism")
	build(b, plugins, "..", "./plugins/memory/cmd/prism-backend-memory")
	build(b, dir, ".", "./emptyplugin")
	web := &http.Client{Transport: &http.Transport{}}
	b.Cleanup(web.CloseIdleConnections)

	prism, bare := compare(b, 8, func() time.Duration { return serve(b, web, dir) }, func() time.Duration {
		start := time.Now()
		_, stop := startEmpty(b, filepath.Join(dir, emptyPlugin))
		defer stop()
		return time.Since(start)
	})
	b.ReportMetric(float64((prism-bare*3/2-50*time.Millisecond).Microseconds())/1e3, "over-aim-ms")
}

// serve runs `prism serve` until it is ready, and returns how long that took.
func serve(b *testing.B, web *http.Client, dir string) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, executable("prism")), "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
	cmd.Dir = b.TempDir() // whose configuration is nobody's
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	start := time.Now()
	require.NoError(b, cmd.Start())
	lines := bufio.NewScanner(out)
	url := ""
	for url == "" && lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "HTTP" {
			url = fields[1]
		}
	}
	require.NotEmpty(b, url, "prism serve did not say where it listens: %s", &log)
	require.NoError(b, untilReady(ctx, web, url+"/readyz"))
	took := time.Since(start)
	if runtime.GOOS == "windows" {
		require.NoError(b, cmd.Process.Kill())
	} else {
		require.NoError(b, cmd.Process.Signal(os.Interrupt))
	}
	for lines.Scan() { // to the end, so that it can write what it has to say
		continue
	}
	if err := cmd.Wait(); runtime.GOOS != "windows" {
		require.NoError(b, err)
	}
	return took
}

// untilReady asks again and again, as what happens in another process cannot be waited for.
func untilReady(ctx context.Context, web *http.Client, url string) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		res, err := web.Do(req)
		if err != nil {
			return err
		}
		if err := res.Body.Close(); err != nil {
			return err
		}
		if res.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("prism serve did not become ready")
		}
	}
}

// emptyPlugin is the file name of the plugin that does nothing.
var emptyPlugin = executable("emptyplugin")

func executable(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return name
}

// startEmpty starts the empty plugin as go-plugin's documentation does, with mutual TLS, and
// returns once it has answered a call.
func startEmpty(b *testing.B, path string) (protocol plugin.ClientProtocol, stop func()) {
	b.Helper()
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  empty.Handshake,
		Plugins:          empty.Plugins,
		Cmd:              exec.CommandContext(b.Context(), path),
		AutoMTLS:         true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
	})
	protocol, err := client.Client()
	require.NoError(b, err)
	require.NoError(b, protocol.Ping())
	return protocol, client.Kill
}
