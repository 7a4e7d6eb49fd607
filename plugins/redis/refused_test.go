package redis_test

// refused_test.go: what cannot work is refused with one sentence that names the option and
// what to do, in time, and without a secret.

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/conformance/backendtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/plugins/redis"
	"github.com/marketprism/prism/ports"
	"github.com/marketprism/prism/tools/stores"
)

// refused asks that Open fails in time, with one sentinel and with words in its sentence.
func refused(t *testing.T, o redis.Options, sentinel error, words ...string) {
	t.Helper()
	backendtest.Refused(t, redis.Open, o, sentinel, append(words, "redis")...)
}

func TestOptionsThatAreWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options redis.Options
		words   []string
	}{
		"a namespace with a slash":   {redis.Options{Namespace: "a/b"}, []string{"backend_config.namespace", `"a/b"`}},
		"no URL":                     {redis.Options{URL: "redis://[::1"}, []string{"backend_config.url", "not a URL"}},
		"another scheme":             {redis.Options{URL: "http://127.0.0.1"}, []string{"backend_config.url", "redis:// or rediss://"}},
		"a database in the URL":      {redis.Options{URL: "redis://127.0.0.1:6379/2"}, []string{"backend_config.url", "backend_config.db"}},
		"a user in the URL":          {redis.Options{URL: "redis://me:secret@127.0.0.1"}, []string{"backend_config.url", "backend_config.username"}},
		"both schemes":               {redis.Options{URL: "redis://127.0.0.1:1,rediss://127.0.0.1:2"}, []string{"backend_config.url", "all are redis or all are rediss"}},
		"a user without password":    {redis.Options{Username: "me"}, []string{"backend_config.password", "username"}},
		"sentinels without a name":   {redis.Options{Sentinels: []string{"127.0.0.1"}}, []string{"backend_config.master_name"}},
		"a name without sentinels":   {redis.Options{MasterName: "m"}, []string{"backend_config.master_name"}},
		"sentinels and a URL":        {redis.Options{Sentinels: []string{"127.0.0.1"}, MasterName: "m", URL: "redis://a"}, []string{"backend_config.url", "not both"}},
		"a password of no sentinels": {redis.Options{SentinelPassword: "secret"}, []string{"backend_config.sentinel_password"}},
		"a database below zero":      {redis.Options{DB: -1}, []string{"backend_config.db", "-1"}},
		"a log that is too short":    {redis.Options{LogLength: 5}, []string{"backend_config.log_length", "5", "100 or more"}},
		"TLS for redis":              {redis.Options{TLS: backendkit.TLS{CAFile: "ca.pem"}}, []string{"backend_config.url", "rediss"}},
		"TLS for sentinels of redis": {redis.Options{Sentinels: []string{"127.0.0.1"}, MasterName: "m", TLS: backendkit.TLS{CAFile: "ca.pem"}}, []string{"backend_config.sentinels", "rediss"}},
		"a file that is not there":   {redis.Options{URL: "rediss://127.0.0.1", TLS: backendkit.TLS{CAFile: "missing.pem"}}, []string{"backend_config.ca_file", "missing.pem"}},
		"a certificate without key":  {redis.Options{URL: "rediss://127.0.0.1", TLS: backendkit.TLS{CertFile: "a.pem"}}, []string{"backend_config.key_file"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, tt.options, ports.ErrInvalid, tt.words...)
		})
	}
}

func TestServersThatAreNotThere(t *testing.T) {
	t.Parallel()
	url := "redis://" + backendtest.Nowhere(t)
	refused(t, redis.Options{URL: url}, ports.ErrUnavailable, "backend_config.url", url, "cannot connect", "is Redis running there?")
	// A server that hangs takes connections and nothing more.
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	require.NoError(t, store.Pause())
	refused(t, redis.Options{URL: store.URL()}, ports.ErrUnavailable, "backend_config.url")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := redis.Open(ctx, redis.Options{URL: store.URL()})
	require.ErrorIs(t, err, ports.ErrUnavailable)
}

