package consul

// sessions.go: opening and renewing. A session is a key with a counter: whoever watches it
// sees that it moves. Who ends those that do not move is in sweeper.go.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// sessionDocument is what stands at an open session's key. Fields that this version does not
// know are kept through every renewal.
type sessionDocument map[string]json.RawMessage

func newSessionDocument(spec ports.SessionSpec) sessionDocument {
	d := make(sessionDocument)
	d.set("v", 1)
	d.set("session", spec.ID)
	d.set("ttl_ms", spec.TTL.Milliseconds())
	d.set("host", spec.Host)
	d.set("program", spec.Program)
	d.set("oldest_format", spec.OldestFormat)
	d.set("newest_format", spec.NewestFormat)
	d.set("renewals", 0)
	return d
}

func (d sessionDocument) set(field string, value any) {
	d[field], _ = json.Marshal(value) // Numbers and strings always marshal.
}

func (d sessionDocument) number(field string) int64 {
	var n int64
	_ = json.Unmarshal(d[field], &n) // 0 where it is none.
	return n
}

// ttl is what was granted; a document that does not say is given a minute, lest a session ends
// because somebody damaged it.
func (d sessionDocument) ttl() time.Duration {
	if ms := d.number("ttl_ms"); ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	return time.Minute
}

// renewed is the document with its counter moved.
func (d sessionDocument) renewed() sessionDocument {
	next := make(sessionDocument, len(d)+1)
	maps.Copy(next, d)
	next.set("renewals", d.number("renewals")+1)
	return next
}

func (d sessionDocument) encode() []byte {
	out, _ := json.Marshal(d) // Raw messages that were decoded, or set, always marshal.
	return out
}

func readSessionDocument(value []byte) sessionDocument {
	d := make(sessionDocument)
	if json.Unmarshal(value, &d) != nil || d == nil {
		return make(sessionDocument)
	}
	return d
}

// openSession is a session as this process last wrote or read it, so that a renewal needs no
// read where nobody else renewed.
type openSession struct {
	document sessionDocument
	index    uint64
}

// OpenSession implements ports.Sessions.
func (b *Backend) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	if err := backendkit.CheckSession(spec); err != nil {
		return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, err)
	}
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, err)
	}
	defer leave()
	granted, err := b.openSession(ctx, spec)
	if err != nil {
		return ports.Session{}, fmt.Errorf("open session %s: %w", spec.ID, err)
	}
	return granted, nil
}

func (b *Backend) openSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	spec.TTL = roundUp(spec.TTL)
	document, index := newSessionDocument(spec), uint64(0)
	for {
		e := b.epochs.get()
		results, errs, err := b.write(ctx, api.TxnOps{
			b.checkEpoch(e),
			b.op(api.KVCheckNotExists, b.keys.closing(spec.ID), nil, 0),
			b.op(api.KVCheckNotExists, b.keys.ended(spec.ID), nil, 0),
			b.op(api.KVCAS, b.keys.open(spec.ID), document.encode(), index),
		})
		if err != nil {
			return ports.Session{}, err
		}
		if len(errs) == 0 {
			b.remember(spec.ID, openSession{document: document, index: indexOf(results, b.keys.open(spec.ID))})
			return ports.Session{ID: spec.ID, TTL: document.ttl()}, nil
		}
		for _, e := range errs {
			switch {
			case isDenial(e):
				return ports.Session{}, b.denied(e.What)
			case e.OpIndex == 1 || e.OpIndex == 2:
				return ports.Session{}, fmt.Errorf("it has ended, choose a new id: %w", ports.ErrSessionGone)
			}
		}
		pairs, err := b.read(ctx, b.keys.epoch(), b.keys.open(spec.ID))
		if err != nil {
			return ports.Session{}, err
		}
		if _, _, err := b.currentEpoch(ctx, pairs[0]); err != nil {
			return ports.Session{}, err
		}
		if document, index = newSessionDocument(spec), pairs[1].ModifyIndex; index != 0 {
			document = readSessionDocument(pairs[1].Value).renewed()
			document.set("ttl_ms", max(document.ttl(), spec.TTL).Milliseconds())
		}
	}
}

// roundUp is a TTL as it is stored, in milliseconds.
func roundUp(ttl time.Duration) time.Duration {
	return (ttl + time.Millisecond - 1).Truncate(time.Millisecond)
}

