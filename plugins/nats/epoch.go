package nats

// epoch.go: which life of the stream a sequence belongs to. The epoch is a message of the
// stream. Where it is missing, or where sequences run backwards, the stream was wiped, purged, made anew
// or restored: a new epoch is made, once, by whoever sees it first.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// life is an epoch as this process knows it.
type life struct {
	epoch string
	seq   uint64        // of the message that says so
	seen  atomic.Uint64 // the highest sequence that was seen in it
	made  atomic.Int64  // when the stream was made, by its own account; 0: not known yet
}

func (l *life) revision(n uint64) core.Revision { return core.Revision{Epoch: l.epoch, N: n} }

// note keeps the highest sequence.
func (l *life) note(n uint64) {
	for {
		seen := l.seen.Load()
		if n <= seen || l.seen.CompareAndSwap(seen, n) {
			return
		}
	}
}

type epochJSON struct {
	V     int    `json:"v"`
	Epoch string `json:"epoch"`
}

// maxEpochRounds is how often a read is repeated because the epoch was just made anew.
const maxEpochRounds = 16

// epochPause is between them, but for the first two: several processes may be making the stream, and
// each of its servers learns of that in its own time.
const epochPause = 50 * time.Millisecond

// epochTimeout bounds the making of one.
const epochTimeout = 10 * time.Second

// current is the life of the stream now.
func (b *Backend) current(ctx context.Context) (*life, error) {
	now, _, err := b.read(ctx)
	return now, err
}

// read reads what stands at subjects from the leader, and says of which life it is. The
// requests are on their way together; one connection to one leader answers them, so only a stream that is
// replaced within that moment could mix two lives.
func (b *Backend) read(ctx context.Context, subjects ...string) (*life, []*message, error) {
	all := append([]string{b.names.epoch()}, subjects...)
	got := make([]*message, len(all))
	for round := range maxEpochRounds {
		if round > 1 && !pause(ctx, epochPause) {
			return nil, nil, ctx.Err()
		}
		since := b.life.Load()
		err := backendkit.Each(len(all), inFlight, func(i int) (err error) {
			got[i], err = b.remote.get(ctx, all[i])
			return err
		})
		if errors.Is(err, errStreamGone) {
			if err := b.remote.create(ctx); err != nil && !errors.Is(err, errStreamGone) {
				return nil, nil, err
			}
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if got[0] == nil {
			if err := b.renewEpoch(ctx, 0, "the stream holds none"); err != nil {
				return nil, nil, err
			}
			continue
		}
		now, err := b.recognize(got[0], since)
		if err != nil {
			return nil, nil, err
		}
		if now == nil { // so are the answers
			continue
		}
		for _, m := range got {
			if m != nil {
				now.note(m.seq)
			}
		}
		return now, got[1:], nil
	}
	return nil, nil, fmt.Errorf("nats: the epoch of the namespace changes all the time: %w", ports.ErrUnavailable)
}

// recognize returns the life that an epoch's message tells of, and makes it the current one. Since is the life as the message
// was asked for: nil is returned where another one is known by now, so that the answer may be of an earlier time.
func (b *Backend) recognize(m *message, since *life) (*life, error) {
	var j epochJSON
	if err := json.Unmarshal(m.data, &j); err != nil || j.V != 1 || j.Epoch == "" {
		return nil, fmt.Errorf("nats: the stream's epoch cannot be read: %w", core.Invalid(
			backendkit.OptionField(ports.OptionNamespace), b.names.epoch(), "choose a namespace that nothing else uses, or remove the stream "+b.names.stream))
	}
	for {
		before := b.life.Load()
		if before != nil && before.epoch == j.Epoch {
			return before, nil
		}
		if before != since {
			return nil, nil //nolint:nilnil // The comment says what it means.
		}
		now := &life{epoch: j.Epoch, seq: m.seq}
		if b.life.CompareAndSwap(before, now) {
			if stop := b.interrupt.Load(); stop != nil && before != nil {
				(*stop)() // the pump begins anew
			}
			return now, nil
		}
	}
}

// renewEpoch makes a new epoch where still the same one, or none, stands.
func (b *Backend) renewEpoch(ctx context.Context, stands uint64, why string) error {
	// Whoever asks a leader that is cut off gives up, rather than have another carry it out when what was seen is long over.
	ctx, cancel := context.WithTimeout(ctx, epochTimeout)
	defer cancel()
	data, err := json.Marshal(epochJSON{V: 1, Epoch: newEpoch()})
	if err != nil {
		return fmt.Errorf("the epoch: %w", err)
	}
	_, err = b.remote.publish(ctx, write{subject: b.names.epoch(), data: data, expected: stands, id: rand.Text()})
	if errors.Is(err, backendkit.ErrStale) {
		return nil // somebody else was faster
	}
	if err == nil && b.life.Load() != nil {
		b.log.Warn("the store began a new epoch", "reason", why)
	}
	return err
}

// replaceEpoch makes a new epoch in the place of a life's, unless another one stands by now.
func (b *Backend) replaceEpoch(ctx context.Context, now *life, why string) error {
	stands, err := b.remote.get(ctx, b.names.epoch())
	if errors.Is(err, errStreamGone) || err == nil && stands == nil {
		_, err = b.current(ctx) // makes one
		return err
	}
	if err != nil {
		return err
	}
	if later, err := b.recognize(stands, now); err != nil || later != now {
		return err
	}
	if err := b.renewEpoch(ctx, stands.seq, why); err != nil {
		return err
	}
	_, err = b.current(ctx)
	return err
}

// runsBackwards begins a new epoch where a sequence that the life had reached before was given again: the stream
// lost writes. It returns errMovedOn, or why there is none yet.
func (b *Backend) runsBackwards(ctx context.Context, now *life) error {
	err := b.replaceEpoch(ctx, now, "the server lost writes and gives their sequences again")
	if err != nil {
		return fmt.Errorf("nats: the server lost writes, and no new epoch could be made yet (%s): %w", err.Error(), ports.ErrUnavailable)
	}
	return errMovedOn
}

// newEpoch is a random UUID.
func newEpoch() string {
	var u [16]byte
	rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
