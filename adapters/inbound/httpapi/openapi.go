package httpapi

// openapi.go: the API's description of itself, and a reader for it whose assets are embedded.

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/swaggest/swgui/v5emb"

	"github.com/marketprism/prism/adapters/client/problem"
)

const description = `Prism is service discovery with one behaviour over whichever registry a team already runs.

Errors are RFC 9457 problem documents with a stable ` + "`code`" + `. Malformed JSON is 400, well-formed requests that
cannot succeed are 422, and so are unknown fields and parameters. A lease answers ` + "`lease_expired`" + ` (410: register
again), ` + "`lease_superseded`" + ` (409: a newer registration owns the instance; stop) or ` + "`deregistered`" + ` (410:
somebody removed the instance; stop). Reads come from the host's view and go on while the store is away,
with ` + "`stale`" + ` and ` + "`age_ms`" + `.

Over loopback the Host header must name localhost, a loopback address or server.advertise, as a protection from DNS
rebinding, and browsers' requests from other origins change nothing. Bodies are at most 1 MiB.`

// The groups of operations.
const (
	tagRegistration = "registration"
	tagDiscovery    = "discovery"
	tagOperation    = "operation"
	tagEvents       = "events"
	tagHost         = "host"
)

var tags = []*huma.Tag{
	{Name: tagRegistration, Description: "Being found: register, update, stay, leave."},
	{Name: tagDiscovery, Description: "Finding: list, pick, explain, wait."},
	{Name: tagOperation, Description: "Operating: statuses and checks."},
	{Name: tagEvents, Description: "Following: events and instances, as they change."},
	{Name: tagHost, Description: "The host itself."},
}

// docsPolicy keeps the reader's page from asking anybody else for anything.
const docsPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'"

// schemaName names the schemas of types.
func schemaName(t reflect.Type, hint string) string {
	switch t {
	case reflect.TypeFor[problem.Error]():
		return "Problem"
	case reflect.TypeFor[problem.Field]():
		return "ProblemField"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

// strictSchemas are those of requests, in which an unknown field is an error.
var strictSchemas = []string{"Registration", "Endpoint", "Check", "StatusBody", "Outcome", "Leases"}

// addDescription completes the document, when all operations are known. It is written when it
// is first asked for: that takes longer than all else that New does.
func (a *API) addDescription() {
	doc := a.huma.OpenAPI()
	schemas := doc.Components.Schemas.Map()
	// huma's own errors never leave this host.
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	for name, schema := range schemas { // answers may get more fields; requests are read strictly
		if schema.Type == huma.TypeObject && !slices.Contains(strictSchemas, name) {
			schema.AdditionalProperties = true
		}
	}
	for _, c := range problem.Codes() {
		schemas["Problem"].Properties["code"].Enum = append(schemas["Problem"].Properties["code"].Enum, string(c))
	}
	if put := doc.Paths[instancePath].Put; put != nil {
		put.Responses["200"].Headers = put.Responses["201"].Headers
	}
	a.mux.HandleFunc("GET /openapi.json", a.written("application/openapi+json", func() ([]byte, error) { return json.Marshal(doc) }))
	a.mux.HandleFunc("GET /openapi.yaml", a.written("application/openapi+yaml", doc.YAML))

	reader := v5emb.New("Prism", "/openapi.json", "/docs/")
	docs := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		reader.ServeHTTP(w, r)
	}
	a.mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound)) // what people open first
	a.mux.HandleFunc("GET /docs", docs)
	a.mux.HandleFunc("GET /docs/", docs)
}

// written answers with a document that is written once.
func (a *API) written(contentType string, write func() ([]byte, error)) http.HandlerFunc {
	write = sync.OnceValues(write)
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := write()
		if err != nil {
			writeProblem(w, problem.From(a.failure(r.Context(), "openapi", err, nil), nil))
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // a peer that is gone cannot be told
	}
}
