package redis

// tail.go: one reader of the log for all watches of the process. It keeps the latest changes, in
// which each watch has a place; a watch that falls behind reads the log for itself. Beside it
// one goroutine asks now and then how far the store is: that proves that the reader has missed
// nothing, ends sessions that are due, and tells when the next one will be.

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	// proveEvery is below the shortest TTL, so that each deadline is known before it comes, and
	// leaves room within ports.MaxBookmarkGap.
	proveEvery = 700 * time.Millisecond
	// proofTimeout bounds one proof, so that a server that hangs is asked again.
	proofTimeout = 1500 * time.Millisecond
	// expiryJitter parts the processes that wait for one deadline.
	expiryJitter = 100 * time.Millisecond
	// readBlock is how long one read waits for a change.
	readBlock = time.Second
	// readAtOnce is how many changes one read takes.
	readAtOnce = 128
	// reconnectPause is before a read that failed is made anew.
	reconnectPause = 100 * time.Millisecond
	// What the tail keeps: whichever bound is met first.
	tailLength = 4096
	tailBytes  = 16 << 20
)

// change is one entry of the log. Whoever hands it out decodes it: most processes have one watch.
type change struct {
	revision uint64
	key      core.Key
	text     string          // of the document; "" for what is lost
	lost     bool            // what stood there could not be read, and went with its session
	session  ports.SessionID // of what is lost
	removed  bool            // it is a tombstone, or lost
	err      error           // why its key cannot be read
	server   string          // the beginning of the replication id of the server that wrote it
}

// tail is safe for concurrent use.
type tail struct {
	backend *Backend

	mu      sync.Mutex // guards the rest
	life    *life
	changes []change // consecutive, the last one of revision last
	bytes   int
	last    uint64
	proof   proof
	err     error         // why nothing will come, such as a permission that is lacking; nil again when it does
	moved   chan struct{} // closed, and made anew, when something above has changed
	left    context.CancelFunc
}

// proof is what the store said last: that it was at a revision.
type proof struct {
	number   int // of the proof; 0 for none
	revision uint64
}

func newTail(b *Backend) *tail { return &tail{backend: b, moved: make(chan struct{})} }

func (t *tail) moveLocked() {
	close(t.moved)
	t.moved = make(chan struct{})
}

// enter is called when the store began another life. Within an epoch the log goes on.
func (t *tail) enter(now *life, at uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.life == nil || t.life.epoch != now.epoch {
		t.restartLocked(at)
	}
	t.life = now
	t.moveLocked()
}

// restartLocked forgets what was read, and reads on after a revision. Watches that are not there yet
// find out by themselves whether the log still leads there.
func (t *tail) restartLocked(at uint64) {
	t.changes, t.bytes, t.last, t.proof = nil, 0, at, proof{number: t.proof.number}
	if t.left != nil {
		t.left()
	}
}

// read appends what comes, until the context ends.
func (t *tail) read(ctx context.Context) {
	for ctx.Err() == nil {
		t.mu.Lock()
		l, after := t.life, t.last
		var reading context.Context
		reading, t.left = context.WithTimeout(ctx, readBlock+answerTimeout)
		left := t.left
		t.mu.Unlock()
		changes, err := t.backend.readLog(reading, l, after, readBlock)
		elsewhere := reading.Err() != nil
		left()
		if err == nil {
			t.append(l, changes)
		} else if !elsewhere {
			pause(ctx, reconnectPause)
		}
	}
}

// append takes what was read, unless the store is in another epoch by now. After a gap it keeps
// only what came after.
func (t *tail) append(l *life, changes []change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(changes) == 0 || t.life.epoch != l.epoch {
		return
	}
	for _, c := range changes {
		if c.revision <= t.last {
			continue
		}
		if c.revision != t.last+1 {
			t.changes, t.bytes = nil, 0
		}
		t.changes, t.bytes, t.last = append(t.changes, c), t.bytes+len(c.text), c.revision
		if strings.HasPrefix(t.life.server, c.server) {
			t.life.note(c.revision)
		}
	}
	drop := 0
	for len(t.changes)-drop > tailLength || t.bytes > tailBytes {
		t.bytes -= len(t.changes[drop].text)
		t.changes[drop] = change{}
		drop++
	}
	t.changes = t.changes[drop:]
	t.moveLocked()
}

