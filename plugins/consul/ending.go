package consul

// ending.go: the end of a session, whoever brings it about. First its key goes, in one
// transaction with a note of why, so that no Put can come under it any more; then its
// records; then the note becomes a mark that the id has been used. Every step can be done
// twice, and by somebody else.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// closingJSON is the note of a session whose records are going.
type closingJSON struct {
	V       int             `json:"v"`
	Session ports.SessionID `json:"session"`
	Cause   core.Cause      `json:"cause"`
	Removed int             `json:"removed,omitempty"` // how many are gone; it moves the note while somebody is at it
}

const (
	// removedAtOnce is how many records are looked at and removed in one go.
	removedAtOnce = 32
	// shownEvery is how often who removes many records moves their notes, well before others help.
	shownEvery = time.Second
)

// CloseSession implements ports.Sessions.
func (b *Backend) CloseSession(ctx context.Context, id ports.SessionID) error {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return fmt.Errorf("close session %s: %w", id, err)
	}
	defer leave()
	if core.ValidateName("session", string(id)) != nil {
		return nil // It never was open.
	}
	for {
		pairs, err := b.read(ctx, b.keys.open(id), b.keys.closing(id))
		if err != nil {
			return fmt.Errorf("close session %s: %w", id, err)
		}
		cause := core.CauseDeregistered
		switch open, closing := pairs[0].ModifyIndex, pairs[1]; {
		case closing.ModifyIndex != 0:
			cause = readClosing(closing.Value).Cause // Somebody else is at it; what matters is that they go.
		case open == 0:
			return nil
		default:
			switch ended, err := b.beginEnd(ctx, id, open, cause); {
			case err != nil:
				return fmt.Errorf("close session %s: %w", id, err)
			case !ended:
				continue // It was renewed.
			}
		}
		if err := b.finishEnds(ctx, []ending{{id, cause}}); err != nil {
			return fmt.Errorf("close session %s: %w", id, err)
		}
		return nil
	}
}

func encodeClosing(e ending, removed int) ([]byte, error) {
	note, err := json.Marshal(closingJSON{V: 1, Session: e.id, Cause: e.cause, Removed: removed})
	if err != nil {
		return nil, fmt.Errorf("encode a note: %w", err)
	}
	return note, nil
}

// readClosing reads a note. One that somebody damaged does not say why.
func readClosing(value []byte) closingJSON {
	var j closingJSON
	if json.Unmarshal(value, &j) != nil || j.Cause == "" {
		j.Cause = core.CauseExpired
	}
	return j
}

// beginEnd ends a session whose key still has an index. False: it has moved, or is gone.
func (b *Backend) beginEnd(ctx context.Context, id ports.SessionID, index uint64, cause core.Cause) (ended bool, err error) {
	begun, err := b.beginEnds(ctx, []observed{{id: id, index: index}}, cause)
	return len(begun) == 1, err
}

func (b *Backend) endOps(id ports.SessionID, index uint64, cause core.Cause) (api.TxnOps, error) {
	note, err := encodeClosing(ending{id, cause}, 0)
	if err != nil {
		return nil, err
	}
	return api.TxnOps{
		b.op(api.KVCheckIndex, b.keys.open(id), nil, index), // A delete-cas of what is gone would succeed.
		b.op(api.KVDelete, b.keys.open(id), nil, 0),
		b.op(api.KVSet, b.keys.closing(id), note, 0),
	}, nil
}

// beginEnds is beginEnd for many sessions, as many in one transaction as there is room for. It returns
// those that have ended; the others have moved.
func (b *Backend) beginEnds(ctx context.Context, due []observed, cause core.Cause) (begun []ending, err error) {
	const each = 3 // operations
	for len(due) > 0 {
		part := due[:min(len(due), maxOps/each)]
		rest := due[len(part):]
		var ops api.TxnOps
		for _, o := range part {
			end, err := b.endOps(o.id, o.index, cause)
			if err != nil {
				return begun, err
			}
			ops = append(ops, end...)
		}
		errs, err := b.writeAll(ctx, ops)
		if err != nil {
			return begun, err
		}
		moved := make(map[int]bool, len(errs))
		for _, e := range errs {
			moved[e.OpIndex/each] = true
		}
		var again []observed // without those that have moved
		for i, o := range part {
			switch {
			case moved[i]:
			case len(errs) > 0:
				again = append(again, o)
			default:
				b.forget(o.id)
				begun = append(begun, ending{o.id, cause})
			}
		}
		if len(again) == len(part) {
			return begun, b.broken(errs)
		}
		due = append(again, rest...)
	}
	return begun, nil
}

