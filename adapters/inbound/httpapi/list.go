package httpapi

// list.go: the lists of services and of a service's instances. They come from the local view
// and ask no store.
//
// A list of instances without a query is what many clients poll: it is encoded once for each
// snapshot and kept there, and an answer is a copy of those bytes with the freshness put at the end.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// Page is the part of a list to give.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" doc:"How many to give at most; all when left out."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before."`
}

// cut returns the bounds of a page within n things that are sorted by name, and the cursor of
// the next page, "" on the last. A cursor is the last name of its page, so that what comes and goes
// in between neither repeats nor hides anything else.
func (p Page) cut(n int, name func(int) string) (from, to int, next string, err error) {
	if p.Cursor != "" {
		if err := core.ValidateName("cursor", p.Cursor); err != nil {
			return 0, 0, "", core.Invalid("cursor", p.Cursor, "use the next_cursor of an earlier answer")
		}
		from = sort.Search(n, func(i int) bool { return name(i) > p.Cursor })
	}
	to = n
	if p.Limit > 0 && p.Limit < n-from {
		to = from + p.Limit
		next = name(to - 1)
	}
	return from, to, next, nil
}

type servicesOutput struct{ Body serviceList }

type serviceList struct {
	Services   []service `json:"services" nullable:"false"`
	NextCursor string    `json:"next_cursor" doc:"Empty on the last page."`
	Stale      bool      `json:"stale" doc:"For more than 5 s nothing has proved that this is current."`
	AgeMS      int64     `json:"age_ms" doc:"Milliseconds since the last proof."`
}

type service struct {
	Name      string `json:"name"`
	Instances int    `json:"instances"`
	Healthy   int    `json:"healthy"`
}

type instancesInput struct {
	Service string   `path:"service" doc:"1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit."`
	Status  []string `query:"status,explode" nullable:"false" doc:"Any of these: unknown, healthy, unhealthy, starting, maintenance, stopping."`
	Tag     []string `query:"tag,explode" nullable:"false" doc:"All of these."`
	Filter  string   `query:"filter" doc:"An expression of the filter language." example:"version == \"1.0.0\" && \"gateway\" in tags"`
	Page
}

type instancesOutput struct{ Body instanceList }

type instanceList struct {
	Instances  []shown `json:"instances" nullable:"false" doc:"By id."`
	NextCursor string  `json:"next_cursor" doc:"Empty on the last page."`
	Stale      bool    `json:"stale" doc:"For more than 5 s nothing has proved that this is current."`
	AgeMS      int64   `json:"age_ms" doc:"Milliseconds since the last proof."`
}

func (a *API) addLists() {
	add(a, huma.Operation{
		OperationID: "listServices", Method: http.MethodGet, Path: servicesPath, Tags: []string{tagDiscovery},
		Summary: "List the services that have instances",
	}, nil, a.services)
	add(a, huma.Operation{
		OperationID: "listInstances", Method: http.MethodGet, Path: instancesPath, Tags: []string{tagDiscovery},
		Summary: "List the instances of a service",
		Description: "All of them, whatever their status, unless the query says otherwise; none for an unknown service. " +
			"Without a query the answer has a weak ETag for If-None-Match.",
		Parameters: []*huma.Param{{
			Name: "If-None-Match", In: "header", Description: "Without a query: an ETag; 304 when it is current.",
			Schema: &huma.Schema{Type: huma.TypeString},
		}},
		Responses: map[string]*huma.Response{
			"200": {Headers: map[string]*huma.Param{"ETag": {
				Description: "Without a query.", Schema: &huma.Schema{Type: huma.TypeString},
			}}},
			"304": {Description: "The ETag in If-None-Match is current."},
		},
	}, nil, a.instances)
}

func (a *API) services(ctx context.Context, in *Page) (*servicesOutput, error) {
	all, fresh, err := a.client.Services(ctx)
	if err != nil {
		return nil, err
	}
	from, to, next, err := in.cut(len(all), func(i int) string { return all[i].Name })
	if err != nil {
		return nil, err
	}
	out := &servicesOutput{Body: serviceList{
		Services: make([]service, 0, to-from), NextCursor: next, Stale: fresh.Stale, AgeMS: fresh.Age.Milliseconds(),
	}}
	for _, s := range all[from:to] {
		out.Body.Services = append(out.Body.Services, service{Name: s.Name, Instances: s.Instances, Healthy: s.Healthy})
	}
	return out, nil
}

