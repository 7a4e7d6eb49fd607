package nats

// endings.go: which sessions are open, as who holds a seat sees it in the stream, and when to look
// at what an ended one left. Who holds none knows of no session, and leaves them to the others.

import (
	"time"

	"github.com/marketprism/prism/ports"
)

// takeSession takes the message of a session's subject.
func (m *mirror) takeSession(id ports.SessionID, s session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.arrived(s.seq)
	if s.open {
		m.sessions[id] = struct{}{}
		return
	}
	delete(m.sessions, id)
	if len(m.under[id]) == 0 || !m.caughtUp {
		return
	}
	if s.doc.Closed { // who closed it removes them, unless it died over it
		m.schedule(id, closersTime)
	} else {
		m.schedule(id, 0)
	}
}

const (
	// closersTime is how long the one who closes a session is left alone with its records.
	closersTime = 2 * time.Second
	// seatSpread is how much later than the seat before it each seat looks after an ended session:
	// the first does the work, and the others find it done.
	seatSpread = 150 * time.Millisecond
)

// lookAfter has the sweeper look at a session with records that is not open. The lock is held.
func (m *mirror) lookAfter(id ports.SessionID) {
	if _, open := m.sessions[id]; !open {
		m.schedule(id, 0)
	}
}

// schedule has the sweeper look at a session. The lock is held.
func (m *mirror) schedule(id ports.SessionID, after time.Duration) {
	if _, planned := m.sweeps[id]; planned || m.seat == noSeat {
		return
	}
	m.sweeps[id] = time.Now().Add(after + time.Duration(m.seat)*seatSpread)
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// nextSweep takes a session whose time has come; else it says how long the next one has.
func (m *mirror) nextSweep() (id ports.SessionID, due bool, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wait = time.Hour
	for each, at := range m.sweeps {
		left := time.Until(at)
		if left <= 0 {
			delete(m.sweeps, each)
			return each, true, 0
		}
		wait = min(wait, left)
	}
	return "", false, wait
}

// again has the sweeper come back to a session.
func (m *mirror) again(id ports.SessionID, after time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.under[id]) > 0 {
		m.schedule(id, after)
	}
}

// of are the records under a session.
func (m *mirror) of(id ports.SessionID) []*entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries := make([]*entry, 0, len(m.under[id]))
	for _, e := range m.under[id] {
		entries = append(entries, e)
	}
	return entries
}