func TestCertificatesThatAreWrong(t *testing.T) {
	t.Parallel()
	plain := stores.ForTest(t, stores.Redis, stores.Options{})
	mutual := stores.ForTest(t, stores.Redis, stores.Options{TLS: stores.MutualTLS})
	expired := stores.ForTest(t, stores.Redis, stores.Options{TLS: stores.ExpiredTLS})
	files := mutual.Certificates
	for name, tt := range map[string]struct {
		options  redis.Options
		sentinel error
		words    []string
	}{
		"the server's has expired": {
			redis.Options{URL: expired.URL(), TLS: backendkit.TLS{CAFile: expired.Certificates.CA}}, ports.ErrUnavailable, []string{"backend_config.url", "expired"},
		},
		"the client's has expired": {
			redis.Options{URL: mutual.URL(), TLS: backendkit.TLS{CAFile: files.CA, CertFile: files.ExpiredCert, KeyFile: files.ExpiredKey}},
			ports.ErrInvalid,
			[]string{"backend_config.cert_file", "expired"},
		},
		"the client has none": {
			redis.Options{URL: mutual.URL(), TLS: backendkit.TLS{CAFile: files.CA}}, ports.ErrUnavailable, []string{"backend_config.url", "backend_config.cert_file"},
		},
		"another authority": {
			redis.Options{URL: mutual.URL(), TLS: backendkit.TLS{CAFile: files.OtherCA}}, ports.ErrUnavailable, []string{"backend_config.ca_file"},
		},
		"another name": {
			redis.Options{URL: mutual.URL(), TLS: backendkit.TLS{CAFile: files.CA, ServerName: "elsewhere"}}, ports.ErrUnavailable, []string{"backend_config.server_name"},
		},
		"TLS to a server without": {
			redis.Options{URL: strings.Replace(plain.URL(), "redis:", "rediss:", 1)}, ports.ErrUnavailable, []string{"backend_config.url"},
		},
		"no TLS to a server with": {
			redis.Options{URL: strings.Replace(mutual.URL(), "rediss:", "redis:", 1)}, ports.ErrUnavailable, []string{"backend_config.url", "speak TLS", "rediss"},
		},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tt.options, tt.sentinel, tt.words...) })
	}
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{Nodes: 3})
	refused(t, redis.Options{URL: store.URLs()[1]}, ports.ErrUnavailable, store.URLs()[1], "is a read-only replica; set backend_config.url to the primary")
	// A primary that becomes one, while its connections stay.
	b := open(t, redis.Options{URL: store.URL()})
	works(t, b)
	setUser(t, raw(t, store, 0), "blind", strings.Replace(enough, "+info ", "", 1))
	blind := open(t, redis.Options{URL: store.URL(), Username: "blind", Password: "secret-of-blind"})
	host, port, err := net.SplitHostPort(store.Addresses()[1])
	require.NoError(t, err)
	do(t, raw(t, store, 1), "REPLICAOF", "NO", "ONE")
	do(t, raw(t, store, 0), "REPLICAOF", host, port)
	backendtest.Said(t, b.Health(backendtest.Within(t)), ports.ErrUnavailable, "is a read-only replica; set backend_config.url to the primary")
	_, err = b.Get(backendtest.Within(t), []core.Key{{Service: "a", ID: "a"}})
	backendtest.Said(t, err, ports.ErrUnavailable, "is a read-only replica")
	// What it has is not current. That shows in watches, also without INFO.
	for _, b := range []*redis.Backend{b, blind} {
		_, err = b.Position(backendtest.Within(t))
		backendtest.Said(t, err, ports.ErrUnavailable, "is a read-only replica; set backend_config.url to the primary")
	}
}