func (a *API) instances(ctx context.Context, in *instancesInput) (*instancesOutput, error) {
	if err := core.ValidateName("service", in.Service); err != nil {
		return nil, err
	}
	q, err := readQuery(in.Status, in.Tag, in.Filter)
	if err != nil {
		return nil, err
	}
	all, fresh, err := a.client.Instances(ctx, in.Service, q)
	if err != nil {
		return nil, err
	}
	from, to, next, err := in.cut(len(all), func(i int) string { return all[i].ID })
	if err != nil {
		return nil, err
	}
	return &instancesOutput{Body: instanceList{
		Instances: showAll(all[from:to]), NextCursor: next, Stale: fresh.Stale, AgeMS: fresh.Age.Milliseconds(),
	}}, nil
}

// readQuery reads what selects instances.
func readQuery(status, tags []string, filter string) (q discovery.Query, err error) {
	for _, s := range status {
		st, err := core.ParseStatus("status", s)
		if err != nil {
			return q, err
		}
		q.Status = append(q.Status, st)
	}
	for _, t := range tags {
		if err := core.ValidateName("tag", t); err != nil {
			return q, err
		}
	}
	q.Tags = tags
	q.Filter, err = core.ParseFilter(filter)
	return q, err
}

// encoded is the list of a snapshot without its end.
type encoded struct {
	head  []byte
	fresh []string // the entity tag
	stale []string // the same of what is marked as stale
	err   error
}

func encodeSnapshot(s *discovery.Snapshot) any {
	head := []byte(`{"instances":[`)
	for in := range s.All() {
		b, err := in.MarshalJSON()
		if err != nil {
			return &encoded{err: err}
		}
		if len(head) > len(`{"instances":[`) {
			head = append(head, ',')
		}
		head = append(head, b...)
	}
	sum := sha256.Sum256(head)
	head = append(head, `],"next_cursor":"","stale":`...)
	tag := `W/"` + base64.RawURLEncoding.EncodeToString(sum[:12])
	return &encoded{head: bytes.Clone(head), fresh: []string{tag + `"`}, stale: []string{tag + `-stale"`}}
}

var (
	jsonType = []string{"application/json"}
	buffers  = sync.Pool{New: func() any { return new([]byte) }}
)

// listFast answers a request without a query past huma; others go on to it.
func (a *API) listFast(next http.HandlerFunc) http.HandlerFunc {
	where := locator(http.MethodGet, instancesPath)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			next(w, r)
			return
		}
		name := r.PathValue("service")
		if err := core.ValidateName("service", name); err != nil {
			writeProblem(w, problem.From(err, where))
			return
		}
		snap, fresh, err := a.client.Snapshot(name)
		if err != nil {
			writeProblem(w, problem.From(err, where))
			return
		}
		list, ok := snap.Memo(encodeSnapshot).(*encoded)
		if !ok || list.err != nil {
			next(w, r) // it says what is wrong
			return
		}
		h := w.Header()
		etag := list.fresh
		if fresh.Stale {
			etag = list.stale
		}
		h["Etag"] = etag
		if match := r.Header["If-None-Match"]; len(match) > 0 && noneMatch(strings.Join(match, ","), etag[0]) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		buf, ok := buffers.Get().(*[]byte)
		if !ok {
			buf = new([]byte)
		}
		b := append((*buf)[:0], list.head...)
		b = strconv.AppendBool(b, fresh.Stale)
		b = append(b, `,"age_ms":`...)
		b = strconv.AppendInt(b, fresh.Age.Milliseconds(), 10)
		b = append(b, '}', '\n')
		h["Content-Type"] = jsonType
		h["Content-Length"] = []string{strconv.Itoa(len(b))}
		_, _ = w.Write(b) // a peer that is gone cannot be told
		if cap(b) <= maxBody {
			*buf = b
			buffers.Put(buf)
		}
	}
}
