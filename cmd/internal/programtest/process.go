package programtest

// process.go: one run of the program.

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/prism/adapters/client"
)

const (
	// Patience bounds every wait for a process.
	Patience = 30 * time.Second
	// lastWords is how long a child that a process left behind may hold its output.
	lastWords = 2 * time.Second
)

// Process is one run of the program. Its methods are for the test's own goroutine, but for
// Stdout and Stderr.
type Process struct {
	Cmd   *exec.Cmd
	Ended <-chan struct{} // closed when it has ended

	// Address is the URL of a host, and Client asks it; of others they are empty.
	Address string
	Client  *client.Client

	tb             testing.TB
	stdout, stderr output
}

// output is what a process wrote so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Launch runs the program in an empty home of its own. It is killed at the end of the test if
// it still runs then.
func (b Binaries) Launch(tb testing.TB, args ...string) *Process {
	tb.Helper()
	ended := make(chan struct{})
	p := &Process{tb: tb, Ended: ended}
	p.Cmd = exec.CommandContext(context.Background(), b.Program, args...)
	p.Cmd.Dir = tb.TempDir()
	p.Cmd.Env = append(os.Environ(), "HOME="+p.Cmd.Dir, "XDG_CONFIG_HOME="+p.Cmd.Dir, "PRISM_PLUGIN_DIR="+b.Plugins)
	p.Cmd.Stdout, p.Cmd.Stderr, p.Cmd.WaitDelay = &p.stdout, &p.stderr, lastWords
	require.NoError(tb, p.Cmd.Start())
	go func() {
		defer close(ended)
		_ = p.Cmd.Wait() // Cmd.ProcessState says how
	}()
	tb.Cleanup(p.Kill)
	return p
}

// Serve runs a host on free ports until it is ready.
func (b Binaries) Serve(tb testing.TB, args ...string) *Process {
	tb.Helper()
	p := b.Launch(tb, append([]string{"serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"}, args...)...)
	p.Serves(strings.Fields(p.Line("HTTP"))[1])
	p.Until("the host is ready", func(ctx context.Context) bool { return p.Client.Ready(ctx) == nil })
	return p
}

// Serves makes the process the host at an address.
func (p *Process) Serves(address string) {
	p.tb.Helper()
	c, err := client.New(client.Config{Addresses: []string{address}})
	require.NoError(p.tb, err)
	p.tb.Cleanup(c.Close)
	p.Address, p.Client = address, c
}

// Stdout is what it wrote on standard output so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what it wrote on standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Line waits for a line on standard output that begins with a prefix, and returns the first.
func (p *Process) Line(prefix string) (line string) {
	p.tb.Helper()
	p.Until("a line beginning with "+prefix, func(context.Context) bool {
		for l := range strings.Lines(p.Stdout()) {
			if line = strings.TrimSpace(l); strings.HasPrefix(line, prefix) && strings.HasSuffix(l, "\n") {
				return true
			}
		}
		select {
		case <-p.Ended:
			require.Fail(p.tb, "the program ended before it wrote a line beginning with "+prefix, p.Stderr())
		default:
		}
		return false
	})
	return line
}

// Until asks again and again, as what happens in another process cannot be waited for.
func (p *Process) Until(what string, done func(context.Context) bool) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.Fail(p.tb, what+": this did not happen", p.Stderr())
		}
	}
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) {
	p.tb.Helper()
	require.NoError(p.tb, p.Cmd.Process.Signal(s))
}

// End sends a signal and returns the exit code.
func (p *Process) End(s os.Signal) int {
	p.tb.Helper()
	p.Signal(s)
	return p.Wait()
}

// Insist sends a signal again and again until the program ends: one at once after the first
// counts as the same.
func (p *Process) Insist(s os.Signal) int {
	p.tb.Helper()
	p.Until("the program ends at once", func(context.Context) bool {
		_ = p.Cmd.Process.Signal(s) // it may have ended
		select {
		case <-p.Ended:
			return true
		default:
			return false
		}
	})
	return p.Wait()
}

// Kill ends the process as a power cut would, if it runs, and waits for its end.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // it may have ended
	<-p.Ended
}

// Wait waits for the end and returns the exit code.
func (p *Process) Wait() int {
	p.tb.Helper()
	select {
	case <-p.Ended:
	case <-time.After(Patience):
		require.Fail(p.tb, "the program did not end", p.Stderr())
	}
	return p.Cmd.ProcessState.ExitCode()
}
