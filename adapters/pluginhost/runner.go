package pluginhost

// runner.go: one plugin process, as go-plugin's runner.Runner. It stands between go-plugin
// and the process for what go-plugin does not handle: the standard input that ties the
// process to its host, noise before the handshake, logs that go-plugin would parse (and
// panic on), descendants that hold pipes open, and a kill that takes the whole group.

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	gorunner "github.com/hashicorp/go-plugin/runner"
)

// drainGrace is how long the pipes of a dead process are read, as descendants that left its
// group may hold them open for ever.
const drainGrace = 500 * time.Millisecond

// process runs one plugin binary, once.
type process struct {
	cmd *exec.Cmd
	log *processLog

	greeting greeting
	// life ends with the process; drained is closed when its pipes have been read too.
	life    context.Context
	end     context.CancelFunc
	drained chan struct{}
	exit    error // why it ended; set before life ends

	mu    sync.Mutex
	group group
	over  bool // it has ended, or must not start
	shot  bool // kill ended it
}

var _ gorunner.Runner = (*process)(nil)

// newProcess prepares a process.
func newProcess(path string, env []string, sink *logSink) *process {
	cmd := exec.Command(path) //nolint:noctx // Its life is the supervisor's, which kills the whole group.
	cmd.Env = slices.Clone(env)
	cmd.SysProcAttr = groupAttributes()
	life, end := context.WithCancel(context.Background())
	return &process{
		cmd: cmd, log: &processLog{sink: sink, life: life}, life: life, end: end,
		greeting: greeting{found: make(chan struct{})},
		drained:  make(chan struct{}),
	}
}

// handshake adds what go-plugin wants in the environment, with sockets in dir.
func (p *process) handshake(env []string, dir string) {
	p.cmd.Env = append(append(p.cmd.Env, env...), plugin.EnvUnixSocketDir+"="+dir)
}

// Start launches the process in a group of its own, so that neither Ctrl-C at the host's
// terminal nor anything else meant for the host alone reaches it.
func (p *process) Start(context.Context) error {
	stdin, lifeline, err := os.Pipe()
	if err != nil {
		return err
	}
	stdout, stdoutChild, err := os.Pipe()
	if err != nil {
		return errors.Join(err, closeAll(stdin, lifeline))
	}
	stderr, stderrChild, err := os.Pipe()
	if err != nil {
		return errors.Join(err, closeAll(stdin, lifeline, stdout, stdoutChild))
	}
	// Files, not writers: exec's Wait then waits for the process and not for its pipes.
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdoutChild, stderrChild
	err = p.launch()
	_ = closeAll(stdin, stdoutChild, stderrChild)
	if err != nil {
		_ = closeAll(lifeline, stdout, stderr)
		p.end()
		close(p.drained)
		return err
	}
	go p.reap(lifeline, stdout, stderr)
	return nil
}

func (p *process) launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return context.Canceled
	}
	if err := p.cmd.Start(); err != nil {
		p.exit = err
		return err
	}
	p.group = joinGroup(p.cmd.Process)
	return nil
}

// reap reads the pipes, waits for the end of the process and takes its group with it.
func (p *process) reap(lifeline, stdout, stderr *os.File) {
	var readers sync.WaitGroup
	readers.Go(func() {
		p.log.read("stdout", stdout, p.greeting.offer)
		p.greeting.end()
	})
	readers.Go(func() { p.log.read("stderr", stderr, nil) })

	p.exit = p.cmd.Wait()
	p.mu.Lock()
	p.over = true
	p.group.kill() // Descendants; the group outlives its leader as long as it has members.
	p.group.close()
	p.mu.Unlock()
	p.end()

	cut := time.AfterFunc(drainGrace, func() { _ = closeAll(stdout, stderr) })
	readers.Wait()
	cut.Stop()
	_ = closeAll(lifeline, stdout, stderr)
	p.log.sink.report()
	close(p.drained)
}

// kill ends the process and all of its group. It does not wait and may be called at any
// time, also before Start, which then fails.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	if p.cmd.Process == nil {
		p.over = true
		return
	}
	p.shot = true
	p.group.kill()
}

// Kill implements runner.Runner.
func (p *process) Kill(context.Context) error {
	p.kill()
	return nil
}

// Wait implements runner.Runner. It ends soon after the process does, whoever holds its pipes.
func (p *process) Wait(context.Context) error {
	<-p.drained
	return p.exit
}

// Stdout gives go-plugin the line of the handshake and nothing else.
func (p *process) Stdout() io.ReadCloser { return io.NopCloser(&p.greeting) }

// Stderr gives go-plugin nothing to parse.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name implements runner.Runner.
func (p *process) Name() string { return filepath.Base(p.cmd.Path) }

// ID is the process id, empty before Start.
func (p *process) ID() string {
	if pid := p.pid(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

// Diagnose leaves explanations to startError.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner: addresses are the same at both ends.
func (p *process) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

// HostToPlugin implements runner.Runner.
func (p *process) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd.Process == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// ended says in words how the process ended, with what it wrote last. It must be drained.
func (p *process) ended() string {
	how := "exit status 0"
	if p.exit != nil {
		how = p.exit.Error()
	}
	if words := p.log.lastWords(); words != "" {
		how += ", after it wrote " + words
	}
	return how
}

// crashed says whether a signal that is not ours, or a panic, ended the process. It must be
// gone.
func (p *process) crashed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.cmd.ProcessState
	return p.log.panicked() || (!p.shot && state != nil && !state.Exited())
}

// killed says whether kill ended the process.
func (p *process) killed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shot
}

func closeAll(files ...*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
