package core

// status.go: an instance's state is two facts, what its owner or an operator declared
// and what checks observed; the status that is shown follows from both.

import "time"

// Declared is what the owner or an operator says of an instance.
type Declared string

// The declared states.
const (
	DeclaredUp          Declared = "up"
	DeclaredStarting    Declared = "starting"
	DeclaredMaintenance Declared = "maintenance"
	DeclaredStopping    Declared = "stopping"
)

// Observed is what checks found.
type Observed string

// The observed states.
const (
	ObservedUnknown   Observed = "unknown"
	ObservedHealthy   Observed = "healthy"
	ObservedUnhealthy Observed = "unhealthy"
)

// Status is what people see: the declared state unless it is "up", then the observed one.
type Status string

// The statuses that are shown. "up" is accepted when a status is set, and never shown.
const (
	StatusUnknown     Status = "unknown"
	StatusHealthy     Status = "healthy"
	StatusUnhealthy   Status = "unhealthy"
	StatusStarting    Status = "starting"
	StatusMaintenance Status = "maintenance"
	StatusStopping    Status = "stopping"
	StatusUp          Status = "up"
)

const statusRule = "use up, healthy, unhealthy, starting, maintenance or stopping"

// State is the stored form of a status: both facts, and who declared what and why.
type State struct {
	Declared Declared
	Observed Observed
	// ByOperator is true when the declared state was set without the instance's lease; such a
	// maintenance survives a new registration.
	ByOperator bool
	// Actor says who set it last: "owner", "operator", "check" or a token's name.
	Actor  string
	Reason string
	// Streak counts consecutive check results: positive passes, negative failures, no further
	// than what decides. Whoever adopts the instance goes on from it. A change of Streak alone
	// is no event.
	Streak int
	// ChangedAt is when declared or observed last changed, for people; it is never compared.
	ChangedAt time.Time
}

// Status derives what is shown.
func (s State) Status() Status {
	switch s.Declared {
	case DeclaredStarting, DeclaredMaintenance, DeclaredStopping:
		return Status(s.Declared)
	case DeclaredUp:
	}
	if s.Observed == "" {
		return StatusUnknown
	}
	return Status(s.Observed)
}

// Drained reports whether an operator has it in maintenance, which its owner does not lift.
func (s State) Drained() bool { return s.ByOperator && s.Declared == DeclaredMaintenance }

// Same reports whether both facts are equal, whoever set them.
func (s State) Same(o State) bool { return s.Declared == o.Declared && s.Observed == o.Observed }

// Valid reports whether both facts are known values.
func (s State) Valid() bool {
	switch s.Declared {
	case DeclaredUp, DeclaredStarting, DeclaredMaintenance, DeclaredStopping:
	default:
		return false
	}
	switch s.Observed {
	case ObservedUnknown, ObservedHealthy, ObservedUnhealthy:
		return true
	default:
		return false
	}
}

// ParseSettable translates a status that somebody sets into the two facts. A nil fact is
// left as it is: "maintenance" keeps what checks observed, "up" likewise.
func ParseSettable(field, status string) (declared Declared, observed *Observed, err error) {
	healthy, unhealthy := ObservedHealthy, ObservedUnhealthy
	switch Status(status) {
	case StatusUp:
		return DeclaredUp, nil, nil
	case StatusHealthy:
		return DeclaredUp, &healthy, nil
	case StatusUnhealthy:
		return DeclaredUp, &unhealthy, nil
	case StatusStarting, StatusMaintenance, StatusStopping:
		return Declared(status), nil, nil
	case StatusUnknown:
		return "", nil, Invalid(field, status, "it is what checks have not decided yet and cannot be set; "+statusRule)
	default:
		return "", nil, Invalid(field, status, statusRule)
	}
}

// ParseStatus checks a status that is filtered by.
func ParseStatus(field, status string) (Status, error) {
	switch s := Status(status); s {
	case StatusUnknown, StatusHealthy, StatusUnhealthy, StatusStarting, StatusMaintenance, StatusStopping:
		return s, nil
	case StatusUp:
	}
	return "", Invalid(field, status, "use unknown, healthy, unhealthy, starting, maintenance or stopping")
}
