package main

// gateway.go: routing. A request is delivered by a RoundTripper that picks an instance for
// each attempt; the reverse proxy of the standard library does the rest.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/marketprism/prism/adapters/client"
	"github.com/marketprism/prism/core/discovery"
)

// maxAttempts is on how many instances a request is tried.
const maxAttempts = 3

type gateway struct {
	prism *client.Client
	next  http.RoundTripper

	mu      sync.Mutex // guards what follows
	served  map[string]int
	retried int
	events  map[string]int
}

func newGateway(c *client.Client) *gateway {
	return &gateway{prism: c, next: &http.Transport{MaxIdleConnsPerHost: 16}, served: map[string]int{}, events: map[string]int{}}
}

func (g *gateway) routes() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetXForwarded() },
		Transport: g,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), statusOf(err))
		},
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/{service}/{path...}", proxy)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /stats", g.stats)
	return mux
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, discovery.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, discovery.ErrNoEligible), errors.Is(err, discovery.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// RoundTrip delivers one request to /api/v1/{service}/{path}.
func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	service, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	var failed []string
	for {
		picked, err := g.prism.Pick(r.Context(), service, discovery.PickOptions{Exclude: failed})
		if err != nil {
			return nil, err
		}
		res, err := g.deliver(r, picked, "/"+path)
		if err == nil {
			g.count(picked.Instance.ID, len(failed))
			return res, nil
		}
		failed = append(failed, picked.Instance.ID)
		if len(failed) == maxAttempts || !mayRepeat(r, err) {
			return nil, err
		}
		slog.Info("the request is tried on another instance", slog.String("failed", picked.Instance.ID), slog.Any("error", err))
	}
}

func (g *gateway) deliver(r *http.Request, picked discovery.Picked, path string) (*http.Response, error) {
	base, err := url.Parse(picked.URL)
	if err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.URL.Path, out.URL.RawPath, out.Host = base.Scheme, base.Host, path, "", base.Host
	return g.next.RoundTrip(out)
}

// mayRepeat reports whether trying again can do no harm: the request carries nothing, and never
// reached the instance or changes nothing (RFC 9110, section 9.2).
func mayRepeat(r *http.Request, err error) bool {
	if r.Body != nil && r.Body != http.NoBody {
		return false // it is read, and gone
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || r.Method == http.MethodGet || r.Method == http.MethodHead
}

func (g *gateway) count(id string, retries int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.served[id]++
	g.retried += min(retries, 1)
}

// follow counts events and says what they mean here, until the subscription ends.
func (g *gateway) follow(ctx context.Context, sub *client.Subscription) {
	for {
		item, err := sub.Next(ctx)
		if err != nil {
			return
		}
		e := item.Event
		if item.Reset || e.Service == "" {
			continue
		}
		g.mu.Lock()
		g.events[string(e.Type)]++
		g.mu.Unlock()
		slog.Info("a service changed", slog.String("event", string(e.Type)), slog.String("service", e.Service),
			slog.String("id", e.ID), slog.String("status", string(e.NewStatus)), slog.String("reason", e.Reason))
	}
}

// stats shows who served how many requests.
func (g *gateway) stats(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	b, err := json.Marshal(map[string]any{"served": g.served, "retried": g.retried, "events": g.events})
	g.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := io.WriteString(w, string(b)+"\n"); err != nil {
		slog.Warn("the answer was not sent", slog.Any("error", err))
	}
}
