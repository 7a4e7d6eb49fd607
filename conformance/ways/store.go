package ways

// store.go: a store that is the plugin's own process. Killing that is the loss of all data,
// and stopping it is a store that hangs.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/conformance"
	"github.com/marketprism/prism/ports"
)

// LaunchedStore is Launched for a backend whose store is the plugin's own process, as
// memory's is. It implements conformance.Faults by what it does to the processes: all faults
// but FaultWipe need a Unix system.
func LaunchedStore(dir, binary, name string, options Options) conformance.Harness {
	return &launchedStore{
		launched: launched{dir: filepath.Join(dir, "run"), binary: binary, name: name, options: options},
		gate:     filepath.Join(dir, "gate"), down: filepath.Join(dir, "down"),
	}
}

type launchedStore struct {
	launched

	once sync.Once
	err  error  // of preparing the gate
	gate string // the program that is launched: it waits while the store shall be down, and becomes the binary
	down string // the file that says so
}

// Open implements conformance.Harness.
func (l *launchedStore) Open(ctx context.Context, namespace string) (ports.Backend, error) {
	l.once.Do(func() {
		if l.err = os.MkdirAll(l.dir, 0o700); l.err == nil && canHalt {
			script := fmt.Sprintf("#!/bin/sh\nwhile [ -e %s ]; do sleep 0.02; done\nexec %s\n", quoted(l.down), quoted(l.binary))
			l.err = os.WriteFile(l.gate, []byte(script), 0o700) //nolint:gosec // it is a program
			l.binary = l.gate
		}
	})
	if l.err != nil {
		return nil, fmt.Errorf("prepare to launch the store: %w", l.err)
	}
	return l.launched.Open(ctx, namespace)
}

// quoted is a word of the shell.
func quoted(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }

// CanInflict implements conformance.Faults.
func (l *launchedStore) CanInflict(f conformance.Fault) bool {
	return canHalt || f == conformance.FaultWipe
}

// Inflict implements conformance.Faults. It returns when it shows: signals are on their way
// for a while. Between host and store there is nothing to cut but the process's socket, which
// a process that does not run leaves unanswered.
func (l *launchedStore) Inflict(ctx context.Context, f conformance.Fault) error {
	hosts := l.living()
	switch f {
	case conformance.FaultPause, conformance.FaultCut:
		if err := each(hosts, halt); err != nil {
			return err
		}
		return until(ctx, hosts, func(host *pluginhost.Host) bool {
			probe, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			return host.Health(probe) != nil
		})
	case conformance.FaultStop, conformance.FaultLeader:
		if err := os.WriteFile(l.down, nil, 0o600); err != nil {
			return err
		}
	case conformance.FaultWipe: // of a store that is down, too
		if err := l.rise(); err != nil {
			return err
		}
	}
	before := make(map[*pluginhost.Host]int)
	for _, host := range hosts {
		before[host] = host.Status().PID
	}
	if err := each(hosts, kill); err != nil {
		return err
	}
	return until(ctx, hosts, func(host *pluginhost.Host) bool { return host.Status().PID != before[host] })
}

// Mend implements conformance.Faults: it wakes whoever was stopped, and lets the supervisor
// replace those that were killed.
func (l *launchedStore) Mend(context.Context) error {
	if err := l.rise(); err != nil {
		return err
	}
	return each(l.living(), wake)
}

// rise lets the processes start that shall be down.
func (l *launchedStore) rise() error {
	if err := os.Remove(l.down); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// each does something to the process of each host; one that has just ended is none.
func each(hosts []*pluginhost.Host, do func(pid int) error) error {
	for _, host := range hosts {
		if pid := host.Status().PID; pid != 0 {
			if err := do(pid); err != nil {
				return err
			}
		}
	}
	return nil
}

// until returns when something is so at every host.
func until(ctx context.Context, hosts []*pluginhost.Host, so func(host *pluginhost.Host) bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, host := range hosts {
		for !so(host) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
