package nats

// mirror.go: the namespace as it was read from the stream: the latest document of each key, in
// the order of their sequences. Watches read it, each at its own pace: who is slow finds fewer states, never a gap.

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// entry is what stands at a key. It is never changed once it is in the mirror.
type entry struct {
	seq    uint64
	stored time.Time // by the stream's account, which tells two messages of one sequence apart
	key    core.Key
	doc    backendkit.Document
	flaw   error // why the document cannot be read

	// Whose record it is; a zero generation where it is none. One that cannot be read says so as well, or
	// counts as none.
	gen     core.Generation
	session ports.SessionID
}

// newEntry reads the message of a key.
func newEntry(key core.Key, m *message) *entry {
	e := &entry{seq: m.seq, stored: m.stored, key: key}
	if m.marker() {
		return e
	}
	if e.doc, e.flaw = backendkit.DecodeFor(key, m.data); e.flaw != nil {
		if gen, session, ok := backendkit.Whose(m.data); ok {
			e.gen, e.session = gen, session
		}
	} else if e.doc.Record != nil {
		e.gen, e.session = e.doc.Record.Generation, e.doc.Record.Session
	}
	return e
}

// undoneBy reports whether a message of the same key was written before the entry, or in its place. If it is what
// stands there the stream lost the entry, and what came after it.
func (e *entry) undoneBy(seq uint64, stored time.Time) bool {
	return seq < e.seq || seq == e.seq && !stored.Equal(e.stored)
}

// mirror is safe for concurrent use.
type mirror struct {
	mu       sync.Mutex // guards the rest
	life     *life      // nil before the first read
	followed string     // the subjects that are taken, but for the epoch's
	position uint64     // everything up to here was taken
	caughtUp bool       // what stood when the reading began was taken
	turn     int        // counts what only a snapshot shows
	live     map[core.Key]*entry
	own      map[core.Key]uint64 // sequences that this process wrote and has not taken yet
	log      []*entry            // by sequence; those that are not live any more go now and then
	dropped  uint64              // the highest sequence of a deletion that was forgotten
	floor    uint64              // no earlier cursor is resumed
	proven   uint64              // the stream's last sequence, when it was last asked
	proofs   int                 // how often it was asked in this life
	changed  chan struct{}       // closed at the next change

	reread   map[core.Key]struct{} // keys seen since the reading began anew; nil when it did not
	under    map[ports.SessionID]map[core.Key]*entry
	seat     int                           // noSeat: sessions are not followed, and nothing is swept
	sessions map[ports.SessionID]struct{}  // those that are open
	sweeps   map[ports.SessionID]time.Time // when to look what an ended session left
	wake     chan struct{}                 // for the sweeper
}

func newMirror() *mirror {
	m := &mirror{seat: noSeat, changed: make(chan struct{}), wake: make(chan struct{}, 1)}
	m.clear()
	return m
}

func (m *mirror) clear() {
	m.position, m.caughtUp, m.dropped, m.floor, m.proven, m.proofs, m.log, m.reread = 0, false, 0, 0, 0, 0, nil, nil
	m.live = make(map[core.Key]*entry)
	m.own = make(map[core.Key]uint64)
	m.sessions = make(map[ports.SessionID]struct{})
	m.under = make(map[ports.SessionID]map[core.Key]*entry)
	m.sweeps = make(map[ports.SessionID]time.Time)
}

// broadcast wakes who waits for a change. The lock is held.
func (m *mirror) broadcast() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// begin says that the stream is read in a life, whole or on from where it was left, by one who holds a seat
// or noSeat, and returns the first sequence to read. Who just took a seat reads all: it passed over sessions. Until
// that is done, it is begun again.
func (m *mirror) begin(now *life, whole bool, seat int, followed string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	whole = whole || m.reread != nil || m.seat == noSeat && seat != noSeat
	m.caughtUp, m.seat, m.followed = false, seat, followed
	if whole || seat == noSeat {
		m.sessions = make(map[ports.SessionID]struct{})
		m.sweeps = make(map[ports.SessionID]time.Time)
	}
	switch {
	case m.life != now:
		m.clear()
		m.life = now
		m.broadcast()
	case whole:
		m.reread = make(map[core.Key]struct{})
		return 1
	}
	return m.position + 1
}

// unseen are the entries that did not come while the stream was read again: they are gone, lost, or were replaced
// further on.
func (m *mirror) unseen() []*entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reread == nil {
		return nil
	}
	var missing []*entry
	for key, e := range m.live {
		if _, stands := m.reread[key]; !stands {
			missing = append(missing, e)
		}
	}
	return missing
}

// caughtUpNow says that what stood when the reading began, at a last sequence, was taken, and what of the mirror is
// gone. What is not under an open session now was left by one.
func (m *mirror) caughtUpNow(last uint64, gone []*entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.arrived(last)
	m.caughtUp, m.reread = true, nil
	for _, e := range gone {
		if m.live[e.key] == e {
			m.remove(e)
			m.turn++
		}
	}
	for id := range m.under {
		m.lookAfter(id)
	}
}

