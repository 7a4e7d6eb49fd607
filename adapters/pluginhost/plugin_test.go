package pluginhost_test

// plugin_test.go: the plugins that the tests launch. What they do wrong before they serve is
// their role; what they do wrong later is asked of them by option or call.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/marketprism/prism/adapters/pluginrpc"
	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Roles of the test binary.
const (
	roleHost       = "host"
	roleGrandchild = "grandchild"
	roleEmpty      = "empty" // a bare go-plugin plugin
	rolePlugin     = "plugin"
	roleNoPlugin   = "no-plugin"  // ends well and says nothing of use
	roleCrash      = "crash"      // panics at once
	roleSilent     = "silent"     // neither ends nor introduces itself
	roleNoisy      = "noisy"      // prints to standard output first
	roleNewer      = "newer"      // speaks a newer contract
	roleOlder      = "older"      // introduces itself well and describes an older contract
	roleNetRPC     = "netrpc"     // speaks net/rpc
	roleNowhere    = "nowhere"    // is not where it says
	roleDeafening  = "deafening"  // floods standard error before it serves
	roleFlaky      = "flaky"      // crashes unless the file in PRISM_TEST_FILE says "work"
	roleOtherName  = "other-name" // is the plugin of another backend
	roleFrozen     = "frozen"     // introduces itself and stops
)

const varFile = "PRISM_TEST_FILE"

// play is main for every part but the tests.
func play(role string) {
	report(role)
	plugin := pluginrpc.Plugin{
		Name: "toy", Version: "1.2.3", Open: openToy,
		Options: []ports.Option{
			{Name: "open", Type: ports.OptionString, Doc: "What Open does."},
			{Name: "close", Type: ports.OptionString, Doc: "What Close does."},
			{Name: "url", Type: ports.OptionString, Doc: "Where the store is."},
			{Name: "pin", Type: ports.OptionString, Secret: true, Doc: "Opens the store."},
		},
	}
	switch role {
	case roleHost:
		playHost()
		return
	case roleEmpty:
		playEmpty()
		return
	case roleGrandchild:
		waitForever()
	case roleNoPlugin:
		say("usage: frobnicate FILE\n")
		return
	case roleCrash:
		panic("no such luck")
	case roleSilent:
		waitForEnd()
	case roleNoisy:
		say("Welcome to the toy store!\n" + strings.Repeat("x", 200<<10) + "\nloading 10")
	case roleNewer:
		say("1|99|unix|/nowhere|grpc|\n")
		waitForEnd()
	case roleOlder:
		playOlder(plugin)
		return
	case roleNowhere:
		say("1|1|unix|/nowhere|grpc|\n")
		waitForEnd()
	case roleNetRPC:
		say("1|1|unix|/nowhere|netrpc|\n")
		waitForEnd()
	case roleDeafening:
		line := strings.Repeat("y", 99) + "\n"
		for range 100_000 {
			_, _ = os.Stderr.WriteString(line)
		}
	case roleFlaky:
		if text, _ := os.ReadFile(os.Getenv(varFile)); string(text) != "work" {
			panic("not today")
		}
	case roleOtherName:
		plugin.Name = "doll"
	case roleFrozen:
		playFrozen()
		return
	}
	pluginrpc.Serve(plugin)
}

// playOlder serves a plugin that was built for an older contract than its handshake says.
func playOlder(p pluginrpc.Plugin) {
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  pluginrpc.Handshake,
		VersionedPlugins: pluginrpc.VersionedPlugins(older{pluginrpc.NewServer(p)}),
		GRPCServer:       goplugin.DefaultGRPCServer, Logger: hclog.NewNullLogger(),
	})
}

type older struct {
	backendv1.RegistryBackendServer
}

func (s older) Describe(ctx context.Context, req *backendv1.DescribeRequest) (*backendv1.DescribeResponse, error) {
	d, err := s.RegistryBackendServer.Describe(ctx, req)
	if err == nil {
		d.Contract = ports.ContractVersion - 1
	}
	return d, err
}

// playFrozen introduces itself and never answers.
func playFrozen() {
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", os.Getenv("PLUGIN_UNIX_SOCKET_DIR")+"/frozen")
	if err != nil {
		panic(err)
	}
	defer func() { _ = l.Close() }()
	say("1|1|unix|" + l.Addr().String() + "|grpc|\n")
	waitForEnd()
}

// quit ends a process that plays a part.
var quit = os.Exit

// say prints to standard output.
func say(text string) { _, _ = os.Stdout.WriteString(text) }

// waitForEnd waits until the host is gone.
func waitForEnd() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	quit(0)
}

func waitForever() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
	select {}
}

// toy is a backend that does as it is told: the host of a session is a command.
type toy struct {
	options toyOptions
	ended   chan struct{}
}

type toyOptions struct {
	Open  string `json:"open"`
	Close string `json:"close"`
	URL   string `json:"url"`
	Pin   string `json:"pin"`
}

