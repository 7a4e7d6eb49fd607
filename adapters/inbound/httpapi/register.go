package httpapi

// register.go: becoming an instance, and changing what one is.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

const (
	servicesPath  = "/v1/services"
	servicePath   = servicesPath + "/{service}"
	instancesPath = servicePath + "/instances"
	instancePath  = instancesPath + "/{id}"

	leaseHeader = "Prism-Lease"
)

// caller learns the peer's address from huma.
type caller struct{ host string }

// Resolve implements huma.Resolver.
func (c *caller) Resolve(ctx huma.Context) []error {
	c.host = peerHost(ctx.RemoteAddr())
	return nil
}

type registerInput struct {
	Caller      caller
	Service     string `path:"service" doc:"1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit."`
	IfMatch     string `header:"If-Match" hidden:"true"`
	IfNoneMatch string `header:"If-None-Match" doc:"Only *: register only where there is no such instance, else 412."`
	RawBody     []byte `contentType:"application/json"`
}

type putInput struct {
	Caller      caller
	Service     string `path:"service" doc:"1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit."`
	ID          string `path:"id" doc:"As for the service."`
	Lease       string `header:"Prism-Lease" doc:"The lease of this very instance: makes this an update."`
	IfMatch     string `header:"If-Match" doc:"With a lease: the ETag that must be current, else 412."`
	IfNoneMatch string `header:"If-None-Match" doc:"Only *: register only where there is no such instance, else 412."`
	RawBody     []byte `contentType:"application/json"`
}

type registerOutput struct {
	Status       int
	Location     string `header:"Location" doc:"The path of the instance."`
	ETag         string `header:"ETag" doc:"The revision, for If-Match."`
	CacheControl string `header:"Cache-Control"`
	Body         registered
}

type registered struct {
	Instance shown    `json:"instance"`
	Lease    lease    `json:"lease"`
	Warnings []string `json:"warnings" nullable:"false" doc:"Sentences for people."`
}

type lease struct {
	ID         string         `json:"id" doc:"A secret, and opaque: for heartbeats and the Prism-Lease header, at any host of the same store."`
	TTLSeconds float64        `json:"ttl_seconds" doc:"Send a heartbeat well within this time, unless keepalive is auto."`
	Keepalive  core.Keepalive `json:"keepalive" enum:"auto,client"`
}

func (a *API) addRegistration() {
	add(a, huma.Operation{
		OperationID: "registerInstance", Method: http.MethodPost, Path: instancesPath, Tags: []string{tagRegistration},
		Summary:       "Register an instance",
		Description:   "The newest registration of an id owns it: an earlier one is superseded, and its holder is told. With create_only it is refused instead (409).",
		DefaultStatus: http.StatusCreated,
	}, registration{}, a.register)
	add(a, huma.Operation{
		OperationID: "putInstance", Method: http.MethodPut, Path: instancePath, Tags: []string{tagRegistration},
		Summary:       "Register or update an instance by id",
		Description:   "Without Prism-Lease a registration: 201, new or taken over. With it an update: 200; it replaces everything but the status.",
		DefaultStatus: http.StatusCreated,
		Responses: map[string]*huma.Response{"200": {
			Description: "Updated.",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: a.schema(registered{})}},
		}},
	}, registration{}, a.put)
}

func (a *API) register(ctx context.Context, in *registerInput) (*registerOutput, error) {
	spec, err := readSpec(in.RawBody, in.Service, "")
	if err != nil {
		return nil, err
	}
	return a.registerIf(ctx, spec, in.Caller, in.IfMatch, in.IfNoneMatch)
}

