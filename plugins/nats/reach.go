package nats

// reach.go: how far the stream is, and how far the mirror. What the mirror does not follow leaves
// gaps in its sequences, of which nothing tells it but the leader.

import (
	"context"
	"errors"
	"fmt"

	"github.com/marketprism/prism/ports"
)

// errMovedOn says that the store started anew while a position was waited for.
var errMovedOn = fmt.Errorf("nats: the store started anew: %w", ports.ErrUnavailable)

// reached is the stream's last sequence, and the life that it is of.
func (b *Backend) reached(ctx context.Context) (*life, uint64, error) {
	for {
		now, err := b.current(ctx)
		if err != nil {
			return nil, 0, err
		}
		info, err := b.remote.info(ctx)
		if errors.Is(err, errStreamGone) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		return now, info.State.LastSeq, nil
	}
}

// maxRewrites is how often whole asks again. What it misses then was written again so often, each time before
// it came to the mirror, which takes about as long as a question.
const maxRewrites = 4

// reaching is how far whole has come. Who tries again after it failed, or was cut short, goes on from there.
type reaching struct {
	seq   uint64 // of the stream, which the mirror is to reach
	again int    // how often it was asked again
}

// whole returns when the mirror has all that stands at one moment after the stream was at a sequence of a life. To have
// taken what was taken up to there is not enough: what was written again while it was on its way has left its place, and is
// further on.
func (b *Backend) whole(ctx context.Context, now *life, to *reaching) error {
	for ; ; to.again++ {
		all, err := b.catchUp(ctx, now, to.seq)
		if err != nil || all || to.again >= maxRewrites {
			return err
		}
		info, err := b.remote.info(ctx)
		switch {
		case errors.Is(err, errStreamGone):
			return errMovedOn
		case err != nil:
			return err
		case info.State.LastSeq <= to.seq:
			return nil // nothing was written meanwhile
		}
		to.seq = info.State.LastSeq
	}
}

// catchUp returns when everything up to a sequence of a life was taken, but for what was written again before it came. All
// says that even that was: the leader has nothing to take beyond the mirror's position. Then the mirror is there, whatever
// else has sequences of that gap.
func (b *Backend) catchUp(ctx context.Context, now *life, seq uint64) (all bool, err error) {
	for next := uint64(0); ; {
		var position uint64
		var followed string
		err := b.mirror.await(ctx, now, func() bool {
			position, followed = b.mirror.position, b.mirror.followed
			return position >= seq || b.mirror.caughtUp && position >= next
		})
		if err != nil || position >= seq {
			return false, err
		}
		next, err = b.remote.next(ctx, followed, position+1)
		switch {
		case errors.Is(err, errStreamGone):
			return false, errMovedOn
		case err != nil:
			return false, err
		case next == 0 || next > seq:
			b.mirror.moveTo(now, seq)
			return next == 0, nil
		}
	}
}

// await returns when something is so in a life. It is asked with the mirror's lock held.
func (m *mirror) await(ctx context.Context, now *life, so func() bool) error {
	for seen := false; ; {
		m.mu.Lock()
		here, changed := m.life == now, m.changed
		done := here && so()
		m.mu.Unlock()
		switch {
		case done:
			return nil
		case seen && !here:
			return errMovedOn
		}
		seen = here
		select {
		case <-changed:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
}
