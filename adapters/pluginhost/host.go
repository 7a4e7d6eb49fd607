package pluginhost

// host.go: a backend in a supervised process.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/prism/ports"
)

// State says how a Host is.
type State string

// The states of a Host.
const (
	StateRunning    State = "running"
	StateRestarting State = "restarting" // calls fail until the next process is open
	StateBroken     State = "broken"     // likewise, and attempts are rare: its processes die at once
	StateClosed     State = "closed"
)

// Status describes a Host for people.
type Status struct {
	PID           int // of the living process, else 0
	Path          string
	Name, Version string
	Contract      int
	Restarts      int       // processes that were opened after the first
	Started       time.Time // when the latest process was launched
	State         State
	LastError     string // why the last process ended or could not be opened; never a secret
}

// Why a process is no longer used, as Hooks.Ended reports it.
const (
	endExited = "exited"
	endHung   = "hung"
	endClosed = "closed"
)

// openPause is the time between two tries to open the backend of a living process.
const openPause = time.Second

// Host is a ports.Backend that lives in a process of its own. While that process is being
// replaced, calls fail with ports.ErrUnavailable at once: they are not queued, and none is
// sent twice. A call that was under way when its process died has failed with
// ports.ErrUnavailable; a write then has an unknown outcome. Watches end likewise.
//
// It is safe for concurrent use.
type Host struct {
	launcher *launcher

	info    atomic.Pointer[ports.Info]
	status  atomic.Pointer[Status]
	current atomic.Pointer[living] // nil while there is none

	doubt  chan struct{} // a call ran out of time: look at the process now
	closed atomic.Bool
	once   sync.Once

	life context.Context // the supervisor's
	end  context.CancelFunc
	done chan struct{} // closed when the supervisor has ended
}

var _ ports.Backend = (*Host)(nil)

// living is a process whose backend is open, in one of the generations of a Host.
type living struct {
	*speaker

	generation int
	backend    ports.Backend
	served     atomic.Bool
	// inUse ends when nothing that the process says counts any more.
	inUse  context.Context
	retire context.CancelFunc
}

// Open launches the plugin and opens its backend. The first start is tried once, and its
// error is the caller's to judge; from then on processes that end are replaced until Close.
//
// Errors: ports.ErrInvalid and ports.ErrNotFound for a wrong binary, name or option,
// ports.ErrPermission for a digest that differs or an account that the store refuses,
// ports.ErrUnsupported for another contract, ports.ErrUnavailable for a plugin that dies or
// hangs and for a store that does not answer, or the context's error.
func Open(ctx context.Context, launch Launch) (*Host, error) {
	l, err := newLauncher(ctx, launch)
	if err != nil {
		return nil, err
	}
	h := &Host{launcher: l, doubt: make(chan struct{}, 1), done: make(chan struct{})}
	h.life, h.end = context.WithCancel(context.Background())
	h.status.Store(&Status{Path: l.Path, Name: l.Name, State: StateRestarting})
	first, _, err := h.start(ctx, 1)
	if err != nil {
		h.end()
		l.close()
		return nil, err
	}
	go h.supervise(first)
	return h, nil
}

// Status returns how the host is now. It does no I/O.
func (h *Host) Status() Status { return *h.status.Load() }

// start launches a process, opens its backend and makes it the current one. Useless says, of
// a failure, that there was no process or that it died, rather than that it was refused.
func (h *Host) start(ctx context.Context, generation int) (l *living, useless bool, err error) {
	attempt, cancel := context.WithTimeout(ctx, h.launcher.StartTimeout)
	defer cancel()
	s, err := h.launcher.connect(attempt)
	if err != nil {
		return nil, true, err
	}
	backend, err := h.launcher.open(attempt, s)
	if generation > 1 {
		backend, err = h.openAgain(ctx, s, backend, err)
	}
	if err != nil {
		died := s.process.life.Err() != nil && !errors.Is(err, errHungOpen)
		h.launcher.discard(s)
		return nil, died, err
	}
	return h.use(s, backend, generation), false, nil
}

// openAgain goes on opening the backend of a living process while its store does not answer:
// that is no reason for another process, and a store may be away for long.
func (h *Host) openAgain(ctx context.Context, s *speaker, backend ports.Backend, err error) (ports.Backend, error) {
	for errors.Is(err, ports.ErrUnavailable) && !errors.Is(err, errHungOpen) && s.process.life.Err() == nil {
		h.note(StateRestarting, err)
		if !pause(ctx, openPause) {
			return nil, ctx.Err()
		}
		attempt, cancel := context.WithTimeout(ctx, h.launcher.StartTimeout)
		backend, err = h.launcher.open(attempt, s)
		cancel()
	}
	return backend, err
}

// use makes the process the current one.
func (h *Host) use(s *speaker, backend ports.Backend, generation int) *living {
	l := &living{speaker: s, generation: generation, backend: backend}
	l.inUse, l.retire = context.WithCancel(s.process.life)
	took := time.Since(s.started)
	h.info.Store(new(backend.Info()))
	h.status.Store(&Status{
		PID: s.process.pid(), Path: h.launcher.Path, Name: s.description.Name, Version: s.description.Version,
		Contract: s.description.Contract, Restarts: generation - 1, Started: s.started, State: StateRunning,
		LastError: h.Status().LastError,
	})
	h.current.Store(l)
	h.launcher.Logger.Info("plugin is open", slog.Int("pid", s.process.pid()),
		slog.String("version", s.description.Version), slog.Int("generation", generation), slog.Duration("took", took))
	if started := h.launcher.Hooks.Started; started != nil {
		started(generation, took)
	}
	return l
}

// note puts a change into the status.
func (h *Host) note(state State, err error) {
	s := h.Status()
	s.State, s.PID = state, 0
	if err != nil {
		s.LastError = h.launcher.sink.mask.Load().text(err.Error())
	}
	h.status.Store(&s)
}

// Close closes the backend, within CloseTimeout, and ends the process, by force if need be.
// When it returns, nothing of the plugin is left. An error tells that the backend did not
// close as it should. A second Close does nothing and returns nil.
func (h *Host) Close() error {
	var err error
	h.once.Do(func() {
		h.closed.Store(true)
		if l := h.current.Load(); l != nil {
			err = h.closeBackend(l)
		}
		h.end()
		<-h.done
		h.launcher.close()
		h.note(StateClosed, nil)
	})
	return err
}

func (h *Host) closeBackend(l *living) error {
	var late atomic.Bool
	limit := time.AfterFunc(h.launcher.CloseTimeout, func() {
		late.Store(true)
		l.process.kill()
	})
	defer limit.Stop()
	err := l.backend.Close()
	switch {
	case late.Load():
		return fmt.Errorf("plugin %s did not close its backend within %s and was killed: %w", h.launcher.display(), h.launcher.CloseTimeout, ports.ErrUnavailable)
	case errors.Is(err, ports.ErrUnavailable) && l.dying(h.life):
		return fmt.Errorf("plugin %s died while it closed its backend: %s: %w", h.launcher.display(), l.process.ended(), ports.ErrUnavailable)
	}
	return h.launcher.sink.mask.Load().error(err)
}

// pause waits for d, or returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