func TestForeignData(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{})
	client := raw(t, store, 0)
	do(t, client, "SET", "{prism:a}:meta", "mine")
	do(t, client, "HSET", "{prism:b}:meta", "mine", "1")
	do(t, client, "SET", "{prism:c}:records", "mine")
	for namespace, key := range map[string]string{"a": "{prism:a}:meta", "b": "{prism:b}:meta", "c": "{prism:c}:records"} {
		refused(t, redis.Options{URL: store.URL(), Namespace: namespace}, ports.ErrInvalid, "backend_config.namespace", key, "choose a namespace")
	}
	do(t, client, "HSET", "{prism:d}:meta", "v", "2", "epoch", "e")
	refused(t, redis.Options{URL: store.URL(), Namespace: "d"}, ports.ErrUnsupported, `format "2"`, "backend_config.namespace")
	// Later, too.
	b := open(t, redis.Options{URL: store.URL()})
	do(t, client, "DEL", "{prism:prism}:records")
	do(t, client, "SET", "{prism:prism}:records", "mine")
	_, err := b.Get(backendtest.Within(t), []core.Key{{Service: "a", ID: "a"}})
	backendtest.Said(t, err, ports.ErrInvalid, "backend_config.namespace")
}

func TestAFullMemory(t *testing.T) {
	t.Parallel()
	store := stores.ForTest(t, stores.Redis, stores.Options{DataLimit: 6 << 20})
	b := open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	words := []string{"redis", "maxmemory", "takes no writes", "raise maxmemory"}
	var full error
	large := *rec
	large.Body = []byte(`"` + strings.Repeat("x", ports.MaxBodyBytes-2) + `"`)
	for i := 0; full == nil && i < 1000; i++ {
		full = tryPut(t, b, large, large.Generation).Err
	}
	backendtest.Said(t, full, ports.ErrUnavailable, words...)
	do(t, raw(t, store, 0), "CONFIG", "SET", "maxmemory", "100000") // full for small writes, too
	backendtest.Said(t, b.Health(backendtest.Within(t)), ports.ErrUnavailable, words...)
	refused(t, redis.Options{URL: store.URL()}, ports.ErrUnavailable, words...)
	// What is there can be read, and a list of it.
	assert.NotNil(t, backendtest.Get(t, b, "a").Record)
	backendtest.Until(t, backendtest.Follow(t, b, core.Revision{}), backendtest.Is(ports.WatchSynced))
	// Sessions live on, and what is removed makes room.
	require.True(t, renewed(t, b, "s"))
	backendtest.Session(t, b, "s", time.Hour)
	res, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: core.CauseDeregistered}}})
	require.NoError(t, err)
	require.NoError(t, res[0].Err)
	assert.NotNil(t, backendtest.Get(t, b, "a").Tombstone)
	// Nothing is half done: it goes on where there is room again.
	do(t, raw(t, store, 0), "CONFIG", "SET", "maxmemory", "0")
	works(t, b)
	backendtest.Put(t, b, backendtest.Record("b", "s"), core.Generation{})
}

// A server whose memory is full may get another replication id, as from its first replica. What needs no memory goes on all the same.
func TestAFullMemoryAndAnotherLifeOfTheServer(t *testing.T) {
	t.Parallel()
	store, other := stores.ForTest(t, stores.Redis, stores.Options{}), stores.ForTest(t, stores.Redis, stores.Options{})
	b := open(t, redis.Options{URL: store.URL()})
	backendtest.Session(t, b, "s", time.Hour)
	rec := backendtest.Put(t, b, backendtest.Record("a", "s"), core.Generation{})
	client := raw(t, store, 0)
	do(t, client, "CONFIG", "SET", "maxmemory", "100000")
	id := replicationID(t, client)
	host, port, err := net.SplitHostPort(store.Addresses()[0])
	require.NoError(t, err)
	do(t, raw(t, other, 0), "REPLICAOF", host, port)
	require.Eventually(t, func() bool { return replicationID(t, client) != id }, backendtest.Patience, 10*time.Millisecond)
	assert.NotNil(t, backendtest.Get(t, b, "a").Record)
	require.True(t, renewed(t, b, "s"))
	res, err := b.Apply(backendtest.Within(t), []ports.Mutation{{Delete: &ports.Delete{Key: rec.Key, Generation: rec.Generation, Cause: core.CauseDeregistered}}})
	require.NoError(t, err)
	require.NoError(t, res[0].Err)
	backendtest.Said(t, tryPut(t, b, backendtest.Record("b", "s"), core.Generation{}).Err, ports.ErrUnavailable, "maxmemory")
}

