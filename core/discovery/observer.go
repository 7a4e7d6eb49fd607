package discovery

// observer.go: where metrics hook in. The core knows no metrics library.

import (
	"time"

	"github.com/marketprism/prism/core"
)

// Observer receives what happens. Nil functions are skipped; the others must return at once.
type Observer struct {
	// Registration: outcome is "ok" or the kind of error.
	Registration func(service, outcome string, took time.Duration)
	// Discovery: operation is "instances", "pick", "wait" or "services".
	Discovery func(service, operation, outcome string)
	// HealthCheck: one scheduled check.
	HealthCheck func(in core.Instance, healthy bool, took time.Duration)
}