// RenewSessions implements ports.Sessions: one transaction where nobody else renewed them.
func (b *Backend) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	if err := backendkit.CheckBatch("sessions", len(ids)); err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("renew sessions: %w", err)
	}
	defer leave()
	results := make(map[ports.SessionID]ports.RenewResult, len(ids))
	var known, unknown []ports.SessionID
	for _, id := range ids {
		if _, seen := results[id]; seen {
			continue
		}
		results[id] = ports.RenewResult{ID: id, Gone: true}
		switch {
		case core.ValidateName("session", string(id)) != nil: // Never opened.
		case b.recall(id).index != 0:
			known = append(known, id)
		default:
			unknown = append(unknown, id)
		}
	}
	for len(known) > 0 || len(unknown) > 0 {
		missed, err := b.renewKnown(ctx, known, results)
		if err != nil {
			return nil, fmt.Errorf("renew sessions: %w", err)
		}
		if known, err = b.lookUp(ctx, append(missed, unknown...)); err != nil {
			return nil, fmt.Errorf("renew sessions: %w", err)
		}
		unknown = nil
	}
	out := make([]ports.RenewResult, len(ids))
	for i, id := range ids {
		out[i] = results[id]
	}
	return out, nil
}

// renewKnown moves the counters of sessions that are remembered, and returns those that have
// moved otherwise.
func (b *Backend) renewKnown(ctx context.Context, ids []ports.SessionID, results map[ports.SessionID]ports.RenewResult) (missed []ports.SessionID, err error) {
	for len(ids) > 0 {
		part := ids[:min(len(ids), maxOps)]
		rest := ids[len(part):]
		ops, next, tried := make(api.TxnOps, len(part)), make([]sessionDocument, len(part)), make([]uint64, len(part))
		for i, id := range part {
			s := b.recall(id)
			next[i] = s.document.renewed()
			ops[i] = b.op(api.KVCAS, b.keys.open(id), next[i].encode(), s.index)
			tried[i] = s.index
			if s.index == 0 { // Forgotten meanwhile. An index of 0 would make a session anew.
				ops[i] = b.op(api.KVCheckIndex, b.keys.open(id), nil, 0) // It never holds.
			}
		}
		done, errs, err := b.write(ctx, ops)
		if err != nil {
			return nil, err
		}
		failed := make(map[int]bool, len(errs))
		for _, e := range errs {
			if isDenial(e) {
				return nil, b.denied(e.What)
			}
			failed[e.OpIndex] = true
		}
		var again []ports.SessionID
		for i, id := range part {
			switch {
			case failed[i]:
				b.forgetAt(id, tried[i])
				missed = append(missed, id)
			case len(errs) > 0:
				again = append(again, id)
			default:
				b.remember(id, openSession{document: next[i], index: indexOf(done, b.keys.open(id))})
				results[id] = ports.RenewResult{ID: id, TTL: next[i].ttl()}
			}
		}
		ids = append(again, rest...)
	}
	return missed, nil
}

// lookUp reads sessions, remembers those that are open, and returns them.
func (b *Backend) lookUp(ctx context.Context, ids []ports.SessionID) (open []ports.SessionID, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = b.keys.open(id)
	}
	pairs, err := b.read(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if pairs[i].ModifyIndex == 0 {
			b.forget(id)
			continue
		}
		b.remember(id, openSession{document: readSessionDocument(pairs[i].Value), index: pairs[i].ModifyIndex})
		open = append(open, id)
	}
	return open, nil
}

// recall returns what is remembered of a session, with the index 0 for nothing.
func (b *Backend) recall(id ports.SessionID) openSession {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[id]
}

// remember keeps the latest of what concurrent calls have read and written.
func (b *Backend) remember(id ports.SessionID, s openSession) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.index >= b.open[id].index {
		b.open[id] = s
	}
}

func (b *Backend) forget(id ports.SessionID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, id)
}

// forgetAt forgets a session that does not stand at an index, unless something else is remembered
// of it meanwhile. In a restored backup it stands at a lower one, which would not be remembered.
func (b *Backend) forgetAt(id ports.SessionID, index uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[id].index == index {
		delete(b.open, id)
	}
}
