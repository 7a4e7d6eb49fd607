package problem

// codes.go: the one table of codes, statuses and the core's sentinels.

import (
	"context"
	"errors"
	"net/http"

	"github.com/marketprism/prism/core"
)

// Code is the stable name of a kind of error.
type Code string

// The codes.
const (
	CodeInvalid            Code = "invalid_argument"
	CodeUnauthenticated    Code = "unauthenticated"
	CodePermission         Code = "permission_denied"
	CodeNotFound           Code = "not_found"
	CodeConflict           Code = "conflict"
	CodeSuperseded         Code = "lease_superseded"
	CodeUnsupported        Code = "unsupported"
	CodeLeaseExpired       Code = "lease_expired"
	CodeDeregistered       Code = "deregistered"
	CodePreconditionFailed Code = "precondition_failed"
	CodeTooLarge           Code = "too_large"
	CodeRateLimited        Code = "rate_limited"
	CodeUnavailable        Code = "unavailable"
	CodeNoEligible         Code = "no_eligible_instance"
	// CodeMethodNotAllowed and CodeInternal stand for no sentinel.
	CodeMethodNotAllowed Code = "method_not_allowed"
	CodeInternal         Code = "internal"
)

type kind struct {
	code   Code
	status int
	err    error
}

// kinds is the table. Where several sentinels share a code, the first is what clients get.
var kinds = []kind{
	{CodeInvalid, http.StatusUnprocessableEntity, core.ErrInvalid},
	{CodeUnauthenticated, http.StatusUnauthorized, core.ErrUnauthenticated},
	{CodePermission, http.StatusForbidden, core.ErrPermission},
	{CodeNotFound, http.StatusNotFound, core.ErrNotFound},
	{CodeConflict, http.StatusConflict, core.ErrConflict},
	{CodeSuperseded, http.StatusConflict, core.ErrSuperseded},
	{CodeUnsupported, http.StatusConflict, core.ErrUnsupported},
	{CodeLeaseExpired, http.StatusGone, core.ErrLeaseExpired},
	{CodeDeregistered, http.StatusGone, core.ErrDeregistered},
	{CodePreconditionFailed, http.StatusPreconditionFailed, core.ErrPreconditionFailed},
	{CodeTooLarge, http.StatusRequestEntityTooLarge, core.ErrTooLarge},
	{CodeRateLimited, http.StatusTooManyRequests, core.ErrRateLimited},
	{CodeNoEligible, http.StatusServiceUnavailable, core.ErrNoEligible},
	{CodeUnavailable, http.StatusServiceUnavailable, core.ErrUnavailable},
	{CodeUnavailable, http.StatusServiceUnavailable, core.ErrClosed},
	// The host's own time to answer ran out, or it is shutting down.
	{CodeUnavailable, http.StatusServiceUnavailable, context.DeadlineExceeded},
	{CodeUnavailable, http.StatusServiceUnavailable, context.Canceled},
}

// Codes lists every code, for the API's description.
func Codes() []Code {
	out := []Code{}
	seen := map[Code]bool{}
	for _, k := range kinds {
		if !seen[k.code] {
			seen[k.code] = true
			out = append(out, k.code)
		}
	}
	return append(out, CodeMethodNotAllowed, CodeInternal)
}

// Sentinel is the core's error for a code; nil for a code that it has none for.
func (c Code) Sentinel() error {
	for _, k := range kinds {
		if k.code == c {
			return k.err
		}
	}
	return nil
}

func classify(err error) (kind, bool) {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k, true
		}
	}
	return kind{}, false
}