func replicationID(t *testing.T, client *goredis.Client) string {
	t.Helper()
	text, err := client.Info(backendtest.Within(t), "replication").Result()
	require.NoError(t, err)
	_, rest, _ := strings.Cut(text, "master_replid:")
	id, _, _ := strings.Cut(rest, "\r")
	return id
}

// fake is a server that says what it is told to, command by command.
func fake(t *testing.T, answer func(command []string) string) string {
	t.Helper()
	return "redis://" + backendtest.InPlaceOf(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			command, err := readCommand(in)
			if err != nil {
				return
			}
			if _, err := io.WriteString(conn, answer(command)+"\r\n"); err != nil {
				return
			}
		}
	})
}

func readCommand(in *bufio.Reader) ([]string, error) {
	number := func(prefix string) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), prefix))
	}
	n, err := number("*")
	if err != nil {
		return nil, err
	}
	command := make([]string, n)
	for i := range command {
		size, err := number("$")
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		command[i] = string(word[:size])
	}
	return command, nil
}

func TestServersThatAreTooOld(t *testing.T) {
	t.Parallel()
	version := func(v string) func(command []string) string {
		return func(command []string) string {
			if !strings.EqualFold(command[0], "info") {
				return "-ERR unknown command"
			}
			text := "# Server\r\nredis_version:" + v + "\r\nredis_mode:standalone\r\n"
			return fmt.Sprintf("$%d\r\n%s", len(text), text)
		}
	}
	for _, v := range []string{"6.0.16", "5.0.14", "2.8.24", "6.1.240"} {
		refused(t, redis.Options{URL: fake(t, version(v))}, ports.ErrUnsupported, "redis://127.0.0.1:", v, "upgrade it to 6.2 or later")
	}
	for _, v := range []string{"6.2.0", "7.0.15", "8.2.1", "10.0.0", "edge"} {
		refused(t, redis.Options{URL: fake(t, version(v))}, ports.ErrUnavailable, "unknown command") // what comes next
	}
}

func TestWhatServersSay(t *testing.T) {
	t.Parallel()
	for text, tt := range map[string]struct {
		sentinel error
		words    string
	}{
		"LOADING Redis is loading the dataset in memory": {
			ports.ErrUnavailable, "loading its data",
		},
		"MISCONF Errors writing to the AOF file: No space left on device": {
			ports.ErrUnavailable, "its disk",
		},
		"NOREPLICAS Not enough good replicas to write.": {
			ports.ErrUnavailable, "min-replicas-to-write",
		},
		"ERR max number of clients reached": {
			ports.ErrUnavailable, "maxclients",
		},
		"BUSY Redis is busy running a script.": {
			ports.ErrUnavailable, "long script",
		},
		"ERR Error running script (call to f_0): @user_script:1: -OOM command not allowed when used memory > 'maxmemory'.": {
			ports.ErrUnavailable, "maxmemory",
		},
		"ERR Error running script (call to f_0): @user_script:1: -WRONGTYPE Operation against a key holding the wrong kind of value": {
			ports.ErrInvalid, "backend_config.namespace",
		},
		"ERR something else": {
			ports.ErrUnavailable, "something else",
		},
	} {
		url := fake(t, func(command []string) string {
			if strings.EqualFold(command[0], "info") {
				return "$0\r\n"
			}
			if strings.EqualFold(command[0], "hello") {
				return "-ERR unknown command"
			}
			return "-" + text
		})
		refused(t, redis.Options{URL: url}, tt.sentinel, tt.words)
	}
}
