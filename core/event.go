package core

// event.go: what happened to whom, as subscribers and the history see it.

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// EventType names a kind of event.
type EventType string

// The kinds of event.
const (
	EventRegistered      EventType = "service_registered"
	EventUpdated         EventType = "service_updated"
	EventStatusChanged   EventType = "service_status_changed"
	EventDeregistered    EventType = "service_deregistered"
	EventExpired         EventType = "service_expired"
	EventLeaseSuperseded EventType = "lease_superseded"
	EventDegraded        EventType = "backend_degraded"
	EventRecovered       EventType = "backend_recovered"
	// EventDiscovered is accepted by name, as the module that Prism replaces had it, but never
	// published: discoveries are the metric service_discovery_discoveries_total.
	EventDiscovered EventType = "service_discovered"
)

// EventTypes lists every accepted name.
func EventTypes() []EventType {
	return []EventType{
		EventRegistered, EventUpdated, EventStatusChanged, EventDeregistered, EventExpired,
		EventLeaseSuperseded, EventDegraded, EventRecovered, EventDiscovered,
	}
}

// ParseEventType checks a name.
func ParseEventType(field, s string) (EventType, error) {
	if t := EventType(s); slices.Contains(EventTypes(), t) {
		return t, nil
	}
	names := make([]string, 0, 9)
	for _, t := range EventTypes() {
		names = append(names, string(t))
	}
	return "", Invalid(field, s, "use one of "+strings.Join(names, ", "))
}

// Cause says why something happened.
type Cause string

// The causes.
const (
	CauseRegistered   Cause = "registered"   // a new registration
	CauseTakeover     Cause = "takeover"     // a newer registration of the same id
	CauseUpdated      Cause = "updated"      // the owner changed its description
	CauseDeregistered Cause = "deregistered" // by its owner
	CauseOperator     Cause = "operator"     // by an operator
	CauseExpired      Cause = "expired"      // its session or ttl ran out
	CauseCritical     Cause = "critical"     // unhealthy for longer than deregister_after
	CauseCheck        Cause = "check"        // a check changed what is observed
	CauseOrphan       Cause = "orphan"       // a leftover record was cleaned up
	CauseOutage       Cause = "outage"       // the store, or the plugin before it, was out of reach
	CauseUnknown      Cause = "unknown"      // the store did not say
)

// Expires reports whether an absence with this cause is an expiry rather than somebody's act.
func (c Cause) Expires() bool { return c == CauseExpired || c == CauseUnknown }

// Event is one domain event. Cursors order the events of one host's life.
type Event struct {
	Cursor    string
	Time      time.Time
	Type      EventType
	Namespace string
	Service   string // empty for events of the backend
	ID        string
	OldStatus Status
	NewStatus Status
	Cause     Cause
	Actor     string
	Reason    string
	// Instance is the state after the event, or the last one before a removal. It is for Go
	// subscribers and is not part of the JSON form.
	Instance Instance
}

type eventJSON struct {
	Cursor    string    `json:"cursor"`
	Time      string    `json:"time"`
	Type      EventType `json:"type"`
	Namespace string    `json:"namespace"`
	Service   string    `json:"service"`
	ID        string    `json:"id"`
	OldStatus Status    `json:"old_status"`
	NewStatus Status    `json:"new_status"`
	Cause     Cause     `json:"cause"`
	Actor     string    `json:"actor"`
	Reason    string    `json:"reason"`
}

// MarshalJSON writes the public form.
func (e Event) MarshalJSON() ([]byte, error) {
	return json.Marshal(eventJSON{
		Cursor: e.Cursor, Time: FormatTime(e.Time), Type: e.Type, Namespace: e.Namespace, Service: e.Service, ID: e.ID,
		OldStatus: e.OldStatus, NewStatus: e.NewStatus, Cause: e.Cause, Actor: e.Actor, Reason: e.Reason,
	})
}

// UnmarshalJSON reads the public form.
func (e *Event) UnmarshalJSON(b []byte) error {
	var j eventJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, j.Time)
	if err != nil && j.Time != "" {
		return err
	}
	*e = Event{
		Cursor: j.Cursor, Time: at, Type: j.Type, Namespace: j.Namespace, Service: j.Service, ID: j.ID,
		OldStatus: j.OldStatus, NewStatus: j.NewStatus, Cause: j.Cause, Actor: j.Actor, Reason: j.Reason,
	}
	return nil
}
