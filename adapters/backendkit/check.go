package backendkit

// check.go: what every backend refuses before it asks its store.

import (
	"fmt"
	"time"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// MinSessionTTL is the shortest TTL that a session may ask for.
const MinSessionTTL = time.Second

// CheckBatch refuses a call of more than ports.MaxBatch items; field is what they are.
func CheckBatch(field string, n int) error {
	if n > ports.MaxBatch {
		return core.Invalid(field, fmt.Sprintf("%d of them", n), fmt.Sprintf("send at most %d in one call", ports.MaxBatch))
	}
	return nil
}

// CheckMutations refuses a call of Apply that is too large as a whole.
func CheckMutations(muts []ports.Mutation) error {
	if err := CheckBatch("mutations", len(muts)); err != nil {
		return err
	}
	size := 0
	for _, m := range muts {
		if m.Put != nil {
			size += len(m.Put.Record.Body)
		}
	}
	if size > ports.MaxBatchBytes {
		return core.TooLarge("mutations", fmt.Sprintf("%d bytes of bodies", size), fmt.Sprintf("send at most %d bytes in one call", ports.MaxBatchBytes))
	}
	return nil
}

// CheckMutation refuses one item that can never succeed.
func CheckMutation(m ports.Mutation) error {
	set := 0
	for _, is := range []bool{m.Put != nil, m.SetState != nil, m.Delete != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return core.Invalid("mutation", fmt.Sprintf("%d of Put, SetState and Delete", set), "set exactly one")
	}
	if err := m.Key().Validate(); err != nil {
		return err
	}
	if m.Put == nil {
		return nil
	}
	switch rec := m.Put.Record; {
	case rec.Generation.IsZero():
		return &core.FieldError{Field: "generation", Allowed: "it is empty; choose one with Generation.Next"}
	case len(rec.Body) > ports.MaxBodyBytes:
		return core.TooLarge("body", fmt.Sprintf("%d bytes", len(rec.Body)), fmt.Sprintf("use at most %d", ports.MaxBodyBytes))
	}
	return nil
}

// CheckSession refuses a session that no backend opens.
func CheckSession(spec ports.SessionSpec) error {
	if err := core.ValidateName("session", string(spec.ID)); err != nil {
		return err
	}
	if spec.TTL < MinSessionTTL {
		return core.Invalid("ttl", spec.TTL, "use at least 1s")
	}
	return nil
}

// CheckWatch refuses a watch of names that no service has.
func CheckWatch(req ports.WatchRequest) error {
	for _, service := range req.Services {
		if err := core.ValidateName("services", service); err != nil {
			return err
		}
	}
	return nil
}
