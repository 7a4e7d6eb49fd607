package main

// host.go: `prism serve` as a process of its own.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/marketprism/prism/adapters/client"
)

// host is one run of the program. Its methods are for one goroutine.
type host struct {
	address string
	client  *client.Client
	ended   <-chan struct{} // closed when it has ended

	cancel context.CancelFunc
	home   string
}

const (
	startsWithin = time.Minute
	endsWithin   = 20 * time.Second
)

// serve runs a host on a Consul until close, in an empty home of its own, and returns when it says
// where it serves. What it warns of goes to standard error.
func serve(ctx context.Context, bin, consul string) (*host, error) {
	home, err := os.MkdirTemp("", "prism-endure-")
	if err != nil {
		return nil, err
	}
	program, err := filepath.Abs(filepath.Join(bin, "prism"))
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	h := &host{ended: ended, cancel: cancel, home: home}
	cmd := exec.CommandContext(running, program, "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--backend", "consul",
		"--set", "backend_config.url="+consul, "--set", "server.data_dir="+home, "--set", "logging.level=WARNING")
	cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home)
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, endsWithin
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		close(ended)
		return nil, errors.Join(fmt.Errorf("%w: make build writes it", err), h.close())
	}
	at := make(chan string, 1)
	go func() {
		defer close(ended)
		place(out, at)
		_ = cmd.Wait() // ended is all that anybody asks for
	}()
	select {
	case h.address = <-at:
		h.client, err = client.New(client.Config{Addresses: []string{h.address}})
	case <-ended:
		err = errors.New("the host ended before it served")
	case <-time.After(startsWithin):
		err = fmt.Errorf("the host did not serve within %v", startsWithin)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// place reads all that a host writes, and reports where it serves, once.
func place(out io.Reader, at chan<- string) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "HTTP" && at != nil {
			at <- words[1]
			at = nil
		}
	}
}

// close asks the host to end and waits until it has.
func (h *host) close() error {
	if h.client != nil {
		h.client.Close()
	}
	h.cancel()
	<-h.ended
	return os.RemoveAll(h.home)
}
