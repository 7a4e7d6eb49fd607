package httpapi

// heartbeat.go: staying registered.

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/core"
)

// MaxLeases is how many heartbeats one request may carry.
const MaxLeases = 1000

type heartbeatsInput struct {
	RawBody []byte `contentType:"application/json"`
}

type leases struct {
	Leases []string `json:"leases" nullable:"false" minItems:"1" maxItems:"1000" doc:"lease.id of registrations."`
}

type heartbeatsOutput struct{ Body heartbeats }

type heartbeats struct {
	Results []heartbeat `json:"results" nullable:"false" doc:"In the order of the leases."`
}

type heartbeat struct {
	Lease string              `json:"lease"`
	State core.HeartbeatState `json:"state" enum:"renewed,expired,superseded,deregistered,unavailable,unknown" doc:"expired, unknown: register again. superseded, deregistered: stop. unavailable: the store is away; keep calm and go on."`
}

func (a *API) addHeartbeats() {
	add(a, huma.Operation{
		OperationID: "sendHeartbeats", Method: http.MethodPost, Path: "/v1/heartbeats", Tags: []string{tagRegistration},
		Summary:     "Stay registered",
		Description: "Any host of the same store takes any lease. Each has an answer of its own.",
	}, leases{}, a.heartbeats)
}

func (a *API) heartbeats(ctx context.Context, in *heartbeatsInput) (*heartbeatsOutput, error) {
	var body leases
	if err := decode(in.RawBody, &body); err != nil {
		return nil, err
	}
	if n := len(body.Leases); n == 0 || n > MaxLeases {
		return nil, core.Invalid("leases", strconv.Itoa(n)+" leases", "send 1–1,000")
	}
	out := &heartbeatsOutput{Body: heartbeats{Results: make([]heartbeat, 0, len(body.Leases))}}
	for _, r := range a.client.Heartbeat(ctx, body.Leases) {
		out.Body.Results = append(out.Body.Results, heartbeat{Lease: r.Lease, State: r.State})
	}
	return out, nil
}
