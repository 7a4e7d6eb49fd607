package redis

// connect.go: one server, a primary that sentinels name, or a cluster: whichever it is, all keys
// of a namespace are at one server at a time, and commands go to that one's client.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	connectTimeout = 2 * time.Second
	// answerTimeout bounds the wait for an answer where the context does not.
	answerTimeout = 3 * time.Second
	// connections is how many a process opens at most; one of them waits for changes.
	connections = 32
)

// store is where the namespace is. Exactly one of client and cluster is set.
type store struct {
	client  *goredis.Client // of the one server, or of the primary that the sentinels name
	cluster *goredis.ClusterClient
	key     string // any of the namespace
	where   string // for people
	moves   bool   // another server may become the primary
}

// connect finds out what the endpoints are. The commands that go-redis would repeat by itself
// are repeated by send alone, which knows then that they were.
func (s settings) connect(ctx context.Context) (*store, error) {
	if len(s.Sentinels) > 0 {
		client := goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: s.MasterName, SentinelAddrs: s.addresses(), SentinelUsername: s.SentinelUsername, SentinelPassword: s.SentinelPassword,
			Username: s.Username, Password: s.Password, DB: s.DB, TLSConfig: s.tls, Protocol: 2, DisableIdentity: true,
			MaxRetries: -1, DialerRetries: 1, DialTimeout: connectTimeout, ReadTimeout: answerTimeout, ContextTimeoutEnabled: true, PoolSize: connections,
		})
		st := &store{client: client, key: s.keys.meta(), moves: true, where: fmt.Sprintf("the primary %q of the sentinels", s.MasterName)}
		return st, st.orClose(s.check(ctx, client))
	}
	var first error
	for i, u := range s.endpoints {
		client := s.single(u.Host)
		about, err := info(ctx, client, "server")
		if err == nil {
			err = checkVersion(u.String(), about)
		}
		if err != nil {
			first = errors.Join(first, client.Close())
			if i == 0 {
				first = atEndpoint(u.String(), err)
			}
			continue
		}
		switch mode := about["redis_mode"]; {
		case mode == "cluster" || mode == "" && len(s.endpoints) > 1:
			if err := client.Close(); err != nil {
				return nil, fail(err)
			}
			return s.sharded(ctx)
		case len(s.endpoints) > 1:
			return nil, errors.Join(core.Invalid(backendkit.OptionField("url"), s.URL, u.String()+" is no Redis Cluster; give the primary alone, or sentinels and master_name"), client.Close())
		}
		st := &store{client: client, key: s.keys.meta(), where: u.String()}
		return st, st.orClose(s.check(ctx, client))
	}
	return nil, first
}

func (s settings) addresses() []string {
	var out []string
	for _, u := range s.endpoints {
		out = append(out, u.Host)
	}
	return out
}

func (s settings) single(address string) *goredis.Client {
	return goredis.NewClient(&goredis.Options{
		Addr: address, Username: s.Username, Password: s.Password, DB: s.DB, TLSConfig: s.tls, Protocol: 2, DisableIdentity: true,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: connectTimeout, ReadTimeout: answerTimeout, ContextTimeoutEnabled: true, PoolSize: connections,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

func (s settings) sharded(ctx context.Context) (*store, error) {
	if s.DB != 0 {
		return nil, core.Invalid(backendkit.OptionField("db"), s.DB, "a Redis Cluster has the database 0 alone")
	}
	cluster := goredis.NewClusterClient(&goredis.ClusterOptions{
		Addrs: s.addresses(), Username: s.Username, Password: s.Password, TLSConfig: s.tls, Protocol: 2, DisableIdentity: true,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: connectTimeout, ReadTimeout: answerTimeout, ContextTimeoutEnabled: true, PoolSize: connections,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	st := &store{cluster: cluster, key: s.keys.meta(), moves: true, where: "the primary of the slot of " + s.keys.meta()}
	client, err := st.primary(ctx)
	if err == nil {
		err = s.check(ctx, client)
	}
	return st, st.orClose(fail(err))
}

// orClose closes the store where there is an error, which it returns.
func (s *store) orClose(err error) error {
	if err != nil {
		s.close()
	}
	return err
}

// check refuses a server that cannot serve, and warns of one that may lose data.
func (s settings) check(ctx context.Context, client *goredis.Client) error {
	about, err := info(ctx, client, "server")
	if err != nil {
		return fail(err)
	}
	if err := checkVersion("the server", about); err != nil {
		return err
	}
	memory, err := info(ctx, client, "memory")
	if err != nil {
		return fail(err)
	}
	if policy := memory["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		logger().Warn("Redis may throw away records when its memory is full; set maxmemory-policy to noeviction", "maxmemory_policy", policy)
	}
	return nil
}

// info asks for a section of INFO. Without the permission for it nothing is known, which is no error.
func info(ctx context.Context, client *goredis.Client, section string) (map[string]string, error) {
	text, err := client.Info(ctx, section).Result()
	if err != nil && says(err, "NOPERM") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[name] = value
		}
	}
	return out, nil
}

func checkVersion(where string, about map[string]string) error {
	version := about["redis_version"]
	if version == "" {
		return nil
	}
	var parts [2]int
	for i, text := range strings.SplitN(version, ".", 3)[:min(2, strings.Count(version, ".")+1)] {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil //nolint:nilerr // A fork with versions of its own.
		}
		parts[i] = n
	}
	if parts[0] > 6 || parts[0] == 6 && parts[1] >= 2 {
		return nil
	}
	return fmt.Errorf("redis: %s is version %s, which is too old; upgrade it to 6.2 or later, or set %s to another: %w",
		where, version, backendkit.OptionField("url"), ports.ErrUnsupported)
}

// primary is the server that has the namespace now.
func (s *store) primary(ctx context.Context) (*goredis.Client, error) {
	if s.cluster == nil {
		return s.client, nil
	}
	return s.cluster.MasterForKey(ctx, s.key)
}

// replica says that what was asked is none that takes writes.
func (s *store) replica() error { return replicaError(s.where) }

type replicaError string

func (e replicaError) Error() string {
	return fmt.Sprintf("redis: %s is a read-only replica; set %s to the primary", string(e), backendkit.OptionField("url"))
}

// Unwrap makes it the sentinel of what cannot be reached: the next attempt may do better.
func (e replicaError) Unwrap() error { return ports.ErrUnavailable }

// worthRepeating reports whether to send a command again that failed, and whether it may have
// been carried out all the same. It looks for the primary anew where that has moved.
func (s *store) worthRepeating(ctx context.Context, err error) (again, unknown bool) {
	if ctx.Err() != nil {
		return false, false
	}
	_, replica := errors.AsType[replicaError](err)
	switch _, answered := errors.AsType[goredis.Error](err); {
	case replica || answered && says(err, "READONLY", "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN"):
		if s.cluster != nil {
			s.cluster.ReloadState(ctx)
		}
		return s.moves, false
	case answered || backendkit.HasSentinel(err) || errors.Is(err, goredis.ErrClosed):
		return false, false
	}
	op, ok := errors.AsType[*net.OpError](err)
	dialed := ok && op.Op == "dial"
	ne, ok := errors.AsType[net.Error](err)
	slow := ok && ne.Timeout()
	return !slow, !dialed
}

func (s *store) close() {
	if s.client != nil {
		_ = s.client.Close() // it has nothing to say that matters
	}
	if s.cluster != nil {
		_ = s.cluster.Close() // the same
	}
}
