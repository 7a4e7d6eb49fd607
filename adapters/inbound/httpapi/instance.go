package httpapi

// instance.go: one instance: to see it, to remove it, to set its status, to check it, to
// report how a call to it went.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// maxCheck bounds a check on demand, so that it answers before callers give up: they wait 30 s.
const maxCheck = 25 * time.Second

// InstancePath is the part of a path that names an instance. It is exported, as are Choice and
// Page, because huma looks for parameters in exported fields only, embedded ones included.
type InstancePath struct {
	Service string `path:"service" doc:"1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit."`
	ID      string `path:"id" doc:"As for the service."`
}

func (in InstancePath) key() (core.Key, error) {
	key := core.Key{Service: in.Service, ID: in.ID}
	return key, key.Validate()
}

type getInput struct {
	InstancePath
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag; 304 when it is current."`
}

type instanceOutput struct {
	Status int
	ETag   string `header:"ETag" doc:"The revision, for If-Match and If-None-Match."`
	Body   shown
}

type deleteInput struct {
	InstancePath
	Reason  string `query:"reason" doc:"For the history."`
	Lease   string `header:"Prism-Lease" doc:"The owner's proof; without it this is an operator's act."`
	IfMatch string `header:"If-Match" doc:"The ETag that must be current, else 412."`
}

type statusInput struct {
	InstancePath
	Lease   string `header:"Prism-Lease" doc:"The owner's proof; without it this is an operator's act."`
	IfMatch string `header:"If-Match" doc:"The ETag that must be current, else 412."`
	RawBody []byte `contentType:"application/json"`
}

type statusBody struct {
	Status string `json:"status" enum:"up,healthy,unhealthy,starting,maintenance,stopping"`
	Reason string `json:"reason,omitempty" doc:"For people; shown with the instance and kept in the history."`
}

type checkOutput struct{ Body checkResult }

type checkResult struct {
	Healthy    bool    `json:"healthy"`
	StatusCode int     `json:"status_code" doc:"Of an HTTP check, else 0."`
	LatencyMS  float64 `json:"latency_ms"`
	Detail     string  `json:"detail" doc:"One sentence for people."`
}

type outcomeInput struct {
	InstancePath
	RawBody []byte `contentType:"application/json"`
}

type outcome struct {
	OK        *bool    `json:"ok" nullable:"false" doc:"Whether the call went well."`
	LatencyMS *float64 `json:"latency_ms,omitempty" nullable:"false" minimum:"0"`
}

func (a *API) addInstance() {
	add(a, huma.Operation{
		OperationID: "getInstance", Method: http.MethodGet, Path: instancePath, Tags: []string{tagDiscovery},
		Summary: "Show an instance",
		Responses: map[string]*huma.Response{"304": {
			Description: "The ETag in If-None-Match is current.",
		}},
	}, nil, a.get)
	add(a, huma.Operation{
		OperationID: "deregisterInstance", Method: http.MethodDelete, Path: instancePath, Tags: []string{tagRegistration},
		Summary: "Deregister an instance",
	}, nil, a.deregister)
	add(a, huma.Operation{
		OperationID: "setStatus", Method: http.MethodPut, Path: instancePath + "/status", Tags: []string{tagOperation},
		Summary:     "Set the status of an instance",
		Description: "maintenance and stopping take it out of traffic, up restores it. healthy and unhealthy hold until a check says otherwise. Nothing else of the instance changes.",
	}, statusBody{}, a.setStatus)
	add(a, huma.Operation{
		OperationID: "checkInstance", Method: http.MethodPost, Path: instancePath + "/check", Tags: []string{tagOperation},
		Summary:     "Check an instance's health now; this changes nothing",
		Description: "It waits as long as the check may take, at most 25 seconds.",
	}, nil, a.check)
	add(a, huma.Operation{
		OperationID: "reportOutcome", Method: http.MethodPost, Path: instancePath + "/outcome", Tags: []string{tagDiscovery},
		Summary: "Report how a call to an instance went", DefaultStatus: http.StatusNoContent,
	}, outcome{}, a.outcome)
}

func (a *API) get(_ context.Context, in *getInput) (*instanceOutput, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	found, _, err := a.client.Instance(key)
	if err != nil {
		return nil, err
	}
	out := &instanceOutput{Status: http.StatusOK, ETag: etag(found.Revision), Body: shown{found}}
	if found.Suspect { // which comes and goes without a revision of its own
		out.ETag = ""
	} else if noneMatch(in.IfNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
	}
	return out, nil
}

func (a *API) deregister(ctx context.Context, in *deleteInput) (*struct{}, error) {
	key, rev, err := guarded(in.InstancePath, in.Lease, in.IfMatch)
	if err != nil {
		return nil, err
	}
	return nil, a.client.Deregister(ctx, discovery.DeregisterRequest{Key: key, Lease: in.Lease, Reason: in.Reason, IfMatch: rev})
}

func (a *API) setStatus(ctx context.Context, in *statusInput) (*instanceOutput, error) {
	key, rev, err := guarded(in.InstancePath, in.Lease, in.IfMatch)
	if err != nil {
		return nil, err
	}
	var body statusBody
	if err := decode(in.RawBody, &body); err != nil {
		return nil, err
	}
	if _, _, err := core.ParseSettable("status", body.Status); err != nil {
		return nil, err
	}
	now, err := a.client.SetStatus(ctx, discovery.StatusRequest{
		Key: key, Status: body.Status, Reason: body.Reason, Lease: in.Lease, IfMatch: rev,
	})
	if err != nil {
		return nil, err
	}
	return &instanceOutput{Status: http.StatusOK, ETag: etag(now.Revision), Body: shown{now}}, nil
}

// guarded reads what a write to an existing instance is conditional on.
func guarded(in InstancePath, token, match string) (key core.Key, rev core.Revision, err error) {
	if key, err = in.key(); err != nil {
		return key, rev, err
	}
	if token != "" {
		if err := leaseOf(token, key); err != nil {
			return key, rev, err
		}
	}
	rev, err = ifMatch(match)
	return key, rev, err
}

func (a *API) check(ctx context.Context, in *InstancePath) (*checkOutput, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.liveFor(ctx, maxCheck)
	defer cancel()
	result, err := a.client.Check(ctx, key)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		result.Detail = fmt.Sprintf("no answer within %s, the most that a check on demand may take", maxCheck)
		result.Latency = maxCheck
	case err != nil:
		return nil, err
	}
	return &checkOutput{Body: checkResult{
		Healthy: result.Healthy, StatusCode: result.StatusCode, LatencyMS: milliseconds(result.Latency), Detail: result.Detail,
	}}, nil
}

func (a *API) outcome(_ context.Context, in *outcomeInput) (*struct{}, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	var body outcome
	if err := decode(in.RawBody, &body); err != nil {
		return nil, err
	}
	if body.OK == nil {
		return nil, &core.FieldError{Field: "ok", Allowed: "it is missing; use true or false"}
	}
	var latency time.Duration
	if body.LatencyMS != nil {
		const day = 24 * time.Hour
		if *body.LatencyMS < 0 || *body.LatencyMS > milliseconds(day) {
			return nil, core.Invalid("latency_ms", *body.LatencyMS, "use 0 to 86,400,000 milliseconds")
		}
		latency = time.Duration(*body.LatencyMS * float64(time.Millisecond))
	}
	return nil, a.client.ReportOutcome(key, *body.OK, latency)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