// prove asks how far the store is, until the context ends.
func (t *tail) prove(ctx context.Context) {
	stuck := uint64(0) // where the reader was at the last proof that it had not come to
	for ctx.Err() == nil {
		wait := proveEvery
		asking, cancel := context.WithTimeout(ctx, proofTimeout)
		r, err := t.backend.run(asking, positionScript)
		cancel()
		if err == nil && len(r.items) == 1 {
			if due := asInt(r.items[0]); due >= 0 && time.Duration(due)*time.Millisecond < proveEvery {
				wait = time.Duration(due)*time.Millisecond + rand.N(expiryJitter) //nolint:gosec // Jitter, not a secret.
			}
		}
		stuck = t.proved(r, err, stuck)
		if wait = max(wait, time.Millisecond); !sleep(ctx, wait) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// proved notes a proof. A reader that two proofs in a row find at the same place behind them has
// a log without what it waits for: it goes on from the proof.
func (t *tail) proved(r reply, err error, stuck uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if errors.Is(err, ports.ErrUnavailable) {
			return 0
		}
		t.err = err
		t.moveLocked()
		return 0
	}
	t.err = nil
	if r.life.epoch != t.life.epoch {
		return 0
	}
	t.proof = proof{number: t.proof.number + 1, revision: r.revision}
	defer t.moveLocked()
	switch {
	case t.last >= r.revision:
		return 0
	case stuck != t.last+1:
		return t.last + 1
	}
	t.restartLocked(r.revision)
	return 0
}

// view is what a watch sees of the tail from its place.
type view struct {
	life    *life
	changes []change // the next ones
	behind  bool     // the next one is not kept here any more, or never was
	proof   proof
	err     error
	moved   <-chan struct{} // closed when there is more to see
}

// see looks for what comes after a revision, at most so many changes.
func (t *tail) see(after uint64, atMost int) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{life: t.life, proof: t.proof, err: t.err, moved: t.moved}
	first := t.last + 1 - uint64(len(t.changes))
	switch {
	case after >= t.last:
	case after+1 < first:
		v.behind = true
	default:
		next := t.changes[after+1-first:]
		v.changes = slices.Clone(next[:min(len(next), atMost)]) // append drops them here while a watch sends them
	}
	return v
}

// readLog waits for what comes after a revision, not at all where block is negative.
func (b *Backend) readLog(ctx context.Context, l *life, after uint64, block time.Duration) ([]change, error) {
	log := b.keys.log(l.epoch)
	var streams []goredis.XStream
	err := b.await(ctx, func(ctx context.Context) error {
		client, err := b.store.primary(ctx)
		if err != nil {
			return err
		}
		streams, err = client.XRead(ctx, &goredis.XReadArgs{Streams: []string{log, entryID(after)}, Count: readAtOnce, Block: block}).Result()
		return err
	})
	if errors.Is(err, goredis.Nil) {
		return nil, nil
	}
	if err != nil {
		b.store.worthRepeating(ctx, err) // it looks for the primary where that has moved
		return nil, fail(err)
	}
	if len(streams) != 1 {
		return nil, strange(streams)
	}
	return parseLog(streams[0].Messages)
}

// rangeLog reads what comes after a revision and is there already.
func (b *Backend) rangeLog(ctx context.Context, l *life, after uint64) ([]change, error) {
	var entries []goredis.XMessage
	err := b.await(ctx, func(ctx context.Context) error {
		client, err := b.store.primary(ctx)
		if err != nil {
			return err
		}
		entries, err = client.XRangeN(ctx, b.keys.log(l.epoch), entryID(after+1), "+", readAtOnce).Result()
		return err
	})
	if err != nil {
		b.store.worthRepeating(ctx, err) // it looks for the primary where that has moved
		return nil, fail(err)
	}
	return parseLog(entries)
}

// entryID is the id of the log's entry for a revision.
func entryID(revision uint64) string { return strconv.FormatUint(revision, 10) + "-0" }

func parseLog(entries []goredis.XMessage) ([]change, error) {
	changes := make([]change, 0, len(entries))
	for _, e := range entries {
		number, _, _ := strings.Cut(e.ID, "-")
		revision, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, strange(e.ID)
		}
		changes = append(changes, parseChange(revision, e.Values))
	}
	return changes, nil
}

func parseChange(revision uint64, values map[string]any) change {
	c := change{revision: revision, server: asText(values["server"])}
	name := asText(values["key"])
	var ok bool
	if c.key, ok = parseField(name); !ok {
		c.err = core.Invalid("key", name, "it is none of a record")
		return c
	}
	session, lost := values["lost"]
	tombstone, removed := values["tombstone"]
	c.lost, c.session, c.removed = lost, ports.SessionID(asText(session)), removed || lost
	c.text = asText(values["record"]) + asText(tombstone)
	return c
}
