package pluginhost

// supervise.go: the one goroutine that watches over a host's process and replaces it.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// supervise owns every process of the host, the given one first.
func (h *Host) supervise(l *living) {
	defer close(h.done)
	policy := newRestarts()
	for l != nil {
		reason, err := h.tend(l)
		if h.closed.Load() {
			reason = endClosed
		}
		h.bury(l, reason, err)
		if reason == endClosed {
			return
		}
		policy.ended(time.Since(l.started), !l.served.Load())
		l = h.replace(policy, l.generation+1)
	}
}

// tend returns when the process has ended, hangs, or is to be closed. Two signs of life in a
// row that fail to come, or say that the backend is stuck, are a hang: one may be the whole
// machine's.
func (h *Host) tend(l *living) (reason string, err error) {
	timer := time.NewTimer(h.launcher.Heartbeat)
	defer timer.Stop()
	doubt := h.doubt
	misses := 0
	for {
		select {
		case <-h.life.Done():
			return endClosed, nil
		case <-l.process.life.Done():
			<-l.process.drained // Its last words explain it.
			return endExited, fmt.Errorf("its process ended: %s", l.process.ended())
		case <-doubt:
		case <-timer.C:
		}
		h.launcher.sink.report()
		began := time.Now()
		doubt = h.doubt
		if err := h.ping(l); err == nil || l.inUse.Err() != nil || h.life.Err() != nil {
			misses = 0
		} else if misses++; misses > 1 {
			return endHung, h.hung(misses, err)
		} else {
			doubt = nil // The next sign has its whole time.
			h.launcher.Logger.Warn("plugin missed a sign of life", slog.Any("error", err))
		}
		timer.Reset(max(0, h.launcher.Heartbeat-time.Since(began)))
	}
}

func (h *Host) hung(misses int, err error) error {
	if errors.Is(err, errStuck) {
		return err
	}
	return fmt.Errorf("it gave no sign of life for %s: %w", time.Duration(misses)*h.launcher.Heartbeat, err)
}

// ping gives the process the time of a heartbeat, and the host its Close.
func (h *Host) ping(l *living) error {
	ctx, cancel := context.WithTimeout(l.inUse, h.launcher.Heartbeat)
	defer cancel()
	stop := context.AfterFunc(h.life, cancel)
	defer stop()
	return l.ping(ctx)
}

// bury takes the process out of use and ends what is left of it.
func (h *Host) bury(l *living, reason string, err error) {
	if reason != endClosed {
		h.note(StateRestarting, err)
	}
	h.current.Store(nil)
	l.retire()
	if reason == endHung {
		l.process.kill()
	}
	h.launcher.discard(l.speaker)
	if reason != endClosed {
		h.launcher.Logger.Error("plugin is gone and will be replaced", slog.String("reason", reason),
			slog.Int("generation", l.generation), slog.String("error", h.Status().LastError))
	}
	if ended := h.launcher.Hooks.Ended; ended != nil {
		ended(l.generation, reason)
	}
}

// replace starts processes until one is open, or returns nil when the host is closed.
func (h *Host) replace(policy *restarts, generation int) *living {
	for {
		wait, broken := policy.next()
		if broken && h.Status().State != StateBroken {
			h.note(StateBroken, nil)
			h.launcher.Logger.Error("plugin dies before it serves one call; attempts are rare from now on",
				slog.Duration("every", wait), slog.String("error", h.Status().LastError))
		}
		if restarting := h.launcher.Hooks.Restarting; restarting != nil {
			restarting(wait, broken)
		}
		if !pause(h.life, wait) {
			return nil
		}
		began := time.Now()
		l, useless, err := h.start(h.life, generation)
		if err == nil {
			return l
		}
		if h.life.Err() != nil {
			return nil
		}
		state := StateRestarting
		if broken {
			state = StateBroken
		}
		h.note(state, err)
		h.launcher.Logger.Error("plugin could not be restarted", slog.String("error", h.Status().LastError))
		policy.ended(time.Since(began), useless)
	}
}
