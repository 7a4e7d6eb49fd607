package httpapi

// host.go: what the host says of itself: liveness, readiness, status, and the targets that
// Prometheus should scrape.

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/adapters/client/problem"
	"github.com/marketprism/prism/core"
)

// Host describes the process that serves.
type Host struct {
	Build     Build     `json:"build"`
	StartedAt time.Time `json:"started_at" doc:"RFC 3339."`
	Backend   Backend   `json:"backend"`
	Plugin    *Plugin   `json:"plugin,omitempty" doc:"Left out when the backend is part of the host's own process."`
}

// Build says what program this is.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// Backend says what keeps the records.
type Backend struct {
	Name         string       `json:"name"`
	Version      string       `json:"version"`
	Contract     int          `json:"contract" doc:"The version of the contract between host and backend."`
	Capabilities Capabilities `json:"capabilities"`
}

// Capabilities are those of ports.Capabilities.
type Capabilities struct {
	History          bool `json:"history"`
	Resume           bool `json:"resume"`
	Replicated       bool `json:"replicated"`
	ExpiryUnattended bool `json:"expiry_unattended"`
	Durable          bool `json:"durable"`
	MultiHost        bool `json:"multi_host"`
}

// Plugin says what process the backend is.
type Plugin struct {
	PID       int       `json:"pid"`
	Path      string    `json:"path"`
	StartedAt time.Time `json:"started_at" doc:"RFC 3339."`
	Restarts  int       `json:"restarts" doc:"How often the host had to start it again."`
}

type statusOutput struct{ Body hostStatus }

type hostStatus struct {
	Ready         bool    `json:"ready"`
	Reason        string  `json:"reason" doc:"Why it is not ready."`
	Namespace     string  `json:"namespace"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Host
	View viewStatus `json:"view"`
}

type viewStatus struct {
	Connected   bool   `json:"connected" doc:"The watch of the store is up and synced."`
	Synced      bool   `json:"synced" doc:"A snapshot has been seen since the start."`
	Stale       bool   `json:"stale"`
	AgeMS       int64  `json:"age_ms" doc:"Milliseconds since the last proof that the view is current."`
	Epoch       string `json:"epoch"`
	Cursor      string `json:"cursor"`
	Services    int    `json:"services"`
	Instances   int    `json:"instances"`
	Held        int    `json:"held" doc:"Instances that this host keeps alive."`
	Sessions    int    `json:"sessions"`
	Skipped     int    `json:"skipped" doc:"Records that could not be read."`
	LastFailure string `json:"last_failure"`
}

type healthOutput struct{ Body health }

type health struct {
	Status string `json:"status" enum:"ok"`
}

// readyTimeout bounds the question to the store whether it is there.
const readyTimeout = 5 * time.Second

func (a *API) addHost() {
	add(a, huma.Operation{
		OperationID: "getHealth", Method: http.MethodGet, Path: "/healthz", Tags: []string{tagHost},
		Summary: "Say that the process lives",
	}, nil, func(context.Context, *struct{}) (*healthOutput, error) {
		return &healthOutput{Body: health{Status: "ok"}}, nil
	})
	add(a, huma.Operation{
		OperationID: "getReadiness", Method: http.MethodGet, Path: "/readyz", Tags: []string{tagHost},
		Summary:     "Say whether the store is reachable and the view synced",
		Description: "503 with the reason when not.",
	}, nil, a.readyz)
	add(a, huma.Operation{
		OperationID: "getStatus", Method: http.MethodGet, Path: "/v1/status", Tags: []string{tagHost},
		Summary: "Describe the host, its backend and its view",
	}, nil, a.status)
	add(a, huma.Operation{
		OperationID: "listPrometheusTargets", Method: http.MethodGet, Path: "/v1/prometheus/sd", Tags: []string{tagHost},
		Summary: "List the instances for Prometheus' http_sd_config",
		Description: "One target for each instance, whatever its status: its endpoint called metrics, else its primary one. " +
			"As long as the view was never synced the answer is 503, so that Prometheus keeps the targets it has.",
	}, nil, a.prometheus)
}

func (a *API) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return a.client.Ready(ctx)
}

func (a *API) readyz(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	if a.ending.Err() != nil {
		return nil, problem.New(problem.CodeUnavailable, http.StatusServiceUnavailable, "not ready: the host is shutting down")
	}
	if err := a.ready(ctx); err != nil {
		return nil, problem.New(problem.CodeUnavailable, http.StatusServiceUnavailable, "not ready: "+err.Error())
	}
	return &healthOutput{Body: health{Status: "ok"}}, nil
}

func (a *API) status(ctx context.Context, _ *struct{}) (*statusOutput, error) {
	s, h := a.client.Status(), a.o.Host()
	out := hostStatus{Ready: true, Namespace: s.Namespace, Host: h, View: viewStatus{
		Connected: s.Connected, Synced: s.Synced, Stale: s.Freshness.Stale, AgeMS: s.Freshness.Age.Milliseconds(),
		Epoch: s.Epoch, Cursor: s.Cursor.String(), Services: s.Services, Instances: s.Instances, Held: s.Held,
		Sessions: s.Sessions, Skipped: s.Skipped, LastFailure: s.LastFailure,
	}}
	if !h.StartedAt.IsZero() {
		out.UptimeSeconds = time.Since(h.StartedAt).Seconds()
	}
	if out.Backend.Name == "" {
		out.Backend.Name = s.Backend
	}
	if err := a.ready(ctx); err != nil {
		out.Ready, out.Reason = false, err.Error()
	}
	return &statusOutput{Body: out}, nil
}

type prometheusInput struct {
	Service []string `query:"service,explode" nullable:"false" doc:"Only these services; all when left out."`
	Filter  string   `query:"filter" doc:"An expression of the filter language: only instances that it selects."`
}

type prometheusOutput struct {
	Body []targetGroup `nullable:"false"`
}

func (a *API) prometheus(ctx context.Context, in *prometheusInput) (*prometheusOutput, error) {
	names := in.Service
	for _, name := range names {
		if err := core.ValidateName("service", name); err != nil {
			return nil, err
		}
	}
	q, err := readQuery(nil, nil, in.Filter)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		all, _, err := a.client.Services(ctx)
		if err != nil {
			return nil, err // Prometheus keeps the targets that it has
		}
		for _, s := range all {
			names = append(names, s.Name)
		}
	}
	out := &prometheusOutput{Body: []targetGroup{}}
	for _, name := range names {
		list, _, err := a.client.Instances(ctx, name, q)
		if err != nil {
			return nil, err
		}
		for _, instance := range list {
			out.Body = append(out.Body, target(instance))
		}
	}
	return out, nil
}
