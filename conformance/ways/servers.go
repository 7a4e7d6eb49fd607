package ways

// servers.go: how a store is broken whose servers can be stopped, halted and parted from
// their clients one by one.

import (
	"context"
	"fmt"

	"github.com/marketprism/prism/conformance"
)

// Servers is a store of one server or several. Each method returns when what it does has been
// done: Start, Resume, Mend, Wipe and StartNode when the servers serve.
type Servers interface {
	// Stop ends all servers; Start brings them back with their data.
	Stop(ctx context.Context) error
	Start(ctx context.Context) error
	// Pause halts all servers: connections stay and nothing answers. Resume lets them go on.
	Pause() error
	Resume() error
	// Sever lets the network between clients and servers drop everything; Mend joins them.
	Sever() error
	Mend() error
	// Wipe takes all data and brings the servers back without.
	Wipe(ctx context.Context) error
	// KillNode ends one server, without a warning; StartNode brings it back with its data.
	KillNode(i int) error
	StartNode(ctx context.Context, i int) error
}

// BreakServers is the Faults of a store. Leader finds the server that leads; nil for a store that
// is not replicated, whose only server is then stopped.
func BreakServers(s Servers, leader func(ctx context.Context) (int, error)) conformance.Faults {
	return &breaker{servers: s, leader: leader}
}

// BreakOneServer is the Faults of a store that could be replicated and has one server here: no
// other could lead in its place, so it cannot inflict FaultLeader.
func BreakOneServer(s Servers) conformance.Faults { return alone{&breaker{servers: s}} }

type alone struct{ *breaker }

// CanInflict implements conformance.Faults.
func (alone) CanInflict(f conformance.Fault) bool { return f != conformance.FaultLeader }

type breaker struct {
	servers Servers
	leader  func(ctx context.Context) (int, error)
	taken   int // the node that led
	broken  conformance.Fault
}

// CanInflict implements conformance.Faults.
func (b *breaker) CanInflict(conformance.Fault) bool { return true }

// Inflict implements conformance.Faults.
func (b *breaker) Inflict(ctx context.Context, fault conformance.Fault) (err error) {
	if fault == conformance.FaultLeader && b.leader == nil {
		fault = conformance.FaultStop
	}
	b.broken = fault
	switch fault {
	case conformance.FaultStop:
		return b.servers.Stop(ctx)
	case conformance.FaultPause:
		return b.servers.Pause()
	case conformance.FaultCut:
		return b.servers.Sever()
	case conformance.FaultWipe:
		return b.servers.Wipe(ctx)
	case conformance.FaultLeader:
		if b.taken, err = b.leader(ctx); err != nil {
			return err
		}
		return b.servers.KillNode(b.taken)
	}
	return fmt.Errorf("the fault %q is not known", fault)
}

// Mend implements conformance.Faults.
func (b *breaker) Mend(ctx context.Context) error {
	fault := b.broken
	b.broken = ""
	switch fault {
	case conformance.FaultStop:
		return b.servers.Start(ctx)
	case conformance.FaultPause:
		return b.servers.Resume()
	case conformance.FaultCut:
		return b.servers.Mend()
	case conformance.FaultLeader:
		return b.servers.StartNode(ctx, b.taken)
	case conformance.FaultWipe:
	}
	return nil
}
