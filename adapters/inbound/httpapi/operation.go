package httpapi

// operation.go: how a route becomes an operation of the OpenAPI document and of the mux, with
// one way of reading bodies and of reporting errors.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
)

const schemaPrefix = "#/components/schemas/"

// newHuma makes huma without what it would add by itself: its documentation page loads
// scripts from elsewhere, and its answers would carry links to schemas.
func newHuma(a *API) huma.API {
	return humago.New(shortcuts{ServeMux: a.mux, api: a}, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "Prism", Version: a.o.Version, Description: description},
			Components: &huma.Components{Schemas: huma.NewMapRegistry(schemaPrefix, schemaName)},
			Tags:       tags,
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{translateHuma},
		// A misspelt parameter would silently give too much.
		RejectUnknownQueryParameters: true,
	})
}

// shortcuts is the mux that huma registers with; it puts the short way to the list of
// instances in front of huma's.
type shortcuts struct {
	*http.ServeMux
	api *API
}

// HandleFunc implements humago.Mux.
func (s shortcuts) HandleFunc(pattern string, handle func(http.ResponseWriter, *http.Request)) {
	if pattern == "GET "+instancesPath {
		handle = s.api.listFast(handle)
	}
	s.ServeMux.HandleFunc(pattern, handle)
}

// add registers an operation. Body is the type that documents the request's body, nil for
// none; the handler gets the raw bytes, see decode.
func add[I, O any](a *API, op huma.Operation, body any, handle func(context.Context, *I) (*O, error)) {
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem document (RFC 9457).",
		Content:     map[string]*huma.MediaType{problem.ContentType: {Schema: a.schema(problem.Error{})}},
	}
	// The guard has read and limited the body, and bodies are checked by what reads them.
	op.MaxBodyBytes, op.BodyReadTimeout, op.SkipValidateBody = -1, -1, true
	if body != nil {
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	}
	where := locator(op.Method, op.Path)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, a.failure(ctx, op.OperationID, err, where)
		}
		return out, nil
	})
	if body != nil {
		op.RequestBody.Content["application/json"].Schema = a.schema(body)
	}
}

// schema gives the schema of a value's type, by reference where it has a name.
func (a *API) schema(v any) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}

// failure turns an error into the problem document that is sent, and logs what the caller is
// not told.
func (a *API) failure(ctx context.Context, operation string, err error, where func(string) string) error {
	d := problem.From(err, where)
	if d.Code == problem.CodeInternal && ctx.Err() == nil {
		a.logger.Error("a request failed", slog.String("operation", operation), slog.Any("error", err))
	}
	if h := problemHeaders(d); h != nil {
		return huma.ErrorWithHeaders(d, h)
	}
	return d
}

// unknownQuery is how huma words a query parameter that an operation does not have.
const unknownQuery = "unknown query parameter"

// queryRule says which query parameters an operation takes.
func queryRule(op *huma.Operation) string {
	var names []string
	for _, p := range op.Parameters {
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return "there is no such parameter; this takes none"
	}
	return "there is no such parameter; use " + strings.Join(names, ", ")
}

// translateHuma gives huma's own errors, about parameters, the form of all others.
func translateHuma(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code := problem.CodeInvalid
	if m.Status >= http.StatusInternalServerError {
		return problem.New(problem.CodeInternal, m.Status, "the host failed; its log says more"), nil
	}
	if len(m.Errors) == 0 && m.Status == http.StatusBadRequest { // what huma reads of a body is whether there is one
		return malformed("it is empty; send a JSON object"), nil
	}
	d := problem.New(code, m.Status, m.Detail)
	for i, e := range m.Errors {
		f := problem.Field{Location: e.Location, Message: inOurWords(e.Message)}
		switch {
		case e.Message == unknownQuery:
			f.Message = queryRule(ctx.Operation())
		case e.Value != nil && e.Value != "":
			f.Value = core.Invalid("", e.Value, "").Given
		}
		d.Errors = append(d.Errors, f)
		if i == 0 {
			_, name, _ := strings.Cut(f.Location, ".")
			d.Detail = (&core.FieldError{Field: name, Given: f.Value, Allowed: f.Message}).Error()
		}
	}
	return d, nil
}

// inOurWords says what is allowed, where huma says what is wrong.
func inOurWords(message string) string {
	if least, found := strings.CutPrefix(message, "expected number >= "); found {
		return "use " + least + " or more"
	}
	if most, found := strings.CutPrefix(message, "expected number <= "); found {
		return "use at most " + most
	}
	if message == "invalid integer" {
		return "use a whole number"
	}
	return message
}

// locator says where in a request the fields of errors stand.
func locator(method, path string) func(field string) string {
	rest := "body."
	if method == http.MethodGet || method == http.MethodDelete {
		rest = "query."
	}
	return func(field string) string {
		switch {
		case strings.Contains(path, "{"+field+"}"):
			return "path." + field
		case field == leaseHeader, strings.HasPrefix(field, "If-"):
			return "header." + field
		case field == "body":
			return field
		default:
			return rest + field
		}
	}
}

// malformed is the problem of a body that is no JSON.
func malformed(why string) *problem.Error {
	why = "it is not valid JSON: " + why
	return problem.New(problem.CodeInvalid, http.StatusBadRequest, "body: "+why, problem.Field{Location: "body", Message: why})
}

// decode reads a JSON body. What is not JSON is a problem of status 400, what does not
// fit is a core.FieldError.
func decode(body []byte, into any) error {
	var whole json.RawMessage
	switch err := json.Unmarshal(body, &whole); {
	case len(bytes.TrimSpace(body)) == 0:
		return malformed("it is empty; send a JSON object")
	case err != nil:
		if se, ok := errors.AsType[*json.SyntaxError](err); ok {
			return malformed(fmt.Sprintf("%s, at byte %d", se, se.Offset))
		}
		return malformed(err.Error())
	case !utf8.Valid(body):
		return malformed("it is not UTF-8")
	}
	return core.DecodeStrict("", body, into)
}
