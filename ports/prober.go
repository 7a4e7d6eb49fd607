package ports

// prober.go: the port through which the core checks an instance's health.

import (
	"context"
	"time"

	"github.com/marketprism/prism/core"
)

// Prober probes one instance once, as its Check says. It never follows a redirect to another
// host and never connects to link-local or metadata addresses. It is safe for concurrent use,
// returns within the check's timeout, and reports a failed check in the result: an error
// means that no check could be made (unsupported type, context ended).
type Prober interface {
	Probe(ctx context.Context, in core.Instance) (ProbeResult, error)
}

// ProbeResult is what one check found.
type ProbeResult struct {
	Healthy    bool
	StatusCode int // HTTP only
	Latency    time.Duration
	Detail     string // one sentence for people
}
