//go:build unix

package e2e

// nats_test.go: why NATS refuses to serve. It has no read-only replicas.

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/tools/stores"
)

const natsSecret = "secret-of-the-user"

// natsRights are those that the README of the backend lists.
var natsRights = []string{
	"prism.prism.>", "$JS.API.STREAM.INFO.PRISM_prism", "$JS.API.STREAM.CREATE.PRISM_prism", "$JS.API.STREAM.MSG.GET.PRISM_prism",
	"$JS.API.CONSUMER.CREATE.PRISM_prism.>", "$JS.FC.PRISM_prism.>",
}

// natsAccount configures an account with one user, called by a name, who may publish some subjects,
// and with some bytes to store.
func natsAccount(user string, rights []string, bytes int) string {
	return fmt.Sprintf(`accounts: {a: {jetstream: {max_file: %d, max_mem: 1MB}, users: [
  {user: %s, password: %q, permissions: {publish: ["%s"], subscribe: "_INBOX.>"}}
]}}`, bytes, user, natsSecret, strings.Join(rights, `", "`))
}

const enough = 64 << 20

// natsTroubles are those of one NATS whose user may do what the README lists. What is configured
// anew is in force while connections stay.
var natsTroubles = map[string]func(t *testing.T) trouble{
	"permission": func(t *testing.T) trouble {
		t.Helper()
		configure, of := natsFor(t)
		of.exits, of.words = true, []string{"lacks a permission", "prism.prism.", "backend_config.user", "grant it what the README lists"}
		of.begin = func(t *testing.T) {
			t.Helper()
			configure(t, natsAccount("prism", natsRights[1:], enough))
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			configure(t, natsAccount("prism", natsRights, enough))
		}
		return of
	},
	"user": func(t *testing.T) trouble {
		t.Helper()
		configure, of := natsFor(t)
		of.exits, of.words = true, []string{"the server refuses the login", "backend_config.user"}
		of.begin = func(t *testing.T) {
			t.Helper()
			configure(t, natsAccount("another", natsRights, enough))
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			configure(t, natsAccount("prism", natsRights, enough))
		}
		return of
	},
	"storage": func(t *testing.T) trouble {
		t.Helper()
		configure, of := natsFor(t)
		of.words = []string{"storage", "is used up, so it takes no writes", "raise max_file_store or the account's limits"}
		of.begin = func(t *testing.T) {
			t.Helper()
			configure(t, natsAccount("prism", natsRights, 1))
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			configure(t, natsAccount("prism", natsRights, enough))
		}
		return of
	},
}

// natsRefusals are NATS servers that no host can use.
var natsRefusals = map[string]func(t *testing.T) trouble{
	"version": func(t *testing.T) trouble {
		t.Helper()
		at := backendtest.InPlaceOf(t, func(conn net.Conn) {
			_, _ = fmt.Fprint(conn, `INFO {"server_id":"x","version":"2.10.29","proto":1,"headers":true,"max_payload":1048576}`+"\r\n") // the other end may be gone
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				if lines.Text() == "PING" {
					_, _ = fmt.Fprint(conn, "PONG\r\n") // the same
				}
			}
		})
		return trouble{options: []string{"url", "nats://" + at}, words: []string{at, "version 2.10.29", "upgrade it to 2.11.3 or later", "backend_config.url"}}
	},
	"foreign": func(t *testing.T) trouble {
		t.Helper()
		on := stores.ForTest(t, stores.NATS, stores.Options{})
		natsStream(t, on, `{"name":"PRISM_prism","subjects":["mine"],"storage":"memory","num_replicas":1}`)
		return trouble{options: []string{"url", on.URL()}, words: []string{"PRISM_prism", "is not Prism's", "choose a namespace that nothing else uses", "backend_config.namespace"}}
	},
}

// natsStream creates a stream by the protocol itself, which is lines of text.
func natsStream(t *testing.T, on *stores.Cluster, config string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", on.Addresses()[0])
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nSUB answer 1\r\nPUB $JS.API.STREAM.CREATE.PRISM_prism answer %d\r\n%s\r\n", len(config), config)
	require.NoError(t, err)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if line := lines.Text(); strings.HasPrefix(line, "{") {
			require.NotContains(t, line, `"error"`)
			return
		}
	}
	require.Fail(t, "NATS did not answer")
}

// natsFor starts a NATS whose user has what it needs, and returns a way to configure it anew.
func natsFor(t *testing.T) (configure func(t *testing.T, config string), of trouble) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "more.conf")
	write := func(t *testing.T, config string) {
		t.Helper()
		require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	}
	write(t, natsAccount("prism", natsRights, enough))
	on := stores.ForTest(t, stores.NATS, stores.Options{Include: file})
	configure = func(t *testing.T, config string) {
		t.Helper()
		write(t, config)
		require.NoError(t, syscall.Kill(on.PIDs()[0], syscall.SIGHUP))
	}
	return configure, trouble{
		options: []string{"url", on.URL(), "user", "prism", "password", natsSecret},
		secrets: []string{natsSecret},
	}
}
