//go:build unix

package e2e

// trouble_test.go: what people are told while a store refuses to serve: those who start a host,
// those whose host runs already, and those who register at it. The stores' own troubles are in
// consul_test.go, etcd_test.go, nats_test.go and redis_test.go.

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/cmd/internal/programtest"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/tools/stores"
)

// trouble is a reason why a store refuses to serve, which begins and passes while hosts run.
type trouble struct {
	options []string // of the backend
	secrets []string // which nobody is told
	words   []string // which whoever is told why is told
	exits   bool     // a host that starts now ends; otherwise it goes on trying
	begin   func(t *testing.T)
	mend    func(t *testing.T)
}

var troubles = map[stores.Kind]map[string]func(t *testing.T) trouble{
	stores.Consul: consulTroubles, stores.Etcd: etcdTroubles, stores.NATS: natsTroubles, stores.Redis: redisTroubles,
}

// refusals are stores that no host can use. They neither begin nor pass.
var refusals = map[stores.Kind]map[string]func(t *testing.T) trouble{
	stores.Consul: consulRefusals, stores.Etcd: etcdRefusals, stores.NATS: natsRefusals, stores.Redis: redisRefusals,
}

// TestStoresThatCannotBeUsed shows that a server that is too old, and a namespace in which others
// keep their data, end "prism serve" with one sentence that says what to do.
func TestStoresThatCannotBeUsed(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		for name, prepare := range refusals[s.kind] {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				of := prepare(t)
				said := s.refused(t, set(of.options...))
				s.saysSo(t, said, of.words)
				for _, secret := range of.secrets {
					assert.NotContains(t, said, secret)
				}
			})
		}
	})
}

// TestTroublesThatPass shows, for each trouble of each store, that a running host says in one
// sentence at /readyz, in its log and to whoever registers what is wrong and what to do, that one
// that is started meanwhile says the same, ending or trying as makes sense, and that without
// another start all is well once the trouble is over.
func TestTroublesThatPass(t *testing.T) {
	overEach(t, func(t *testing.T, s store) {
		for name, prepare := range troubles[s.kind] {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s.goesThrough(t, prepare(t))
			})
		}
	})
}

func (s store) goesThrough(t *testing.T, of trouble) {
	t.Helper()
	options := append(set(of.options...), "--set", "server.data_dir="+t.TempDir())
	running := binaries.Serve(t, append([]string{"--backend", string(s.kind)}, options...)...)
	require.NoError(t, register(t, running, "before"))

	of.begin(t)
	began := time.Now()
	told := s.notReady(t, running, of.words)
	refused := register(t, running, "meanwhile")
	require.Error(t, refused, "the store takes no writes")
	s.saysSo(t, refused.Error(), of.words)
	running.Until("the log says why", func(context.Context) bool {
		return slices.ContainsFunc(reported(t, running), func(said string) bool { return has(said, of.words) })
	})
	processes := []*programtest.Process{running}
	if of.exits {
		said := s.refused(t, set(of.options...))
		s.saysSo(t, said, of.words)
		told += said
	} else {
		port := freePort(t)
		late := binaries.Launch(t, append([]string{"serve", "--http", "127.0.0.1:" + port, "--grpc", "127.0.0.1:0", "--backend", string(s.kind)}, set(of.options...)...)...)
		late.Serves("http://127.0.0.1:" + port)
		told += s.notReady(t, late, of.words)
		late.Until("the log says that it tries again", func(context.Context) bool {
			return slices.ContainsFunc(reported(t, late), func(said string) bool { return strings.HasPrefix(said, "open the ") && has(said, of.words) })
		})
		assert.Empty(t, late.Stdout(), "nobody is told that a host is there")
		processes = append(processes, late)
	}

	pause(t, time.Until(began.Add(staleAfter+margin)))
	told += s.notReady(t, running, of.words) // a view that is not current is no other reason

	of.mend(t)
	var last error
	for i, p := range processes {
		p.Until("the host is ready again", func(ctx context.Context) bool {
			err := p.Client.Ready(ctx)
			if err != nil && ctx.Err() != nil {
				t.Log("/readyz said last: ", last)
			}
			last = err
			return err == nil
		})
		require.NoError(t, register(t, p, "after"))
		if i == 0 {
			_, err := p.Client.Instance(t.Context(), core.Key{Service: "web", ID: "before"})
			require.NoError(t, err, "what was there before is there again")
		}
		assert.Zero(t, p.End(syscall.SIGTERM), p.Stderr())
		told += p.Stdout() + p.Stderr()
	}
	for _, secret := range of.secrets {
		assert.NotContains(t, told+refused.Error(), secret)
	}
}

// register registers an instance, once.
func register(t *testing.T, host *programtest.Process, id string) error {
	t.Helper()
	_, err := host.Client.RegisterOnce(t.Context(), core.Spec{Service: "web", ID: id, Host: "127.0.0.1", Port: 8081, Check: &core.Check{Type: core.CheckNone}})
	return err
}

// notReady waits until /readyz says why the store cannot be used, and returns that.
func (s store) notReady(t *testing.T, host *programtest.Process, words []string) (told string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log("/readyz said last: " + told)
		}
	}()
	host.Until("/readyz says why", func(ctx context.Context) bool {
		err := host.Client.Ready(ctx)
		if err != nil && ctx.Err() == nil {
			told = err.Error()
		}
		return err != nil && has(told, words)
	})
	s.saysSo(t, told, words)
	return told
}

// saysSo requires one sentence that names the store, the option and what to do.
func (s store) saysSo(t *testing.T, said string, words []string) {
	t.Helper()
	t.Log(said)
	for _, word := range append(words, "backend_config.") {
		assert.Contains(t, said, word)
	}
	assert.Contains(t, strings.ToLower(said), string(s.kind))
	assert.NotContains(t, strings.TrimSpace(said), "\n", "one sentence")
	for _, raw := range []string{"rpc error", "desc =", "context deadline exceeded"} {
		assert.NotContains(t, said, raw, "words of a library")
	}
}

func has(said string, words []string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(said, word) })
}