func openToy(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
	var o toyOptions
	if err := json.Unmarshal(options, &o); err != nil {
		return nil, err
	}
	verb, arg, _ := strings.Cut(o.Open, " ")
	switch verb {
	case "hang":
		select {}
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "exit":
		quit(7)
	case "refuse":
		return nil, core.Invalid("backend_config.url", o.URL, "it must work with pin "+o.Pin)
	case "deny":
		return nil, fmt.Errorf("the store refuses the pin: %w", ports.ErrPermission)
	case "away-unless": // The store answers when the file is there.
		if _, err := os.Stat(arg); err != nil {
			return nil, fmt.Errorf("the store is away: %w", ports.ErrUnavailable)
		}
	case "exit-unless":
		if _, err := os.Stat(arg); err != nil {
			quit(7)
		}
	case "exit-soon-unless":
		if _, err := os.Stat(arg); err != nil {
			time.AfterFunc(20*time.Millisecond, func() { quit(7) })
		}
	case "log":
		fmt.Fprintln(os.Stderr, arg)
	}
	return &toy{options: o, ended: make(chan struct{})}, nil
}

func (b *toy) Info() ports.Info { return ports.Info{Name: "toy", Version: "1.2.3"} }

func (b *toy) Health(context.Context) error { return nil }

// OpenSession carries out the command in spec.Host and answers in the id.
func (b *toy) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	verb, arg, _ := strings.Cut(spec.Host, " ")
	answer := "done"
	switch verb {
	case "exit":
		quit(7)
	case "panic":
		go panic("it hurts")
		select {}
	case "wait":
		<-ctx.Done()
		return ports.Session{}, ctx.Err()
	case "hang":
		select {}
	case "spin":
		for range 4 {
			go func() {
				for n := 0; ; n++ {
					_ = n
				}
			}()
		}
	case "stderr":
		fmt.Fprintln(os.Stderr, arg)
	case "raw": // Past go-plugin's redirection.
		_, _ = syscall.Write(2, []byte(arg+"\n"))
	case "stdout":
		_, _ = syscall.Write(1, []byte(arg+"\n"))
	case "flood":
		go flood(arg)
	case "env":
		answer = strings.Join(os.Environ(), "\n")
	case "args":
		exe, _ := os.Executable()
		answer = exe + "\n" + strings.Join(os.Args, " ")
	case "child":
		pid, err := child(strings.Fields(arg)...)
		if err != nil {
			return ports.Session{}, err
		}
		answer = strconv.Itoa(pid)
	case "permission":
		return ports.Session{}, fmt.Errorf("pin %s is wrong: %w", b.options.Pin, ports.ErrPermission)
	case "unavailable":
		return ports.Session{}, fmt.Errorf("store %s is away: %w", b.options.URL, ports.ErrUnavailable)
	}
	return ports.Session{ID: ports.SessionID(answer), TTL: spec.TTL}, nil
}

func flood(how string) {
	line := []byte(strings.Repeat("z", 99) + "\n")
	for {
		if how == "raw" {
			_, _ = syscall.Write(2, line)
		} else {
			_, _ = os.Stderr.Write(line)
		}
	}
}

// child starts a descendant that holds all of the pipes and outlives its parent, through
// another program if one is given.
func child(through ...string) (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args := append(through, exe)
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), varRole+"="+roleGrandchild)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.NewFile(0, "in"), os.NewFile(1, "out"), os.NewFile(2, "err")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

func (b *toy) RenewSessions(_ context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	return make([]ports.RenewResult, len(ids)), nil
}

func (b *toy) CloseSession(context.Context, ports.SessionID) error { return nil }

func (b *toy) Apply(_ context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	results := make([]ports.MutationResult, len(muts))
	for i := range results {
		results[i].Err = fmt.Errorf("no with pin %s: %w", b.options.Pin, ports.ErrConflict)
	}
	return results, nil
}

func (b *toy) Get(_ context.Context, keys []core.Key) ([]ports.Found, error) {
	return make([]ports.Found, len(keys)), nil
}

func (b *toy) Watch(context.Context, ports.WatchRequest) (ports.Watcher, error) {
	return &toyWatch{toy: b, closed: make(chan struct{})}, nil
}

func (b *toy) Close() error {
	switch b.options.Close {
	case "hang":
		select {}
	case "fail":
		return fmt.Errorf("pin %s stuck: %w", b.options.Pin, ports.ErrPermission)
	case "exit":
		quit(7)
	case "mark": // After longer than a plugin gives its backend once it is to end.
		<-time.After(1500 * time.Millisecond)
		_ = os.WriteFile(os.Getenv(varFile), []byte("closed"), 0o600)
	}
	close(b.ended)
	return nil
}

// toyWatch sends one bookmark, or where there is a pin a Reset with it, and then nothing.
type toyWatch struct {
	toy    *toy
	sent   bool
	closed chan struct{}
}

func (w *toyWatch) Next(ctx context.Context) (ports.WatchEvent, error) {
	if !w.sent {
		w.sent = true
		if pin := w.toy.options.Pin; pin != "" {
			return ports.WatchEvent{Kind: ports.WatchReset, Reason: "pin " + pin + " was changed"}, nil
		}
		return ports.WatchEvent{Kind: ports.WatchBookmark}, nil
	}
	select {
	case <-ctx.Done():
		return ports.WatchEvent{}, ctx.Err()
	case <-w.closed:
	case <-w.toy.ended:
	case <-time.After(10 * patience):
	}
	return ports.WatchEvent{}, ports.ErrClosed
}

func (w *toyWatch) Close() error {
	close(w.closed)
	return nil
}
