package nats

// export_test.go: what the tests from outside need of the inside.

import (
	"context"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// CommitAfter carries out a Put that creates, with something happening between its two steps.
func (b *Backend) CommitAfter(ctx context.Context, rec ports.Record, between func()) error {
	t := &table{Backend: b}
	loaded, err := t.Load(ctx, []backendkit.Wanted{{Key: rec.Key, Session: rec.Session}})
	if err != nil {
		return err
	}
	d := backendkit.Decide(ports.Mutation{Put: &ports.Put{Record: rec}}, loaded[0].Found, loaded[0].SessionOpen)
	if d.Answer != nil {
		return d.Answer.Err
	}
	between()
	change := backendkit.Change{Key: rec.Key, Was: loaded[0], Session: rec.Session, ID: "once"}
	change.Record = d.Put
	return t.Commit(ctx, []backendkit.Change{change})[0].Err
}

// PublishAgain writes a key twice as a client does whose first answer was lost, and returns both sequences.
func (b *Backend) PublishAgain(ctx context.Context, key core.Key, data []byte) (first, second uint64, err error) {
	w := write{subject: b.names.record(key), data: data, id: "the same"}
	if first, err = b.remote.publish(ctx, w); err != nil {
		return 0, 0, err
	}
	w.repeated = true
	second, err = b.remote.publish(ctx, w)
	return first, second, err
}

// Seat is the one that the process holds, or -1.
func (b *Backend) Seat() int { return int(b.seats.held.Load()) }

// Vanish ends the connection as the death of the process does: without a word.
func (b *Backend) Vanish() { b.remote.conn.close() }

// Requests is how many messages the process has sent.
func (b *Backend) Requests() uint64 { return b.remote.conn.Stats().OutMsgs }

// Following tells one attempt of the pump to follow the stream from another.
func (b *Backend) Following() any { return b.interrupt.Load() }

// FollowAnew ends the attempt that is under way, as a seat does that is taken or lost.
func (b *Backend) FollowAnew() { (*b.interrupt.Load())() }

// Reconnects is how often the process was connected again.
func (b *Backend) Reconnects() uint64 { return b.remote.conn.Stats().Reconnects }

// Epoch is the one that the process knows of.
func (b *Backend) Epoch() string { return b.life.Load().epoch }

// Reach has the process know a sequence of the stream that this has not reached, as one does that lost writes.
func (b *Backend) Reach(seq uint64) { b.life.Load().note(seq) }
