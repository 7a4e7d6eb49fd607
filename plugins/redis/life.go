package redis

// life.go: which life of the store an answer belongs to, and every call of a script. An epoch is
// a UUID in the namespace; with it stands the replication id of the server, which changes when
// the server is restarted and when a replica takes over. Each script compares both, so nothing
// is read or written before somebody has judged what the change means (lua/join.lua).

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// life is an epoch on one server, as this process knows it.
type life struct {
	epoch  string
	server string        // the replication id
	seen   atomic.Uint64 // the highest revision that this process saw in it
}

func (l *life) revision(n uint64) core.Revision { return core.Revision{Epoch: l.epoch, N: n} }

// note keeps the highest revision.
func (l *life) note(n uint64) {
	for {
		seen := l.seen.Load()
		if n <= seen || l.seen.CompareAndSwap(seen, n) {
			return
		}
	}
}

const (
	// maxRepeats is how often a script is sent again to which no answer came, or which the server
	// could not take just now.
	maxRepeats  = 3
	repeatPause = 20 * time.Millisecond // and up to twice that, doubled each time
	// maxLives is how often one call follows the store into another life.
	maxLives = 8
)

// errOtherLife says that the store is in another life than the caller knows. Nothing was done by the
// script that says so, see reply.unknown.
var errOtherLife = errors.New("the store began another life")

// run calls a script in whichever life the store is.
func (b *Backend) run(ctx context.Context, s *goredis.Script, args ...any) (reply, error) {
	for range maxLives {
		l := b.life.Load()
		r, err := b.call(ctx, l, s, args...)
		if !errors.Is(err, errOtherLife) {
			return r, err
		}
		if err := b.join(ctx, l); err != nil {
			return reply{}, err
		}
	}
	return reply{}, fmt.Errorf("redis: the epoch of the namespace changes all the time; look whether several primaries are behind %s: %w", backendkit.OptionField("url"), ports.ErrUnavailable)
}

// call calls a script in one life; errOtherLife, and what was answered, when the store is in another.
func (b *Backend) call(ctx context.Context, l *life, s *goredis.Script, args ...any) (reply, error) {
	seen := l.seen.Load()
	r, err := b.send(ctx, s, l.epoch, append([]any{l.epoch, l.server, b.logLength}, args...))
	switch {
	case err != nil:
		return reply{}, err
	case r.status == "life", r.status == "ok" && r.revision < seen: // without INFO, that is all that shows
		return r, errOtherLife
	case r.status != "ok":
		return reply{}, strange(r.status)
	}
	l.note(r.revision)
	r.life = l
	return r, nil
}

// send sends a script until it is carried out. What may have been carried out without an answer
// is sent again: scripts are such that this does no harm, and the reply says so.
func (b *Backend) send(ctx context.Context, s *goredis.Script, epoch string, args []any) (reply, error) {
	repeated := false
	for failures := 0; ; {
		r, err := b.sendOnce(ctx, s, epoch, args)
		switch {
		case err == nil && r.status == "again":
			if err := ctx.Err(); err != nil {
				return reply{}, fail(err)
			}
			continue
		case err == nil && r.status != "replica":
			r.repeated = repeated
			return r, nil
		case err == nil:
			err = b.store.replica()
		}
		failures++
		again, unknown := b.store.worthRepeating(ctx, err)
		if !again || failures > maxRepeats || !pause(ctx, repeatPause<<failures) {
			return reply{}, fail(err)
		}
		repeated = repeated || unknown
	}
}

func (b *Backend) sendOnce(ctx context.Context, s *goredis.Script, epoch string, args []any) (reply, error) {
	var r reply
	err := b.await(ctx, func(ctx context.Context) error {
		client, err := b.store.primary(ctx)
		if err != nil {
			return err
		}
		answer, err := s.Run(ctx, client, b.keys.keys(epoch), args...).Result()
		if err != nil {
			return err
		}
		r, err = parseReply(answer)
		return err
	})
	if err != nil {
		return reply{}, err // r may still be written
	}
	return r, nil
}

// pause waits up to twice as long; false when the context ended.
func pause(ctx context.Context, least time.Duration) bool {
	timer := time.NewTimer(least/2 + mathrand.N(least)) //nolint:gosec // Jitter, not a secret.
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// join finds out in which life the store is; was is the one that it is not in any more, an empty
// one before the first.
func (b *Backend) join(ctx context.Context, was *life) error {
	select {
	case b.joining <- struct{}{}:
		defer func() { <-b.joining }()
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	if b.life.Load() != was {
		return nil // others were faster
	}
	r, err := b.send(ctx, joinScript, was.epoch, []any{was.epoch, was.server, b.logLength, strconv.FormatUint(was.seen.Load(), 10), newEpoch()})
	if err != nil {
		return err
	}
	switch {
	case r.status == "foreign" && len(r.items) == 1:
		return fmt.Errorf("redis: the namespace holds keys that are not Prism's: %w", core.Invalid(
			backendkit.OptionField(ports.OptionNamespace), asText(r.items[0]), "choose a namespace that nothing else uses, or remove that key"))
	case r.status == "format" && len(r.items) == 1:
		return fmt.Errorf("redis: the namespace has the format %q, this version knows 1; use a newer version of Prism, or another %s: %w",
			asText(r.items[0]), backendkit.OptionField(ports.OptionNamespace), ports.ErrUnsupported)
	case r.status != "ok" || len(r.items) != 3:
		return strange(r.status)
	}
	now := &life{epoch: asText(r.items[0]), server: asText(r.items[1])}
	now.note(r.revision)
	if was.epoch != "" && was.epoch != now.epoch {
		why := asText(r.items[2])
		if why == "" {
			why = "another process found that it lost data"
		}
		b.log.Warn("the store began a new epoch", "reason", why)
	}
	b.life.Store(now)
	b.tail.enter(now, r.revision)
	return nil
}

// newEpoch is a random UUID.
func newEpoch() string {
	var u [16]byte
	rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
