package registry

// refusal.go: a store that answers, and does not do what it is asked: its disk is full, a right
// was taken away. Whoever asked is told; the log says it once, and again when it is over, so that
// it is known before sessions run out. A store that cannot be followed is watch.go's to tell of.

import (
	"errors"
	"log/slog"

	"github.com/marketprism/prism/core"
)

// refusals are what the log has said so far; guarded by the registry's lock.
type refusals struct {
	writes, renewals bool
}

// refused returns err, the reason why a write came to nothing.
func (r *Registry) refused(err error) error {
	if errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrPermission) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sayLocked(&r.refusals.writes, "the store does not take what is written", err)
	}
	return err
}

func (r *Registry) acceptedLocked() {
	r.overLocked(&r.refusals.writes, "the store takes what is written again")
}

func (r *Registry) unrenewedLocked(err error) {
	r.sayLocked(&r.refusals.renewals, "sessions cannot be renewed; what they hold expires unless that passes", err)
}

func (r *Registry) renewedLocked() {
	r.overLocked(&r.refusals.renewals, "sessions are renewed again")
}

// sayLocked warns once, unless the log has the reason already: nothing can be read either.
func (r *Registry) sayLocked(said *bool, what string, err error) {
	if *said || !r.link.connected || r.ctx.Err() != nil || errors.Is(err, core.ErrClosed) {
		return
	}
	*said = true
	r.log.Warn("the store refuses what this host asks of it", slog.String("reason", what), slog.Any("error", err))
}

func (r *Registry) overLocked(said *bool, what string) {
	if *said {
		*said = false
		r.log.Info("the store does what it had refused", slog.String("reason", what))
	}
}
