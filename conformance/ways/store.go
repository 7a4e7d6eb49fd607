package ways

// store.go: a store that is the plugin's own process. Killing that is the loss of all data,
// and stopping it is a store that hangs.

import (
	"context"
	"time"

	"github.com/marketprism/prism/adapters/pluginhost"
	"github.com/marketprism/prism/conformance"
)

// LaunchedStore is Launched for a backend whose store is the plugin's own process, as
// memory's is. It implements conformance.Faults by signals to the processes: all faults but
// FaultWipe need a Unix system.
func LaunchedStore(dir, binary, name string, options Options) conformance.Harness {
	return &launchedStore{launched{dir: dir, binary: binary, name: name, options: options}}
}

type launchedStore struct{ launched }

// CanInflict implements conformance.Faults.
func (l *launchedStore) CanInflict(f conformance.Fault) bool {
	switch f {
	case conformance.FaultWipe:
		return true
	case conformance.FaultPause, conformance.FaultCut:
		return canHalt
	case conformance.FaultStop, conformance.FaultLeader:
	}
	return false
}

// Inflict implements conformance.Faults. It returns when it shows: signals are on their way
// for a while. Between host and store there is nothing to cut but the process's socket, which
// a process that does not run leaves unanswered.
func (l *launchedStore) Inflict(ctx context.Context, f conformance.Fault) error {
	hosts := l.living()
	if f == conformance.FaultPause || f == conformance.FaultCut {
		if err := each(hosts, halt); err != nil {
			return err
		}
		return until(ctx, hosts, func(host *pluginhost.Host) bool {
			probe, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			return host.Health(probe) != nil
		})
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

// Mend implements conformance.Faults: it wakes whoever was stopped; killed ones are replaced
// by the supervisor.
func (l *launchedStore) Mend(context.Context) error { return each(l.living(), wake) }

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
