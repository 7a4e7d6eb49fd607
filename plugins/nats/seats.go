package nats

// seats.go: which processes follow the sessions of a namespace: three, however many there are, so
// that renewals cost the same for each host. A seat is a message with a TTL, which its holder writes
// again. All three see sessions end; who holds the first seat removes what they leave, and the other
// two do a little later where nobody has: the death of one delays nothing that shows.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/adapters/backendkit"
)

const (
	seatCount = 3
	// noSeat is held by everyone else.
	noSeat = -1
	// seatLife is how long a seat is kept for a holder of whom nothing is heard.
	seatLife = 4 * time.Second
	// beatEvery leaves time for a second attempt.
	beatEvery = 1500 * time.Millisecond
	// lookEvery is how often one who holds none looks whether one of the seats is free.
	lookEvery   = 3 * time.Second
	seatTimeout = time.Second // of a beat or a look
	// leaveTimeout is how long closing may take for a seat; it is free soon in any case.
	leaveTimeout = 500 * time.Millisecond
)

type seatJSON struct {
	V      int    `json:"v"`
	Holder string `json:"holder,omitempty"` // nobody, where it is empty
}

// seats is what one process knows of them. All but held is of the goroutine that sits.
type seats struct {
	held   atomic.Int64  // the seat that we hold, or noSeat
	asked  chan struct{} // closed when the seats were first looked at
	holder string        // our name
	seq    uint64        // of our last beat
	look   int           // which seat to look at
}

func newSeats() *seats {
	s := &seats{asked: make(chan struct{}), holder: rand.Text()}
	s.held.Store(noSeat)
	return s
}

// sit keeps a seat, or looks for one, until the backend closes.
func (b *Backend) sit(ctx context.Context) {
	for first := true; ; first = false {
		before := b.seats.held.Load()
		call, cancel := context.WithTimeout(ctx, seatTimeout)
		err := b.keepSeat(call, first)
		cancel()
		if err != nil && ctx.Err() == nil {
			b.log.Debug("the seats of the namespace cannot be looked at", "error", err)
		}
		held := b.seats.held.Load()
		if first {
			close(b.seats.asked)
		} else if stop := b.interrupt.Load(); held != before && stop != nil {
			(*stop)() // the pump begins anew, with or without sessions
		}
		wait := lookEvery
		if held != noSeat {
			wait = beatEvery
		}
		if !pause(ctx, wait) {
			b.leaveSeat()
			return
		}
	}
}

// keepSeat shows that we are alive on our seat. Who holds none looks at one of them, or at all, and takes one that is free.
func (b *Backend) keepSeat(ctx context.Context, all bool) error {
	s := b.seats
	if b.life.Load() == nil { // the stream may not be there yet
		if _, err := b.current(ctx); err != nil {
			return err
		}
	}
	from := 0
	if held := s.held.Load(); held != noSeat {
		err := b.takeSeat(ctx, int(held), s.seq)
		if !errors.Is(err, backendkit.ErrStale) {
			return err // without an answer it is ours until we hear otherwise
		}
		// We were away for too long, or our last beat stands there and its acknowledgement was lost.
		all, from = true, int(held)
	}
	// Held changes once, from one seat to what comes of this: the pump is told of that, and of no moment without.
	taken, err := b.findSeat(ctx, all, from)
	if !taken {
		s.held.Store(noSeat)
	}
	return err
}

// findSeat looks at the next seat, or at all from one on, and takes one that is free or has our name.
func (b *Backend) findSeat(ctx context.Context, all bool, from int) (taken bool, err error) {
	s := b.seats
	looks := 1
	if all {
		s.look, looks = from, seatCount
	}
	for range looks {
		n := s.look
		s.look = (s.look + 1) % seatCount
		stands, err := b.remote.get(ctx, b.names.seat(n))
		if err != nil {
			return false, err
		}
		seq, free := readSeat(stands, s.holder)
		if !free {
			continue
		}
		if err := b.takeSeat(ctx, n, seq); !errors.Is(err, backendkit.ErrStale) {
			return err == nil, err
		}
	}
	return false, nil
}

// readSeat reads what stands at a seat's subject. It is free for somebody also where that is his.
func readSeat(m *message, holder string) (seq uint64, free bool) {
	if m == nil {
		return 0, true
	}
	var j seatJSON
	return m.seq, m.marker() || json.Unmarshal(m.data, &j) != nil || j.Holder == "" || j.Holder == holder
}

// takeSeat writes our name on a seat, where still the same stands there.
func (b *Backend) takeSeat(ctx context.Context, n int, stands uint64) error {
	seq, err := b.writeSeat(ctx, n, stands, b.seats.holder, seatLife)
	if err == nil {
		b.seats.seq = seq
		b.seats.held.Store(int64(n))
	}
	return err
}

func (b *Backend) writeSeat(ctx context.Context, n int, stands uint64, holder string, ttl time.Duration) (uint64, error) {
	data, err := json.Marshal(seatJSON{V: 1, Holder: holder})
	if err != nil {
		return 0, err
	}
	return b.remote.publish(ctx, write{subject: b.names.seat(n), data: data, ttl: ttl, expected: stands, id: rand.Text()})
}

// leaveSeat frees our seat at once, for whoever comes next.
func (b *Backend) leaveSeat() {
	held := b.seats.held.Swap(noSeat)
	if held == noSeat || !b.remote.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	_, _ = b.writeSeat(ctx, int(held), b.seats.seq, "", 0) // else its time runs out
}
