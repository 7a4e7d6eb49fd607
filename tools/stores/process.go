package stores

// process.go: one server process and its owner, a goroutine that waits for it to end.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// errPortTaken says that a server ended because another has its port.
var errPortTaken = errors.New("the port is taken")

// stopLimit is how long a server may take to end when asked to; then it is killed.
const stopLimit = 15 * time.Second

type process struct {
	cmd  *exec.Cmd
	log  string
	from int64         // Where in the log this process begins.
	done chan struct{} // Closed when it has ended and was waited for.
}

// run starts a server whose output is appended to the log.
func run(binary string, args []string, dir, log string) (*process, error) {
	out, err := os.OpenFile(filepath.Clean(log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	stat, err := out.Stat()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	p := &process{log: log, from: stat.Size(), done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), binary, args...) // Ended by stop and kill alone.
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = attributes()
	started := make(chan error)
	go func() {
		defer close(p.done)
		defer func() { _ = out.Close() }() // The server writes to a descriptor of its own.
		// The kernel ends the server with the thread that started it, so that thread has to last.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // Consul ends with status 1 when asked to; ended says what is wrong.
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	return p, nil
}

// ended returns why the process is not to be waited for, or nil while it runs.
func (p *process) ended() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	content, err := os.ReadFile(p.log)
	if err == nil && bytes.Contains(bytes.ToLower(content[min(p.from, int64(len(content))):]), []byte("address already in use")) {
		return errPortTaken
	}
	return fmt.Errorf("%s ended by itself: %s; its log ends:\n%s", p.cmd.Path, p.cmd.ProcessState, tail(p.log, 15))
}

// stop asks the process to end, kills it if it does not, and waits until it has. A Consul server whose
// leader went just before may take longer than anybody waits, and is away all the same.
func (p *process) stop(ctx context.Context) error {
	if err := interrupt(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(err, p.kill())
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return p.kill()
	}
}

// kill ends the process at once and waits until it has ended.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	if err == nil {
		<-p.done
	}
	return err
}

// poll is how often readiness is asked for.
const poll = 20 * time.Millisecond

// until asks again and again until the answer is good, the context has ended, or the answer is
// a final error.
func until(ctx context.Context, ask func(context.Context) error) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := ask(asking)
		cancel()
		var final finalError
		if err == nil || errors.As(err, &final) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		}
	}
}

// finalError is one that asking again does not mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }
