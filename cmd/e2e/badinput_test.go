//go:build unix

package e2e

// badinput_test.go: what people are told when the store cannot be used as they configured it.

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/cmd/internal/programtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/tools/stores"
)

const (
	exitUsage = 2 // the configuration cannot be used
	// wrongSecret must be found nowhere in what anybody is told.
	wrongSecret = "hunter2-is-wrong"
)

// set gives options of the backend as arguments.
func set(pairs ...string) (args []string) {
	for pair := range slices.Chunk(pairs, 2) {
		args = append(args, "--set", "backend_config."+pair[0]+"="+pair[1])
	}
	return args
}

// TestServeRefusesWhatCannotWork shows that a wrong password, a wrong option and a client's
// certificate that has expired end "prism serve" with the code of a wrong configuration and one sentence, which
// names the backend and the option.
func TestServeRefusesWhatCannotWork(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		t.Run("option", func(t *testing.T) {
			t.Parallel()
			said := s.refused(t, set("url", "http://127.0.0.1:1", "passwort", wrongSecret))
			assert.Contains(t, said, "backend_config.passwort")
		})
		t.Run("password", func(t *testing.T) {
			t.Parallel()
			on := stores.ForTest(t, s.kind, stores.Options{Auth: s.auth})
			options := []string{"url", on.URL()}
			for _, option := range s.login[:len(s.login)-1] {
				options = append(options, option, on.Credentials.User)
			}
			secret := s.login[len(s.login)-1]
			said := s.refused(t, set(append(options, secret, wrongSecret)...))
			assert.Contains(t, strings.ToLower(said), string(s.kind))
			assert.Contains(t, said, "backend_config."+s.login[0])
			assert.NotContains(t, said, on.Credentials.Password+on.Credentials.Token)
		})
		t.Run("client's certificate", func(t *testing.T) {
			t.Parallel()
			on := stores.ForTest(t, s.kind, stores.Options{TLS: stores.MutualTLS})
			files := on.Certificates
			said := s.refused(t, set("url", on.URL(), "ca_file", files.CA, "cert_file", files.ExpiredCert, "key_file", files.ExpiredKey))
			assert.Contains(t, said, "expired")
			assert.Contains(t, said, "backend_config.cert_file")
		})
	})
}

// refused runs a host that has to end by itself, and returns the one sentence that it said.
func (s store) refused(t *testing.T, options []string) string {
	t.Helper()
	p := binaries.Launch(t, append([]string{
		"serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--set", "logging.level=CRITICAL", "--backend", string(s.kind),
	}, options...)...)
	assert.Equal(t, exitUsage, p.Wait(), p.Stderr())
	said := p.Stderr()
	t.Log(said)
	assert.True(t, strings.HasPrefix(said, "prism: "), said)
	assert.Equal(t, 1, strings.Count(said, "\n"), "one sentence: %s", said)
	assert.NotContains(t, said, wrongSecret)
	assert.Empty(t, p.Stdout())
	return said
}

// TestAHostGoesOnTryingToReachItsStore shows that a host whose url nobody listens at says so in
// its log and at /readyz, names the backend, the option and what to do, no secret, and is ready
// soon after the store is there.
func TestAHostGoesOnTryingToReachItsStore(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, stores.Options{Auth: s.auth})
		secret := on.Credentials.Password + on.Credentials.Token // one of them is empty
		login := []string{"url", on.URL()}
		for _, option := range s.login[:len(s.login)-1] {
			login = append(login, option, on.Credentials.User)
		}
		login = append(login, s.login[len(s.login)-1], secret)
		require.NoError(t, on.Stop(t.Context()))
		host, told := s.keepsTrying(t, on, login)

		require.NoError(t, on.Start(t.Context()))
		host.Until("the host is ready", func(ctx context.Context) bool { return host.Client.Ready(ctx) == nil })
		assert.Zero(t, host.End(syscall.SIGTERM), host.Stderr())
		assert.NotContains(t, host.Stderr()+host.Stdout()+told, secret)
	})
}

// TestAHostWaitsForItsStoresNewCertificate shows the same for a server whose certificate has
// expired: it is the server that has to be mended, and no host restarted for it.
func TestAHostWaitsForItsStoresNewCertificate(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		on := stores.ForTest(t, s.kind, stores.Options{TLS: stores.ExpiredTLS})
		host, told := s.keepsTrying(t, on, []string{"url", on.URL(), "ca_file", on.Certificates.CA})
		assert.Contains(t, told, "certificate has expired")
		assert.Contains(t, told, "renew it")
		assert.Zero(t, host.End(syscall.SIGTERM), host.Stderr())
	})
}

// keepsTrying runs a host that cannot open its backend yet, and returns what /readyz says.
func (s store) keepsTrying(t *testing.T, on *stores.Cluster, options []string) (host *programtest.Process, told string) {
	t.Helper()
	port := freePort(t)
	host = binaries.Launch(t, append([]string{"serve", "--http", "127.0.0.1:" + port, "--grpc", "127.0.0.1:0", "--backend", string(s.kind)}, set(options...)...)...)
	host.Serves("http://127.0.0.1:" + port)
	host.Until("/readyz says why", func(ctx context.Context) bool {
		err := host.Client.Ready(ctx)
		if err != nil {
			told = err.Error()
		}
		return errors.Is(err, core.ErrUnavailable) && strings.Contains(told, "open the ")
	})
	t.Log(told)
	var written []string
	host.Until("the log says why", func(context.Context) bool {
		written = failures(t, host)
		return len(written) > 0
	})
	for _, said := range append(written, told) {
		assert.Contains(t, strings.ToLower(said), string(s.kind))
		assert.Contains(t, said, "backend_config.url")
		assert.Contains(t, said, strings.Split(on.URL(), "://")[1], "where the store should be")
		assert.NotContains(t, said, "\n")
	}
	assert.Empty(t, host.Stdout(), "nobody is told that a host is there")
	return host, told
}

// failures are the errors in a host's log.
func failures(t *testing.T, host *programtest.Process) []string {
	t.Helper()
	return logged(t, host, "ERROR")
}

// reported are the errors in a host's log of which it has warned, or worse.
func reported(t *testing.T, host *programtest.Process) []string {
	t.Helper()
	return logged(t, host, "ERROR", "WARN", "WARNING")
}

// logged are the errors that a host logged at levels.
func logged(t *testing.T, host *programtest.Process, levels ...string) (said []string) {
	t.Helper()
	for line := range strings.Lines(host.Stderr()) {
		if !strings.HasSuffix(line, "\n") {
			break // the rest is still to come
		}
		var entry struct{ Level, Error string }
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		if slices.Contains(levels, entry.Level) && entry.Error != "" {
			said = append(said, entry.Error)
		}
	}
	return said
}

// freePort is one that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return port
}
