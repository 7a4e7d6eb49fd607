package discovery

// alias.go: the model's types under one roof, so that programs import one package.

import (
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/events"
	"github.com/marketprism/prism/core/registry"
	"github.com/marketprism/prism/ports"
)

// The model; see package core.
type (
	Instance       = core.Instance
	Spec           = core.Spec
	HealthCheck    = core.Check
	Endpoint       = core.Endpoint
	Key            = core.Key
	Metadata       = core.Metadata
	Filter         = core.Filter
	Revision       = core.Revision
	InstanceStatus = core.Status
	FieldError     = core.FieldError
	Event          = core.Event
	EventType      = core.EventType
	HeartbeatState = core.HeartbeatState
	ProbeResult    = ports.ProbeResult
)

// What the registry is asked and answers; see package registry.
type (
	RegisterRequest   = registry.RegisterRequest
	Registered        = registry.Registered
	UpdateRequest     = registry.UpdateRequest
	DeregisterRequest = registry.DeregisterRequest
	StatusRequest     = registry.StatusRequest
	HeartbeatResult   = registry.HeartbeatResult
	Freshness         = registry.Freshness
	Snapshot          = registry.Snapshot
	Status            = registry.Status
)

// Events; see package events.
type (
	Subscription     = events.Subscription
	SubscribeOptions = events.SubscribeOptions
	EventItem        = events.Item
	HistoryQuery     = events.HistoryQuery
)

// The kinds of error; every error wraps exactly one. See package core.
var (
	ErrInvalid            = core.ErrInvalid
	ErrNotFound           = core.ErrNotFound
	ErrConflict           = core.ErrConflict
	ErrPreconditionFailed = core.ErrPreconditionFailed
	ErrSuperseded         = core.ErrSuperseded
	ErrLeaseExpired       = core.ErrLeaseExpired
	ErrDeregistered       = core.ErrDeregistered
	ErrNoEligible         = core.ErrNoEligible
	ErrUnavailable        = core.ErrUnavailable
	ErrPermission         = core.ErrPermission
	ErrTooLarge           = core.ErrTooLarge
	ErrUnsupported        = core.ErrUnsupported
	ErrClosed             = core.ErrClosed
)

// ParseFilter compiles a filter expression; see core.ParseFilter.
func ParseFilter(source string) (Filter, error) { return core.ParseFilter(source) }

// NewMetadata encodes a Go map or struct; see core.NewMetadata.
func NewMetadata(v any) (Metadata, error) { return core.NewMetadata(v) }

// MustMetadata is NewMetadata for values known to be right.
func MustMetadata(v any) Metadata { return core.MustMetadata(v) }
