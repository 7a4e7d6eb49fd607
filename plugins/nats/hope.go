package nats

// hope.go: a load that asks the leader for the session alone. What stands at the key is taken from the
// mirror, which may be behind: the write says what must stand there, and finds out. Only what comes to
// a write is taken so; an answer without one is the leader's to give.

import (
	"bytes"
	"context"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// hoped are the first mutations of each key, as they come to the first load of an Apply.
func hoped(muts []ports.Mutation) map[core.Key]ports.Mutation {
	first := make(map[core.Key]ports.Mutation, len(muts))
	for _, m := range muts {
		if _, later := first[m.Key()]; !later {
			first[m.Key()] = m
		}
	}
	return first
}

// hope is Load out of the mirror, if all of it comes to writes.
func (t *table) hope(ctx context.Context, wanted []backendkit.Wanted) ([]backendkit.Loaded, bool) {
	first := t.first
	t.first = nil // what was stale once is read
	now := t.life.Load()
	if first == nil || now == nil {
		return nil, false
	}
	loaded := t.mirror.standing(now, wanted)
	if loaded == nil {
		return nil, false
	}
	subjects, places := []string(nil), make(map[ports.SessionID]int)
	for i, w := range wanted {
		if backendkit.Decide(first[w.Key], loaded[i].Found, true).Answer != nil {
			return nil, false
		}
		if _, asked := places[w.Session]; openable(w.Session) && !asked {
			places[w.Session] = len(subjects)
			subjects = append(subjects, t.names.session(w.Session))
		}
	}
	if len(subjects) == 0 {
		return nil, false
	}
	open := make([]bool, len(subjects))
	err := backendkit.Each(len(subjects), inFlight, func(i int) error {
		m, err := t.remote.get(ctx, subjects[i])
		s := readSession(m)
		// Its epoch says that the mirror and the session are of the same life.
		open[i] = s.open && s.doc.Epoch == now.epoch
		return err
	})
	if err != nil {
		return nil, false // Load says it better
	}
	for i, w := range wanted {
		at, asked := places[w.Session]
		if !asked || !open[at] {
			return nil, false
		}
		loaded[i].SessionOpen = true
	}
	return loaded, true
}

// noteOwn notes a write that may not have come with the stream yet.
func (m *mirror) noteOwn(now *life, key core.Key, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == now && m.position < seq {
		m.own[key] = seq
	}
}

// standing is what stands at keys, as far as the mirror knows; nil where it is behind this process' own writes,
// or cannot tell.
func (m *mirror) standing(now *life, wanted []backendkit.Wanted) []backendkit.Loaded {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life != now || !m.caughtUp {
		return nil
	}
	loaded := make([]backendkit.Loaded, len(wanted))
	for i, w := range wanted {
		e := m.live[w.Key]
		_, behind := m.own[w.Key]
		switch {
		case behind:
			return nil
		case e == nil:
		case e.flaw != nil:
			return nil
		default:
			loaded[i] = backendkit.Loaded{Document: e.doc, Version: e.seq}
			if rec := e.doc.Record; rec != nil {
				own := *rec
				own.Body = bytes.Clone(rec.Body)
				loaded[i].Record = &own
			} else {
				own := *e.doc.Tombstone
				loaded[i].Tombstone = &own
			}
		}
	}
	return loaded
}
