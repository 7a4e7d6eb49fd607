// Package httpapi is the host's HTTP API: REST with RFC 9457 problem documents, server-sent
// events, Prometheus service discovery, and an OpenAPI 3.1 document generated from the code.
//
// It translates and calls the facade (package discovery) and holds no state but that of open
// streams. huma makes the routes and their description; the one route that many callers
// poll, the list of a service's instances, is answered past it from bytes that are encoded
// once for each snapshot (list.go).
//
// As long as there is no authentication everybody is operator; what keeps web pages from
// using that is in guard.go.
package httpapi

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/marketprism/prism/core/discovery"
)

// Options of an API. Only Client is needed.
type Options struct {
	Client *discovery.Client
	// Host describes the process, its backend and its plugin for GET /v1/status; it is called
	// for each request. What it leaves empty is shown as empty.
	Host func() Host
	// Metrics answers at MetricsPath ("/metrics"); nil leaves the path unknown.
	Metrics     http.Handler
	MetricsPath string
	// Handlers are further handlers by pattern of http.ServeMux, such as "/ui/" for a dashboard.
	// They stand behind the same guards and appear in no OpenAPI document.
	Handlers map[string]http.Handler
	// Middleware is put around everything, for tracing and authentication; nil is none.
	Middleware func(http.Handler) http.Handler
	// Observe hears of each request when it ends. The route is a pattern of this API ("GET
	// /v1/services"), or "" for an unknown one: its values are few. It must be fast.
	Observe func(route string, status int, took time.Duration)
	// Advertise replaces a wildcard host in a registration; "" takes the peer's address.
	Advertise string
	// AllowedHosts are names that a request over loopback may carry in its Host header, beside
	// localhost and loopback addresses. A proxy on the same machine needs its public name here.
	AllowedHosts []string
	// TLS, with a certificate, makes Serve speak HTTPS.
	TLS *tls.Config
	// Version of the program, for the OpenAPI document.
	Version string
	Logger  *slog.Logger // nil logs nothing
	// Heartbeat is the time between two comments in a quiet event stream; 0 means 15 s.
	Heartbeat time.Duration
	// Grace is how long Serve waits for requests at its end; 0 means 5 s.
	Grace time.Duration
}

// API is the HTTP API of one host. It is an http.Handler, safe for concurrent use.
type API struct {
	o       Options
	client  *discovery.Client
	logger  *slog.Logger
	mux     *http.ServeMux
	huma    huma.API
	handler http.Handler
	origin  *http.CrossOriginProtection

	// ending ends what would otherwise go on: streams and waits.
	ending context.Context
	end    context.CancelFunc
}

// New makes the API. It starts nothing; Serve does, or an http.Server of the caller's. The
// error says which option is missing or does not fit.
func New(o Options) (*API, error) {
	if o.Client == nil {
		return nil, fmt.Errorf("httpapi: Options.Client is nil; give the facade to serve")
	}
	if o.Host == nil {
		o.Host = func() Host { return Host{} }
	}
	if o.MetricsPath == "" {
		o.MetricsPath = "/metrics"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.Grace <= 0 {
		o.Grace = 5 * time.Second
	}
	a := &API{o: o, client: o.Client, logger: o.Logger, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection()}
	a.ending, a.end = context.WithCancel(context.Background())
	a.huma = newHuma(a)
	a.addRegistration()
	a.addInstance()
	a.addLists()
	a.addPicking()
	a.addHeartbeats()
	a.addEvents()
	a.addWatch()
	a.addHost()
	a.addDescription()
	if err := a.addHandlers(); err != nil {
		return nil, err
	}
	a.handler = http.HandlerFunc(a.serve)
	if o.Middleware != nil {
		a.handler = o.Middleware(a.handler)
	}
	return a, nil
}

// addHandlers mounts what Options bring along.
func (a *API) addHandlers() (err error) {
	defer func() {
		if p := recover(); p != nil { // how ServeMux reports a pattern that is malformed or taken
			err = fmt.Errorf("httpapi: %v", p)
		}
	}()
	if a.o.Metrics != nil {
		a.mux.Handle("GET "+a.o.MetricsPath, a.o.Metrics)
	}
	for pattern, h := range a.o.Handlers {
		a.mux.Handle(pattern, h)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Close ends event streams and waits that are open, and those to come. Serve calls it.
func (a *API) Close() { a.end() }

// liveFor is live with a limit.
func (a *API) liveFor(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := a.live(ctx)
	ctx, stop := context.WithTimeout(ctx, limit)
	return ctx, func() {
		stop()
		cancel()
	}
}

// live gives the context of a call that may last: it ends with the API too.
func (a *API) live(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(a.ending, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
