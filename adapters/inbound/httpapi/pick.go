package httpapi

// pick.go: choosing an instance, saying why, and waiting until there is one.

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/core/discovery"
)

// Choice is what limits whom to choose.
type Choice struct {
	Service  string `path:"service" doc:"1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit."`
	Policy   string `query:"policy" doc:"How to balance; default the host's." example:"weighted_round_robin"`
	Key      string `query:"key" doc:"For policies that send equal keys to the same instance."`
	Filter   string `query:"filter" doc:"An expression of the filter language: only instances that it selects."`
	Endpoint string `query:"endpoint" doc:"The name of a further endpoint: only instances that have it, and the url is of it. Default the primary one."`
}

type pickOutput struct{ Body picked }

type picked struct {
	Instance shown  `json:"instance"`
	URL      string `json:"url" example:"http://10.0.0.7:8080"`
	Stale    bool   `json:"stale" doc:"For more than 5 s nothing has proved that this is current."`
}

type explainOutput struct{ Body explanations }

type explanations struct {
	Instances []explanation `json:"instances" nullable:"false"`
}

type explanation struct {
	ID       string  `json:"id"`
	Eligible bool    `json:"eligible"`
	Reason   string  `json:"reason" doc:"Why it is not, or in what rank it is."`
	Share    float64 `json:"share" doc:"Of the traffic, 0 to 1."`
}

type waitInput struct {
	Service string `path:"service" doc:"1–128 of a-z A-Z 0-9 . _ -, the first a letter or digit."`
	Min     int    `query:"min" minimum:"1" maximum:"100000" default:"1" doc:"How many eligible instances to wait for."`
	Timeout string `query:"timeout" default:"30s" doc:"0 to 300 seconds, as a number or as 30s."`
}

type waitOutput struct{ Body waited }

type waited struct {
	Satisfied bool    `json:"satisfied" doc:"False when the time ran out first."`
	Instances []shown `json:"instances" nullable:"false" doc:"The eligible ones."`
}

const maxWait = 300 * time.Second

func (a *API) addPicking() {
	add(a, huma.Operation{
		OperationID: "pickInstance", Method: http.MethodGet, Path: servicePath + "/pick", Tags: []string{tagDiscovery},
		Summary:     "Choose an instance to call",
		Description: "not_found: there is no such service; no_eligible_instance: none of its instances may get traffic.",
	}, nil, a.pick)
	add(a, huma.Operation{
		OperationID: "explainPick", Method: http.MethodGet, Path: servicePath + "/explain", Tags: []string{tagDiscovery},
		Summary: "Say of each instance whether it may be picked, why, and its share",
	}, nil, a.explain)
	add(a, huma.Operation{
		OperationID: "waitForService", Method: http.MethodGet, Path: servicePath + "/wait", Tags: []string{tagDiscovery},
		Summary: "Wait until a service has enough eligible instances",
	}, nil, a.wait)
}

func (in Choice) options() (o discovery.PickOptions, err error) {
	if err := core.ValidateName("service", in.Service); err != nil {
		return o, err
	}
	o.Policy, o.Key, o.Endpoint = in.Policy, in.Key, in.Endpoint
	o.Filter, err = core.ParseFilter(in.Filter)
	return o, err
}

func (a *API) pick(ctx context.Context, in *Choice) (*pickOutput, error) {
	o, err := in.options()
	if err != nil {
		return nil, err
	}
	p, err := a.client.Pick(ctx, in.Service, o)
	if err != nil {
		return nil, err
	}
	return &pickOutput{Body: picked{Instance: shown{p.Instance}, URL: p.URL, Stale: p.Freshness.Stale}}, nil
}

func (a *API) explain(ctx context.Context, in *Choice) (*explainOutput, error) {
	o, err := in.options()
	if err != nil {
		return nil, err
	}
	all, err := a.client.Explain(ctx, in.Service, o)
	if err != nil {
		return nil, err
	}
	out := &explainOutput{Body: explanations{Instances: make([]explanation, 0, len(all))}}
	for _, e := range all {
		out.Body.Instances = append(out.Body.Instances, explanation{ID: e.ID, Eligible: e.Eligible, Reason: e.Reason, Share: e.Share})
	}
	return out, nil
}

func (a *API) wait(ctx context.Context, in *waitInput) (*waitOutput, error) {
	if err := core.ValidateName("service", in.Service); err != nil {
		return nil, err
	}
	timeout, err := core.ParseDuration("timeout", in.Timeout)
	if err != nil {
		return nil, err
	}
	if timeout < 0 || timeout > maxWait {
		return nil, core.Invalid("timeout", in.Timeout, "use 0 to 300 seconds; ask again to wait for longer")
	}
	ctx, cancel := a.liveFor(ctx, timeout)
	defer cancel()
	found, satisfied, err := a.client.Wait(ctx, in.Service, in.Min, discovery.Query{})
	if err != nil {
		return nil, err
	}
	return &waitOutput{Body: waited{Satisfied: satisfied, Instances: showAll(found)}}, nil
}
