// Package memory keeps records in the memory of one process: the default of embedded
// programs, and the backend to read before writing another.
//
// It fits in one sitting because a mutex makes every operation atomic; what is left is the
// contract of package ports itself, one file for each part:
//
//   - backend.go: opening, closing, and the lock that every operation goes through;
//   - sessions.go: who is alive, and the one goroutine that ends who is not;
//   - records.go: compare-and-set on generations, tombstones, and reads;
//   - watch.go and history.go: snapshots, changes, cursors, and readers that fall behind;
//   - fading.go: what is remembered for a while and then forgotten.
//
// README.md says what it keeps and what happens at a restart.
package memory

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

const (
	maxExpiryDelay = 250 * time.Millisecond
	minSessionTTL  = time.Second
)

// Options of the backend.
type Options struct {
	// Namespace is checked as by every backend, and else without effect: each Open makes a
	// store of its own. Empty is allowed.
	Namespace string `json:"namespace"`
}

// Info describes the backend before one is opened.
func Info() ports.Info {
	return ports.Info{
		Name: "memory", Version: "1.0.0", Capabilities: ports.Capabilities{History: true},
		Limits: ports.Limits{MaxExpiryDelay: maxExpiryDelay, MinSessionTTL: minSessionTTL},
	}
}

// Backend is one store in memory. It implements ports.Backend and is safe for concurrent use.
type Backend struct {
	epoch   string
	closing chan struct{}  // closed by Close
	overdue chan struct{}  // capacity 1: a deadline may have become earlier
	sweeper sync.WaitGroup // the goroutine of sessions.go

	mu        sync.Mutex // guards everything below
	closed    bool
	revision  uint64                              // of the latest write
	announced uint64                              // the revision that watchers were last woken for
	changed   chan struct{}                       // closed, and made anew, when revision has moved
	services  map[string]map[string]*ports.Record // by service, then by id; never changed in place, so watchers share them
	history   history
	tombs     fading[core.Key, ports.Tombstone]
	sessions  map[ports.SessionID]*session
	deadlines deadlines
	ended     fading[ports.SessionID, struct{}]
}

var _ ports.Backend = (*Backend)(nil)

// Open makes an empty store. Close frees it, and the goroutine that Open starts.
func Open(ctx context.Context, o Options) (*Backend, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open the memory backend: %w", err)
	}
	if o.Namespace != "" {
		if err := core.ValidateName(ports.OptionNamespace, o.Namespace); err != nil {
			return nil, fmt.Errorf("open the memory backend: %w", err)
		}
	}
	b := &Backend{
		epoch:    rand.Text(), // a store that starts empty has a new epoch, so old cursors are not resumed
		closing:  make(chan struct{}),
		overdue:  make(chan struct{}, 1),
		changed:  make(chan struct{}),
		services: make(map[string]map[string]*ports.Record),
		history:  newHistory(historyLength, historyBytes),
		tombs:    newFading[core.Key, ports.Tombstone](ports.TombstoneLife),
		sessions: make(map[ports.SessionID]*session),
		ended:    newFading[ports.SessionID, struct{}](ports.EndedSessionLife),
	}
	b.sweeper.Go(b.endSessionsInTime)
	return b, nil
}

// Info implements ports.Backend.
func (b *Backend) Info() ports.Info { return Info() }

// Health implements ports.Backend; memory can always be reached until it is closed.
func (b *Backend) Health(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return fmt.Errorf("health: %w", err)
	}
	b.leave()
	return nil
}

// Close implements ports.Backend. The records live in this process alone and go with it.
func (b *Backend) Close() error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.closing)
	}
	b.mu.Unlock()
	b.sweeper.Wait()
	return nil
}

// enter locks the store for one operation, unless the context has ended or the store was
// closed. Whatever fell due by now is swept first: no operation sees a session that should
// have ended, however late the sweeping goroutine runs. A nil error asks for one leave.
func (b *Backend) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return fmt.Errorf("the memory backend is %w", ports.ErrClosed)
	}
	now := time.Now()
	b.endSessionsLocked(now)
	b.tombs.sweep(now)
	b.ended.sweep(now)
	return nil
}

// leave wakes the watchers, once for all that the operation wrote, and unlocks.
func (b *Backend) leave() {
	if b.revision != b.announced {
		b.announced = b.revision
		close(b.changed)
		b.changed = make(chan struct{})
	}
	b.mu.Unlock()
}

// nextRevisionLocked numbers a write. Numbers are consecutive, which history relies on.
func (b *Backend) nextRevisionLocked() core.Revision {
	b.revision++
	return b.currentLocked()
}

// currentLocked is the revision of the latest write.
func (b *Backend) currentLocked() core.Revision {
	return core.Revision{Epoch: b.epoch, N: b.revision}
}