// moveTo raises the position in a life: up to there nothing stands that was not taken.
func (m *mirror) moveTo(now *life, n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == now && n > m.position {
		m.arrived(n)
	}
}

// takeRecord takes the message of a record's subject. marker: the tombstone there faded.
func (m *mirror) takeRecord(e *entry, marker bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.arrived(e.seq)
	if m.own[e.key] <= e.seq {
		delete(m.own, e.key)
	}
	was := m.live[e.key]
	if m.reread != nil && (was == nil || !was.undoneBy(e.seq, e.stored)) {
		m.reread[e.key] = struct{}{}
	}
	if was != nil && was.seq >= e.seq {
		return // read again
	}
	if was != nil {
		m.remove(was)
	}
	switch {
	case marker && was == nil:
		return
	case marker && was.doc.Record == nil:
		m.dropped = max(m.dropped, was.seq)
		return
	case marker: // something else gave a record a TTL
		rec := was.doc.Record
		e.doc.Tombstone = &ports.Tombstone{Key: e.key, Generation: rec.Generation, Session: rec.Session, Cause: core.CauseUnknown, Revision: m.life.revision(e.seq)}
	}
	m.insert(e)
}

// arrived raises the position. The lock is held.
func (m *mirror) arrived(seq uint64) {
	m.position = max(m.position, seq)
	m.broadcast()
}

// insert adds an entry. The lock is held.
func (m *mirror) insert(e *entry) {
	m.live[e.key] = e
	if n := len(m.log); n == 0 || m.log[n-1].seq < e.seq {
		m.log = append(m.log, e)
	} else { // an unclean stop of the server brought it back
		at, _ := slices.BinarySearchFunc(m.log, e.seq, bySequence)
		m.log = slices.Insert(m.log, at, e)
		m.turn++
	}
	if len(m.log) > 2*len(m.live)+1024 {
		m.log = slices.DeleteFunc(m.log, func(e *entry) bool { return m.live[e.key] != e })
	}
	if e.gen.IsZero() {
		return
	}
	id := e.session
	if m.under[id] == nil {
		m.under[id] = make(map[core.Key]*entry)
	}
	m.under[id][e.key] = e
	if m.caughtUp {
		m.lookAfter(id)
	}
}

func bySequence(e *entry, seq uint64) int { return cmp.Compare(e.seq, seq) }

// remove takes an entry out. The lock is held.
func (m *mirror) remove(e *entry) {
	delete(m.live, e.key)
	if e.gen.IsZero() {
		return
	}
	id := e.session
	if delete(m.under[id], e.key); len(m.under[id]) == 0 {
		delete(m.under, id)
		delete(m.sweeps, id)
	}
}

// stands reports whether an entry still is what stands at its key.
func (m *mirror) stands(e *entry) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live[e.key] == e
}

// setFloor refuses to resume cursors of before this process.
func (m *mirror) setFloor(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.floor = n
}

// resumable says why a cursor cannot be watched on from; "" when it can.
func (m *mirror) resumable(now *life, cursor core.Revision, last uint64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case cursor.IsZero():
		return "a watch without a cursor begins with a snapshot"
	case cursor.Epoch != now.epoch:
		return "the cursor is of another epoch: the store started anew"
	case cursor.N > last:
		return "the store has not reached the cursor"
	case m.life != now || cursor.N < m.floor:
		return "the cursor is from before this process"
	case cursor.N < m.dropped:
		return forgotten
	}
	return ""
}

const forgotten = "deletions since then are forgotten"

// proved notes the stream's last sequence.
func (m *mirror) proved(now *life, last uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == now {
		m.proven = last
		m.proofs++
		m.broadcast()
	}
}

// view is what a watch sees at one moment.
type view struct {
	life             *life
	position, proven uint64
	proofs, turn     int
	dropped          uint64
	entries          []*entry        // the first after what was asked for, by sequence
	changed          <-chan struct{} // closed when there is more to see
}

// viewEntries is how many entries a view has at most.
const viewEntries = 256

// after is the mirror beyond a sequence, with entries if they are asked for.
func (m *mirror) after(seq uint64, entries bool) view {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := view{life: m.life, position: m.position, proven: m.proven, proofs: m.proofs, turn: m.turn, dropped: m.dropped, changed: m.changed}
	if !entries {
		return v
	}
	at, _ := slices.BinarySearchFunc(m.log, seq+1, bySequence)
	for ; at < len(m.log) && len(v.entries) < viewEntries; at++ {
		if e := m.log[at]; m.live[e.key] == e {
			v.entries = append(v.entries, e)
		}
	}
	return v
}

// all is the whole mirror but for tombstones.
func (m *mirror) all() view {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := view{life: m.life, position: m.position, turn: m.turn}
	for _, e := range m.log {
		if m.live[e.key] == e && e.doc.Tombstone == nil {
			v.entries = append(v.entries, e)
		}
	}
	return v
}