// ending is a session whose records are to go.
type ending struct {
	id    ports.SessionID
	cause core.Cause
}

// finishEnds removes the records of sessions that have ended, and marks their ids as used. A session
// with a record that this process may not remove stays as it is, for others that may, and holds up
// none of the rest.
func (b *Backend) finishEnds(ctx context.Context, ends []ending) error {
	const each = 2 // operations
	removed, shown := 0, time.Now()
	refused := make(map[ports.SessionID]error)
	for part := range slices.Chunk(ends, maxOps/each) {
		for left := true; left; { // No key is added to their lists any more.
			held, err := b.heldKeys(ctx, part)
			if err != nil {
				return err
			}
			left = false
			for some := range slices.Chunk(held, removedAtOnce) {
				stale, err := b.removeHeld(ctx, some, refused)
				if err != nil {
					return err
				}
				left = left || stale
				if removed += len(some); time.Since(shown) >= shownEvery {
					if err := b.showProgress(ctx, ends, removed); err != nil {
						return err
					}
					shown = time.Now()
				}
			}
		}
		var ops api.TxnOps
		for _, e := range part {
			if refused[e.id] != nil {
				continue
			}
			ops = append(ops, b.op(api.KVDelete, b.keys.closing(e.id), nil, 0),
				b.op(api.KVSet, b.keys.ended(e.id), fmt.Appendf(nil, `{"v":1,"session":%q,"cause":%q}`, e.id, e.cause), 0))
		}
		if len(ops) == 0 {
			continue
		}
		if _, err := b.writeAll(ctx, ops); err != nil {
			return err
		}
	}
	for _, e := range ends {
		if err := refused[e.id]; err != nil {
			return err
		}
	}
	return nil
}

// showProgress moves the notes of sessions whose records are going, so that the sweepers see that
// somebody is at it: all of them at it together would only be in each other's way.
func (b *Backend) showProgress(ctx context.Context, ends []ending, removed int) error {
	for part := range slices.Chunk(ends, maxOps) {
		keys := make([]string, len(part))
		for i, e := range part {
			keys[i] = b.keys.closing(e.id)
		}
		notes, err := b.read(ctx, keys...)
		if err != nil {
			return err
		}
		var ops api.TxnOps
		for i, e := range part {
			if notes[i].ModifyIndex == 0 {
				continue // It is done with.
			}
			note, err := encodeClosing(e, removed)
			if err != nil {
				return err
			}
			ops = append(ops, b.op(api.KVCAS, keys[i], note, notes[i].ModifyIndex))
		}
		if len(ops) == 0 {
			continue
		}
		if _, err := b.writeAll(ctx, ops); err != nil { // One that moved was moved by somebody who is at it too.
			return err
		}
	}
	return nil
}

// heldKey is one line of a session's list.
type heldKey struct {
	ending
	name string
}

// heldKeys reads the lists of sessions.
func (b *Backend) heldKeys(ctx context.Context, ends []ending) ([]heldKey, error) {
	ops := make(api.TxnOps, len(ends))
	of := make(map[ports.SessionID]ending, len(ends))
	for i, e := range ends {
		ops[i] = b.op(api.KVGetTree, b.keys.heldBy(e.id), nil, 0)
		of[e.id] = e
	}
	pairs, err := b.look(b.consistent(ctx), ops)
	if err != nil {
		return nil, err
	}
	var held []heldKey
	for _, pair := range pairs {
		id, _, _ := strings.Cut(strings.TrimPrefix(pair.Key, b.keys.allHeld()), "/")
		held = append(held, heldKey{of[ports.SessionID(id)], pair.Key})
	}
	return held, nil
}

