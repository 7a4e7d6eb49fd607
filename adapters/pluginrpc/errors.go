package pluginrpc

// errors.go: how errors cross the wire. The table is the whole of it: an error becomes a gRPC
// status whose ErrorInfo names the sentinel, and comes back as an error that wraps the same one.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// ErrorDomain is the domain of the google.rpc.ErrorInfo that Prism's statuses carry.
const ErrorDomain = "prism"

// errorKind is one row of the table.
type errorKind struct {
	sentinel error
	code     codes.Code
	reason   string
}

// errorKinds is ordered: an error that wraps several sentinels crosses as the first of them, so
// that "unavailable: deadline exceeded" stays unavailable. backend.proto repeats the table.
var errorKinds = []errorKind{
	{ports.ErrInvalid, codes.InvalidArgument, "INVALID"},
	{ports.ErrNotFound, codes.NotFound, "NOT_FOUND"},
	{ports.ErrConflict, codes.AlreadyExists, "CONFLICT"},
	{ports.ErrSessionGone, codes.FailedPrecondition, "SESSION_GONE"},
	{ports.ErrContention, codes.Aborted, "CONTENTION"},
	{ports.ErrUnsupported, codes.Unimplemented, "UNSUPPORTED"},
	{ports.ErrPermission, codes.PermissionDenied, "PERMISSION"},
	{ports.ErrTooLarge, codes.ResourceExhausted, "TOO_LARGE"},
	{ports.ErrClosed, codes.FailedPrecondition, "CLOSED"},
	{ports.ErrUnavailable, codes.Unavailable, "UNAVAILABLE"},
	{context.Canceled, codes.Canceled, "CANCELED"},
	{context.DeadlineExceeded, codes.DeadlineExceeded, "DEADLINE"},
}

// Keys of ErrorInfo.metadata that carry a core.FieldError.
const (
	metaField   = "field"
	metaGiven   = "given"
	metaAllowed = "allowed"
)

// maxErrorText bounds the text of an error on the wire, in bytes.
const maxErrorText = 4 << 10

// toStatus translates a backend's error; nil gives nil. An error that wraps no sentinel breaks
// the contract, and its outcome is unknown: it crosses as ErrUnavailable.
func toStatus(err error) *spb.Status {
	if err == nil {
		return nil
	}
	kind := errorKind{ports.ErrUnavailable, codes.Unavailable, "UNAVAILABLE"}
	for _, k := range errorKinds {
		if errors.Is(err, k.sentinel) {
			kind = k
			break
		}
	}
	info := &errdetails.ErrorInfo{Domain: ErrorDomain, Reason: kind.reason}
	if fe, ok := errors.AsType[*core.FieldError](err); ok {
		info.Metadata = map[string]string{
			metaField: errorText(fe.Field), metaGiven: errorText(fe.Given), metaAllowed: errorText(fe.Allowed),
		}
	}
	st := &spb.Status{Code: int32(kind.code), Message: errorText(err.Error())}
	if detail, err := anypb.New(info); err == nil {
		st.Details = []*anypb.Any{detail}
	}
	return st
}

// rpcError is toStatus in the form that a gRPC handler returns.
func rpcError(err error) error { return status.FromProto(toStatus(err)).Err() }

// errorText makes a text fit for the wire: valid UTF-8 and not endless.
func errorText(s string) string {
	if len(s) > maxErrorText {
		cut := maxErrorText
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return text(s)
}

// wireError is an error from the other end: its text, and what it wraps there.
type wireError struct {
	text string
	kind error // a sentinel, or a *core.FieldError that wraps one
}

func (e *wireError) Error() string { return e.text }
func (e *wireError) Unwrap() error { return e.kind }

// fromCall translates what a call of the client returned. A status without ErrorInfo comes from
// gRPC itself or from a backend in another language, and is read by its code.
func fromCall(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("%w: %w", ports.ErrUnavailable, err)
	}
	if st.Code() == codes.Canceled && reasonOf(st) == nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		// gRPC also says so of a connection that was closed at this end.
		return fmt.Errorf("%w: %s", ports.ErrUnavailable, st.Message())
	}
	return fromStatus(st)
}

// fromStatus translates a status back into an error that wraps its sentinel.
func fromStatus(st *status.Status) error {
	if st.Code() == codes.OK {
		return nil
	}
	info := reasonOf(st)
	kind := kindOf(st.Code(), info)
	if field, ok := info.GetMetadata()[metaField]; ok {
		fe := &core.FieldError{Field: field, Given: info.Metadata[metaGiven], Allowed: info.Metadata[metaAllowed]}
		if !errors.Is(kind, core.ErrInvalid) {
			fe.Kind = kind
		}
		kind = fe
	}
	switch {
	case st.Message() == kind.Error():
		return kind
	case info == nil:
		return fmt.Errorf("%w: %s", kind, st.Message())
	default:
		return &wireError{text: st.Message(), kind: kind}
	}
}

// reasonOf returns the ErrorInfo of Prism's own, or nil.
func reasonOf(st *status.Status) *errdetails.ErrorInfo {
	for _, d := range st.Proto().GetDetails() {
		var info errdetails.ErrorInfo
		if d.MessageIs(&info) && d.UnmarshalTo(&info) == nil && info.Domain == ErrorDomain {
			return &info
		}
	}
	return nil
}

// kindOf finds the sentinel by reason, else by the first row with the code, else it is
// ErrUnavailable: nobody knows what happened.
func kindOf(code codes.Code, info *errdetails.ErrorInfo) error {
	for _, k := range errorKinds {
		if info.GetReason() == k.reason {
			return k.sentinel
		}
	}
	for _, k := range errorKinds {
		if code == k.code {
			return k.sentinel
		}
	}
	return ports.ErrUnavailable
}

// text replaces what is not UTF-8, which a protobuf string cannot hold.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
