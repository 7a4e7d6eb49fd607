package nats

// sweep.go: what a session leaves behind when it ends. NATS ends sessions, no record: the processes
// with a seat see the marker, and one of them removes what was under it. Writes are conditional, so it does no
// harm when two do, or when a record was just adopted.

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// sweepTimeout bounds the work on one session.
	sweepTimeout = 10 * time.Second
	// sweepAgain is when to come back to one that could not be done.
	sweepAgain = 300 * time.Millisecond
	// sweepChunk is how many records are removed before looking what others did meanwhile.
	sweepChunk = 64
)

func (b *Backend) sweep(ctx context.Context) {
	for {
		id, due, wait := b.mirror.nextSweep()
		if !due {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-b.mirror.wake:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			timer.Stop()
			continue
		}
		call, cancel := context.WithTimeout(ctx, sweepTimeout)
		ended, err := b.sweepSession(call, id)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			b.log.Warn("what an ended session left could not be removed; it is tried again", "session", id, "error", err)
		}
		if ended || err != nil {
			b.mirror.again(id, sweepAgain)
		}
	}
}

// sweepSession removes what is under a session, if that has ended.
func (b *Backend) sweepSession(ctx context.Context, id ports.SessionID) (ended bool, err error) {
	if len(b.mirror.of(id)) == 0 {
		return true, nil // somebody was faster
	}
	if !openable(id) { // and so it never was
		return true, b.bury(ctx, b.mirror.of(id), core.CauseExpired)
	}
	_, got, err := b.read(ctx, b.names.session(id))
	if err != nil {
		return false, err
	}
	s := readSession(got[0])
	if s.open {
		return false, nil
	}
	cause := core.CauseExpired
	if s.doc.Closed {
		cause = core.CauseDeregistered
	}
	return true, b.bury(ctx, b.mirror.of(id), cause)
}

// clear removes what is under a session until the stream, as far as its leader is now, holds nothing more.
func (b *Backend) clear(ctx context.Context, now *life, id ports.SessionID, cause core.Cause) error {
	for {
		info, err := b.remote.info(ctx)
		if errors.Is(err, errStreamGone) {
			return nil // and all records
		}
		if err != nil {
			return err
		}
		switch err := b.whole(ctx, now, &reaching{seq: info.State.LastSeq}); {
		case errors.Is(err, errMovedOn):
			return nil
		case err != nil:
			return err
		}
		left := b.mirror.of(id)
		if len(left) == 0 {
			return nil
		}
		if err := b.bury(ctx, left, cause); err != nil {
			return err
		}
	}
}

// bury leaves tombstones where still the same records stand.
func (b *Backend) bury(ctx context.Context, records []*entry, cause core.Cause) error {
	for len(records) > 0 {
		n := min(len(records), sweepChunk)
		err := backendkit.Each(n, inFlight, func(i int) error {
			if e := records[i]; b.mirror.stands(e) {
				return b.buryOne(ctx, e, cause)
			}
			return nil
		})
		if err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

func (b *Backend) buryOne(ctx context.Context, e *entry, cause core.Cause) error {
	data, err := backendkit.Encode(backendkit.Document{Found: ports.Found{Tombstone: &ports.Tombstone{
		Key: e.key, Generation: e.gen, Session: e.session, Cause: cause,
	}}})
	if err != nil {
		return err
	}
	_, err = b.remote.publish(ctx, write{subject: b.names.record(e.key), data: data, ttl: tombstoneLife, expected: e.seq, id: rand.Text()})
	if errors.Is(err, backendkit.ErrStale) {
		return nil // what stands there now comes with the stream
	}
	return err
}
