// Package problem holds the form in which errors cross Prism's HTTP API: RFC 9457 problem
// documents with a stable code. The host writes them and the client reads them, from one
// table, so that errors.Is and errors.As give the same answer on both sides.
package problem

import (
	"errors"
	"net/http"
	"strings"

	"github.com/marketprism/prism/core"
)

// ContentType is the media type of an Error (RFC 9457, section 6.1).
const ContentType = "application/problem+json"

// Error is one error as a problem document. It unwraps to the core's sentinel of its code
// and to a core.FieldError for each field at fault.
type Error struct {
	Type   string  `json:"type" doc:"Always about:blank: the kind of error is told by the code." example:"about:blank"`
	Title  string  `json:"title" doc:"The phrase of the HTTP status." example:"Unprocessable Entity"`
	Status int     `json:"status" doc:"The HTTP status." example:"422"`
	Code   Code    `json:"code" doc:"The kind of error; stable, for programs."`
	Detail string  `json:"detail" doc:"One sentence for people: what was wrong and what to do." example:"port: 0 is not allowed; use 1–65535"`
	Errors []Field `json:"errors,omitempty" nullable:"false" doc:"The fields at fault."`
}

// Field says what is wrong with one part of a request.
type Field struct {
	Location string `json:"location" doc:"Where it stands: body.port, path.service, query.filter, header.If-Match." example:"body.port"`
	Message  string `json:"message" doc:"What is allowed, or what to do." example:"use 1–65535"`
	Value    string `json:"value" doc:"What was given, shortened; empty when there was nothing." example:"0"`
}

// New returns the Error of a code with a status of its own, for what no sentinel stands for.
func New(code Code, status int, detail string, fields ...Field) *Error {
	return &Error{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail, Errors: fields}
}

// From translates an error. Locate says where a field of the request stands; nil leaves its
// name as it is. An error of no known kind becomes CodeInternal without its text, which may
// show internals.
func From(err error, locate func(field string) string) *Error {
	if d, ok := errors.AsType[*Error](err); ok {
		return d
	}
	k, known := classify(err)
	if !known {
		return New(CodeInternal, http.StatusInternalServerError, "the host failed; its log says more")
	}
	d := New(k.code, k.status, err.Error())
	if fe, ok := errors.AsType[*core.FieldError](err); ok {
		at := fe.Field
		if locate != nil {
			at = locate(at)
		}
		d.Errors = []Field{{Location: at, Message: fe.Allowed, Value: fe.Given}}
	}
	return d
}

// Error is the detail, or what there is instead.
func (d *Error) Error() string {
	if d.Detail != "" {
		return d.Detail
	}
	return strings.TrimSpace(string(d.Code) + " " + http.StatusText(d.Status))
}

// Unwrap gives the sentinel of the code and the fields at fault.
func (d *Error) Unwrap() []error {
	kind := d.Code.Sentinel()
	if kind == nil {
		return nil
	}
	out := []error{kind}
	for _, f := range d.Errors {
		out = append(out, &core.FieldError{Field: bare(f.Location), Given: f.Value, Allowed: f.Message, Kind: kind})
	}
	return out
}

// bare takes the part of the request off a location: "body.check.path" is "check.path".
func bare(location string) string {
	part, field, found := strings.Cut(location, ".")
	switch part {
	case "body", "path", "query", "header":
		if found {
			return field
		}
	}
	return location
}

// GetStatus is the HTTP status, for web frameworks.
func (d *Error) GetStatus() int { return d.Status }

// ContentType is the media type to send an Error with, for web frameworks.
func (d *Error) ContentType(string) string { return ContentType }
