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
}

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
		if err := b.finishEnd(ctx, id, cause); err != nil {
			return fmt.Errorf("close session %s: %w", id, err)
		}
		return nil
	}
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
	note, err := json.Marshal(closingJSON{V: 1, Session: id, Cause: cause})
	if err != nil {
		return false, fmt.Errorf("encode a note: %w", err)
	}
	errs, err := b.writeAll(ctx, api.TxnOps{
		b.op(api.KVCheckIndex, b.keys.open(id), nil, index), // A delete-cas of what is gone would succeed.
		b.op(api.KVDelete, b.keys.open(id), nil, 0),
		b.op(api.KVSet, b.keys.closing(id), note, 0),
	})
	if err != nil || len(errs) > 0 {
		return false, err
	}
	b.forget(id)
	return true, nil
}

// finishEnd removes the records of a session that has ended, and marks its id as used.
func (b *Backend) finishEnd(ctx context.Context, id ports.SessionID, cause core.Cause) error {
	for left := true; left; { // No key is added to the list any more.
		names, err := b.names(ctx, b.keys.heldBy(id), "")
		if err != nil {
			return err
		}
		left = false
		for part := range slices.Chunk(names, maxOps-1) {
			stale, err := b.removeHeld(ctx, id, part, cause)
			if err != nil {
				return err
			}
			left = left || stale
		}
	}
	_, err := b.writeAll(ctx, api.TxnOps{
		b.op(api.KVDelete, b.keys.closing(id), nil, 0),
		b.op(api.KVSet, b.keys.ended(id), fmt.Appendf(nil, `{"v":1,"session":%q,"cause":%q}`, id, cause), 0),
	})
	return err
}

// removeHeld removes the records that some keys of a session's list name. Those that have
// moved to another session stay; those that somebody writes now are left for another round,
// which it reports.
func (b *Backend) removeHeld(ctx context.Context, id ports.SessionID, names []string, cause core.Cause) (left bool, err error) {
	var wanted []backendkit.Wanted
	var wrong api.TxnOps // what names no record of this session
	for _, name := range names {
		if k, ok := keyOf(strings.TrimPrefix(name, b.keys.heldBy(id))); ok {
			wanted = append(wanted, backendkit.Wanted{Key: k})
		} else {
			wrong = append(wrong, b.op(api.KVDelete, name, nil, 0))
		}
	}
	t := table{b}
	loaded, err := t.Load(ctx, wanted)
	if err != nil {
		return false, err
	}
	var changes []backendkit.Change
	for i, l := range loaded {
		k := wanted[i].Key
		if holder(l.Record) != id {
			// Under that session no record can come any more, so the key is left over.
			wrong = append(wrong, b.op(api.KVDelete, b.keys.held(id, k), nil, 0))
			continue
		}
		c := backendkit.Change{Key: k, Was: l, ID: newID()}
		c.Write = c.ID
		c.Tombstone = &ports.Tombstone{Key: k, Generation: l.Record.Generation, Session: id, Cause: cause}
		changes = append(changes, c)
	}
	if len(wrong) > 0 {
		if _, err := b.writeAll(ctx, wrong); err != nil {
			return false, err
		}
	}
	for _, done := range t.Commit(ctx, changes) {
		switch {
		case errors.Is(done.Err, backendkit.ErrStale):
			left = true
		case done.Err != nil:
			return false, done.Err
		}
	}
	return left, nil
}
