package main

// process.go: starting programs, reading where they serve, ending them.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, after done
}

// launch starts a program and returns when it has said where it serves.
func (d *demo) launch(name, where, program string, args ...string) (*process, string, error) {
	path := filepath.Join(d.bin, filepath.FromSlash(program))
	cmd := exec.Command(path, args...) //nolint:noctx // it outlives any one call; kill ends it
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.Env = append(os.Environ(), "PRISM_LOGGING__LEVEL=WARNING")
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("%w; make build writes it", err)
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	d.procs = append(d.procs, p)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
		w.CloseWithError(io.EOF)
	}()
	said := make(chan string, 1)
	go read(out, regexp.MustCompile(where), said)
	select {
	case at, ok := <-said:
		if !ok {
			return nil, "", fmt.Errorf("%s ended before it served", name)
		}
		return p, at, nil
	case <-d.ctx.Done():
		return nil, "", fmt.Errorf("%s did not say where it serves", name)
	}
}

// read drains a program's output and reports the first place that it names. What it says
// before, and warnings, are shown when PRISM_DEMO_VERBOSE is set.
func read(out io.Reader, where *regexp.Regexp, said chan<- string) {
	defer close(said)
	found := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		if os.Getenv("PRISM_DEMO_VERBOSE") != "" {
			fmt.Println("   |", line)
		}
		if at := where.FindString(line); at != "" && !found && strings.Contains(line, "serv") {
			found = true
			said <- at
		}
	}
}

func (d *demo) process(name string) *process {
	for _, p := range d.procs {
		if p.name == name && !p.gone() {
			return p
		}
	}
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	if p == nil || p.gone() {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		fmt.Fprintln(os.Stderr, "demo: kill:", err)
	}
	<-p.done
}

// terminate asks the process to leave and waits for it.
func (p *process) terminate(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
