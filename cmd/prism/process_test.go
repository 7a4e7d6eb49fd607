package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/client"
)

// patience bounds every wait for a process.
const patience = 30 * time.Second

var binaries struct {
	once sync.Once
	dir  string
	err  error
}

// built builds the program and its plugin once, and returns the folder of plugins; the program
// is beside it.
func built(t *testing.T) string {
	t.Helper()
	binaries.once.Do(func() {
		binaries.dir, binaries.err = os.MkdirTemp("", "prism-test-")
		if binaries.err != nil {
			return
		}
		for pkg, folder := range map[string]string{
			"github.com/marketprism/prism/cmd/prism": "", "github.com/marketprism/prism/plugins/memory/cmd/prism-backend-memory": "plugins",
			"./testdata/prism-backend-odd": "odd",
		} {
			dir := filepath.Join(binaries.dir, folder) + string(filepath.Separator)
			if binaries.err = os.MkdirAll(dir, 0o755); binaries.err != nil {
				return
			}
			if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", dir, pkg).CombinedOutput(); err != nil {
				binaries.err = fmt.Errorf("build %s: %w: %s", pkg, err, out)
				return
			}
		}
	})
	require.NoError(t, binaries.err)
	return filepath.Join(binaries.dir, "plugins")
}

// process is the program as it is run by people.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	address string
	client  *client.Client
	ended   chan struct{}
	err     error // of the end

	mu     sync.Mutex
	stderr bytes.Buffer
}

// Write takes in standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// begin runs the program with arguments; line is told each line on standard output.
func begin(t *testing.T, line func(string), args ...string) *process {
	t.Helper()
	plugins := built(t)
	p := &process{t: t, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), filepath.Join(filepath.Dir(plugins), "prism"), args...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(os.Environ(), "HOME="+p.cmd.Dir, "XDG_CONFIG_HOME="+p.cmd.Dir)
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			line(lines.Text())
		}
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// start runs the program with arguments; firstLine is its first line on standard output that
// begins with a prefix.
func start(t *testing.T, prefix string, args ...string) (p *process, firstLine string) {
	t.Helper()
	found := make(chan string, 1)
	p = begin(t, func(line string) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, prefix) {
			select {
			case found <- line:
			default:
			}
		}
	}, args...)
	select {
	case firstLine = <-found:
	case <-p.ended:
		require.Fail(t, "the program ended", p.log())
	case <-time.After(patience):
		require.Fail(t, "the program said nothing", p.log())
	}
	return p, firstLine
}

// serve runs a host until it is ready.
func serve(t *testing.T, args ...string) *process {
	t.Helper()
	p, line := start(t, "HTTP", append([]string{"serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"}, args...)...)
	p.address = strings.Fields(line)[1]
	c, err := client.New(client.Config{Addresses: []string{p.address}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	p.client = c
	p.until("the host is ready", func(ctx context.Context) bool { return c.Ready(ctx) == nil })
	return p
}

// until asks again and again, as what happens in another process cannot be waited for.
func (p *process) until(what string, done func(context.Context) bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.Fail(p.t, what+": this did not happen", p.log())
		}
	}
}

// end sends a signal and returns the exit code.
func (p *process) end(s os.Signal) int {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
	return p.wait()
}

// insist sends a signal again and again until the program ends: one at once after the first
// counts as the same.
func (p *process) insist(s os.Signal) int {
	p.t.Helper()
	p.until("the program ends at once", func(context.Context) bool {
		_ = p.cmd.Process.Signal(s) // it may have ended
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	return p.wait()
}

func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.Fail(p.t, "the program did not end", p.log())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) prism(args ...string) result {
	return invoke(p.t.Context(), "", append(args, "--address", p.address)...)
}