// removeHeld removes the records that some keys of sessions' lists name. Those that have moved
// to another session stay; those that somebody writes now are left for another round, which it
// reports. Sessions with one that this process may not remove are noted as refused.
func (b *Backend) removeHeld(ctx context.Context, held []heldKey, refused map[ports.SessionID]error) (left bool, err error) {
	var wanted []backendkit.Wanted
	var of []ending      // of each of them
	var wrong api.TxnOps // what names no record of its session
	for _, h := range held {
		if k, ok := keyOf(strings.TrimPrefix(h.name, b.keys.heldBy(h.id))); ok {
			wanted, of = append(wanted, backendkit.Wanted{Key: k}), append(of, h.ending)
		} else {
			wrong = append(wrong, b.op(api.KVDelete, h.name, nil, 0))
		}
	}
	t := table{b}
	loaded, err := t.Load(ctx, wanted)
	if err == nil {
		err = b.guess(ctx, wanted, loaded)
	}
	if err != nil {
		return false, err
	}
	var changes []backendkit.Change
	for i, l := range loaded {
		k, id := wanted[i].Key, of[i].id
		switch {
		case unreadable(l):
			moved, err := b.removeUnreadable(ctx, id, k, l.Version)
			if err != nil {
				return false, err
			}
			left = left || moved
			continue
		case holder(l.Record) != id:
			// Under that session no record can come any more, so the key is left over.
			wrong = append(wrong, b.op(api.KVDelete, b.keys.held(id, k), nil, 0))
			continue
		}
		c := backendkit.Change{Key: k, Was: l, ID: newID()}
		c.Write = c.ID
		c.Tombstone = &ports.Tombstone{Key: k, Generation: l.Record.Generation, Session: id, Cause: of[i].cause}
		changes = append(changes, c)
	}
	if len(wrong) > 0 {
		if _, err := b.writeAll(ctx, wrong); err != nil {
			return false, err
		}
	}
	for i, done := range t.Commit(ctx, changes) {
		switch {
		case errors.Is(done.Err, backendkit.ErrStale):
			left = true
		case errors.Is(done.Err, ports.ErrPermission):
			refused[changes[i].Tombstone.Session] = done.Err
		case done.Err != nil:
			return false, done.Err
		}
	}
	return left, nil
}

// unreadable tells that something stands at a key, and not what.
func unreadable(l backendkit.Loaded) bool {
	return l.Version != 0 && l.Record == nil && l.Tombstone == nil
}

// guess makes records of what this version cannot read, as far as it still says whose it is.
func (b *Backend) guess(ctx context.Context, wanted []backendkit.Wanted, loaded []backendkit.Loaded) error {
	var keys []string
	var of []int // where in loaded
	for i, l := range loaded {
		if unreadable(l) {
			keys, of = append(keys, b.keys.record(wanted[i].Key)), append(of, i)
		}
	}
	pairs, err := b.read(ctx, keys...)
	if err != nil {
		return err
	}
	e := b.epochs.get()
	for n, pair := range pairs {
		k, l := wanted[of[n]].Key, &loaded[of[n]]
		*l = load(k, pair, e)
		if !unreadable(*l) {
			continue
		}
		if gen, session, ok := backendkit.Whose(pair.Value); ok {
			l.Record = &ports.Record{Key: k, Generation: gen, Session: session, Revision: e.at(pair.ModifyIndex)}
			continue
		}
		var tomb struct{ Cause *core.Cause }
		if json.Unmarshal(pair.Value, &tomb) == nil && tomb.Cause != nil { // somebody was faster
			l.Tombstone = &ports.Tombstone{Key: k}
		}
	}
	return nil
}

// removeUnreadable removes what does not even say whose it is, unless it has moved. Watchers see that it
// is gone; what the catalog shows of it goes with the next tidying.
func (b *Backend) removeUnreadable(ctx context.Context, id ports.SessionID, k core.Key, index uint64) (moved bool, err error) {
	write := newID()
	errs, err := b.writeAll(ctx, api.TxnOps{
		b.op(api.KVCheckIndex, b.keys.record(k), nil, index),
		b.op(api.KVDelete, b.keys.record(k), nil, 0),
		b.op(api.KVDelete, b.keys.held(id, k), nil, 0),
		b.op(api.KVDelete, b.keys.move(k), nil, 0),
		b.op(api.KVSet, b.keys.version(bucketOf(k)), []byte(write), 0),
		b.op(api.KVSet, b.keys.latest(), latestJSON{Write: write}.encode(), 0),
	})
	return len(errs) > 0, err
}
