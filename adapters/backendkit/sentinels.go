package backendkit

// sentinels.go: which kind of error of package ports an error is.

import (
	"context"
	"errors"
	"fmt"

	"github.com/marketprism/prism/ports"
)

var sentinels = []error{
	ports.ErrInvalid, ports.ErrNotFound, ports.ErrConflict, ports.ErrUnsupported, ports.ErrUnavailable, ports.ErrPermission,
	ports.ErrTooLarge, ports.ErrClosed, ports.ErrSessionGone, ports.ErrContention,
}

// HasSentinel reports whether an error, which may be nil, wraps one that package ports defines:
// whoever turns a client's errors into those passes on what has been turned.
func HasSentinel(err error) bool {
	for _, s := range sentinels {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// Unanswered says, of an error that is the end of a call's context, that the store did not answer
// in time: it wraps ports.ErrUnavailable and the context's error. It is nil for other errors. Store
// is what the sentence calls the store.
func Unanswered(store string, err error) error {
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return fmt.Errorf("%s did not answer before the call ended; look at %s if it never does: %w: %w", store, OptionField("url"), ports.ErrUnavailable, ended)
		}
	}
	return nil
}
