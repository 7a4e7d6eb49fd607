//go:build unix

package e2e

// redis_test.go: why Redis refuses to serve.

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/tools/stores"
)

// redisRights are those that the README of the backend lists.
const redisRights = "~{prism:prism}:* +eval +evalsha +info +time +type +exists +unlink +hget +hset +hmget +hincrby +hdel +hlen +hgetall +hscan " +
	"+zadd +zrem +zscore +zrange +zrangebyscore +zrangebylex +zremrangebyscore +xadd +xread +xrange"

const redisSecret = "secret-of-the-user"

// redisTroubles are those of one Redis whose user may do what the README lists.
var redisTroubles = map[string]func(t *testing.T) trouble{
	"permission": func(t *testing.T) trouble {
		t.Helper()
		do, of := redisFor(t)
		of.exits, of.words = true, []string{"lacks a permission", "backend_config.username", "README"}
		of.begin = func(*testing.T) { do("ACL", "SETUSER", "prism", "-evalsha", "-eval") }
		of.mend = func(*testing.T) { do("ACL", "SETUSER", "prism", "+evalsha", "+eval") }
		return of
	},
	"user": func(t *testing.T) trouble {
		t.Helper()
		do, of := redisFor(t)
		of.exits, of.words = true, []string{"does not know this user with this password", "backend_config.username", "backend_config.password"}
		of.begin = func(*testing.T) { do("ACL", "DELUSER", "prism") }
		of.mend = func(*testing.T) { do(redisUser()...) }
		return of
	},
	"replica": func(t *testing.T) trouble {
		t.Helper()
		do, of := redisFor(t)
		of.words = []string{"is a read-only replica; set backend_config.url to the primary"}
		of.begin = func(t *testing.T) {
			t.Helper()
			do("REPLICAOF", "127.0.0.1", freePort(t))
		}
		of.mend = func(*testing.T) { do("REPLICAOF", "NO", "ONE") }
		return of
	},
	"memory": func(t *testing.T) trouble {
		t.Helper()
		do, of := redisFor(t)
		of.words = []string{"has reached its maxmemory and takes no writes", "raise maxmemory"}
		of.begin = func(*testing.T) { do("CONFIG", "SET", "maxmemory", "100000") }
		of.mend = func(*testing.T) { do("CONFIG", "SET", "maxmemory", "0") }
		return of
	},
	"replicas": func(t *testing.T) trouble {
		t.Helper()
		do, of := redisFor(t)
		of.words = []string{"too few replicas are connected", "lower its min-replicas-to-write"}
		of.begin = func(*testing.T) { do("CONFIG", "SET", "min-replicas-to-write", "1") }
		of.mend = func(*testing.T) { do("CONFIG", "SET", "min-replicas-to-write", "0") }
		return of
	},
	// A snapshot that cannot be written, as on a full disk: what stands in its place is a folder.
	"disk": func(t *testing.T) trouble {
		t.Helper()
		do, of := redisFor(t)
		of.words = []string{"cannot write to its disk and takes no writes", "look at its log and its disk"}
		_, rest, _ := strings.Cut(do("INFO", "server"), "config_file:")
		file, _, _ := strings.Cut(rest, "\r\n")
		inTheWay := filepath.Join(filepath.Dir(file), "dump.rdb")
		of.begin = func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700))
			do("CONFIG", "SET", "save", "3600 1")
			do("BGSAVE")
		}
		of.mend = func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.RemoveAll(inTheWay))
			do("BGSAVE")
		}
		return of
	},
}

// redisRefusals are Redis servers that no host can use.
var redisRefusals = map[string]func(t *testing.T) trouble{
	"version": func(t *testing.T) trouble {
		t.Helper()
		about := "# Server\r\nredis_version:6.0.16\r\nredis_mode:standalone\r\n"
		at := backendtest.InPlaceOf(t, func(conn net.Conn) {
			for words := bufio.NewScanner(conn); words.Scan(); {
				switch strings.ToLower(words.Text()) {
				case "hello":
					_, _ = fmt.Fprint(conn, "-ERR unknown command\r\n") // the other end may be gone
				case "info":
					_, _ = fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(about), about) // the same
				}
			}
		})
		return trouble{options: []string{"url", "redis://" + at}, words: []string{at, "version 6.0.16", "upgrade it to 6.2 or later", "backend_config.url"}}
	},
	"foreign": func(t *testing.T) trouble {
		t.Helper()
		do, of := redisFor(t)
		do("SET", "{prism:prism}:meta", "mine")
		of.words = []string{"{prism:prism}:meta", "choose a namespace that nothing else uses", "backend_config.namespace"}
		return of
	},
}

func redisUser() []string {
	return append([]string{"ACL", "SETUSER", "prism", "on", ">" + redisSecret}, strings.Fields(redisRights)...)
}

// redisFor starts a Redis, gives its user what it needs, and returns a way to administer it.
func redisFor(t *testing.T) (do func(command ...string) string, of trouble) {
	t.Helper()
	on := stores.ForTest(t, stores.Redis, stores.Options{Auth: stores.Password})
	do = func(command ...string) string {
		t.Helper()
		answer, err := on.RedisCommand(t.Context(), 0, command...)
		require.NoError(t, err)
		return answer
	}
	do(redisUser()...)
	return do, trouble{
		options: []string{"url", on.URL(), "username", "prism", "password", redisSecret},
		secrets: []string{redisSecret, on.Credentials.Password},
	}
}
