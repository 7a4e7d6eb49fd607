package ports

// errors.go: the sentinels of the contract. They cross the plugin wire and come back as the
// same kind (adapters/pluginrpc).

import (
	"errors"

	"github.com/marketprism/prism/core"
)

// What a backend's errors wrap; those that people see too are the core's own.
var (
	ErrInvalid     = core.ErrInvalid
	ErrNotFound    = core.ErrNotFound
	ErrConflict    = core.ErrConflict
	ErrUnsupported = core.ErrUnsupported
	ErrUnavailable = core.ErrUnavailable
	ErrPermission  = core.ErrPermission
	ErrTooLarge    = core.ErrTooLarge
	ErrClosed      = core.ErrClosed
	// ErrSessionGone: the session ended; what was under it is going or gone.
	ErrSessionGone = errors.New("session gone")
	// ErrContention: others wrote at the same time; nothing was done, try again.
	ErrContention = errors.New("contention")
)