func (a *API) put(ctx context.Context, in *putInput) (*registerOutput, error) {
	spec, err := readSpec(in.RawBody, in.Service, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Lease != "" {
		return a.update(ctx, spec, in)
	}
	return a.registerIf(ctx, spec, in.Caller, in.IfMatch, in.IfNoneMatch)
}

// registerIf registers on the conditions of RFC 9110, section 13.
func (a *API) registerIf(ctx context.Context, spec core.Spec, from caller, match, noneMatch string) (*registerOutput, error) {
	if match != "" {
		return nil, core.Invalid("If-Match", match, "a registration replaces whatever is there; send "+leaseHeader+" to update, or If-None-Match: * to create only")
	}
	switch noneMatch {
	case "":
		return a.registerSpec(ctx, spec, from)
	case "*":
		spec.CreateOnly = true
		out, err := a.registerSpec(ctx, spec, from)
		if errors.Is(err, core.ErrConflict) {
			err = fmt.Errorf("%w: If-None-Match: the instance of %s is registered already", core.ErrPreconditionFailed, spec.Service)
		}
		return out, err
	default:
		return nil, core.Invalid("If-None-Match", noneMatch, "use * or leave it out")
	}
}

// readSpec reads the body of a registration for the names in the path.
func readSpec(body []byte, service, id string) (spec core.Spec, err error) {
	if err := core.ValidateName("service", service); err != nil {
		return spec, err
	}
	if id != "" {
		if err := core.ValidateName("id", id); err != nil {
			return spec, err
		}
	}
	if err := decode(body, &spec); err != nil {
		return spec, err
	}
	if spec.Service != "" && spec.Service != service {
		return spec, core.Invalid("service", spec.Service, "the path says "+service+"; leave it out of the body")
	}
	if id != "" && spec.ID != "" && spec.ID != id {
		return spec, core.Invalid("id", spec.ID, "the path says "+id+"; leave it out of the body")
	}
	spec.Service = service
	if id != "" {
		spec.ID = id
	}
	return spec, nil
}

func (a *API) callerHost(c caller) string {
	if a.o.Advertise != "" {
		return a.o.Advertise
	}
	return c.host
}

func (a *API) registerSpec(ctx context.Context, spec core.Spec, c caller) (*registerOutput, error) {
	r, err := a.client.RegisterInstance(ctx, discovery.RegisterRequest{
		Spec: spec, CallerHost: a.callerHost(c), Keepalive: core.KeepaliveClient,
	})
	if err != nil {
		return nil, err
	}
	return answerRegistered(r, http.StatusCreated), nil
}

func (a *API) update(ctx context.Context, spec core.Spec, in *putInput) (*registerOutput, error) {
	if spec.CreateOnly {
		return nil, core.Invalid("create_only", true, "with "+leaseHeader+" this is an update; leave it out")
	}
	if in.IfNoneMatch != "" {
		return nil, core.Invalid("If-None-Match", in.IfNoneMatch, "with "+leaseHeader+" this is an update; use If-Match")
	}
	if err := leaseOf(in.Lease, core.Key{Service: in.Service, ID: in.ID}); err != nil {
		return nil, err
	}
	rev, err := ifMatch(in.IfMatch)
	if err != nil {
		return nil, err
	}
	r, err := a.client.UpdateInstance(ctx, discovery.UpdateRequest{
		Lease: in.Lease, Spec: spec, CallerHost: a.callerHost(in.Caller), IfMatch: rev,
	})
	if err != nil {
		return nil, err
	}
	r.Lease = in.Lease
	if spec.Status != "" {
		r.Warnings = append(r.Warnings, "status: an update leaves it alone; set it with PUT "+instanceURL(r.Instance)+"/status")
	}
	return answerRegistered(r, http.StatusOK), nil
}

func answerRegistered(r discovery.Registered, status int) *registerOutput {
	in := r.Instance
	return &registerOutput{
		Status: status, Location: instanceURL(in), ETag: etag(in.Revision),
		CacheControl: "no-store", // there is a secret in it
		Body: registered{
			Instance: shown{in}, Warnings: append([]string{}, r.Warnings...),
			Lease: lease{ID: r.Lease, TTLSeconds: in.TTL.Seconds(), Keepalive: in.Keepalive},
		},
	}
}

func instanceURL(in core.Instance) string {
	return servicesPath + "/" + url.PathEscape(in.Service) + "/instances/" + url.PathEscape(in.ID)
}

// leaseOf checks that a lease is of the instance that the path names; whether it is good is
// the facade's to say. The error never shows the lease.
func leaseOf(token string, key core.Key) error {
	l, err := core.ParseLease(token)
	if err != nil {
		if fe, ok := errors.AsType[*core.FieldError](err); ok {
			fe.Field = leaseHeader
		}
		return err
	}
	if l.Key != key {
		return core.Invalid(leaseHeader, l.String(), "it is of another instance than the path's "+key.String())
	}
	return nil
}
