package core

// errors.go: the kinds of failure that Prism knows. Each kind is one sentinel;
// errors.Is works on them across the plugin wire and the HTTP API alike.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The kinds of error. Every error that Prism returns to a caller wraps exactly one.
var (
	// ErrInvalid: the request can never succeed as it is (bad field, bad filter).
	ErrInvalid = errors.New("invalid argument")
	// ErrNotFound: no such service or instance.
	ErrNotFound = errors.New("not found")
	// ErrConflict: somebody else holds what the caller wanted to create or replace.
	ErrConflict = errors.New("conflict")
	// ErrPreconditionFailed: the revision given with If-Match is no longer current.
	ErrPreconditionFailed = errors.New("precondition failed")
	// ErrSuperseded: a newer registration owns the record; the lease is of no use any more.
	ErrSuperseded = errors.New("lease superseded")
	// ErrLeaseExpired: the lease ran out or is not known; register again.
	ErrLeaseExpired = errors.New("lease expired")
	// ErrDeregistered: the instance was deregistered by an operator or by its owner.
	ErrDeregistered = errors.New("instance deregistered")
	// ErrNoEligible: the service is known, but no instance may receive traffic.
	ErrNoEligible = errors.New("no eligible instance")
	// ErrUnavailable: the store or the plugin cannot be reached now; try again.
	ErrUnavailable = errors.New("backend unavailable")
	// ErrPermission: the caller, or Prism's account at the store, lacks the right.
	ErrPermission = errors.New("permission denied")
	// ErrUnauthenticated: no valid credentials were given.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrTooLarge: a size limit is exceeded.
	ErrTooLarge = errors.New("too large")
	// ErrUnsupported: the backend or this build cannot do that.
	ErrUnsupported = errors.New("unsupported")
	// ErrRateLimited: too many requests; try again later.
	ErrRateLimited = errors.New("rate limited")
	// ErrClosed: the client, host or backend was closed.
	ErrClosed = errors.New("closed")
)

// FieldError says which field was wrong, what was given, what is allowed and what to do.
// It is ErrInvalid unless Kind says otherwise.
type FieldError struct {
	Field   string // the field's name as the user wrote it, "check.interval"
	Given   string // what was given, shortened
	Allowed string // what is allowed, or what to do
	Kind    error  // nil means ErrInvalid
}

// Error implements error in one sentence.
func (e *FieldError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", e.Field)
	if e.Given != "" {
		fmt.Fprintf(&b, "%s is not allowed; ", e.Given)
	}
	b.WriteString(e.Allowed)
	return b.String()
}

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (e *FieldError) Unwrap() error {
	if e.Kind != nil {
		return e.Kind
	}
	return ErrInvalid
}

// Invalid returns a FieldError. Given is quoted and cut to a readable length.
func Invalid(field string, given any, allowed string) *FieldError {
	return &FieldError{Field: field, Given: quote(given), Allowed: allowed}
}

// TooLarge returns a FieldError of the kind ErrTooLarge.
func TooLarge(field, given, allowed string) *FieldError {
	return &FieldError{Field: field, Given: given, Allowed: allowed, Kind: ErrTooLarge}
}

func quote(v any) string {
	s, ok := v.(string)
	if !ok {
		return fmt.Sprint(v)
	}
	const limit = 60
	if len(s) > limit {
		cut := limit
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return fmt.Sprintf("%q… (%d bytes)", s[:cut], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// kinds names each kind as metrics and the HTTP API's problem documents do.
var kinds = []struct {
	err  error
	name string
}{
	{ErrInvalid, "invalid_argument"},
	{ErrNotFound, "not_found"},
	{ErrConflict, "conflict"},
	{ErrPreconditionFailed, "precondition_failed"},
	{ErrSuperseded, "lease_superseded"},
	{ErrLeaseExpired, "lease_expired"},
	{ErrDeregistered, "deregistered"},
	{ErrNoEligible, "no_eligible_instance"},
	{ErrTooLarge, "too_large"},
	{ErrPermission, "permission_denied"},
	{ErrUnauthenticated, "unauthenticated"},
	{ErrUnsupported, "unsupported"},
	{ErrRateLimited, "rate_limited"},
	{ErrClosed, "closed"},
	{ErrUnavailable, "unavailable"},
	// What the caller did, where it did nothing else wrong.
	{context.Canceled, "canceled"},
	{context.DeadlineExceeded, "deadline_exceeded"},
}

// Kind names the kind of an error: "ok" for nil, "unknown" for what wraps no kind.
func Kind(err error) string {
	if err == nil {
		return "ok"
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return "unknown"
}
