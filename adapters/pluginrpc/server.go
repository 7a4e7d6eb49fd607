package pluginrpc

// server.go: the plugin's half. It enforces the sizes of the contract before the backend sees a
// call, and turns a panic of the backend into an error.

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"

	"github.com/marketprism/prism/adapters/pluginrpc/backendv1"
	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// maxMessageBytes bounds messages both ways. The largest that the contract allows is the answer
// to a Get of MaxBatch records of MaxBodyBytes, 24 MiB and what surrounds the bodies. go-plugin
// leaves gRPC's limit of 4 MiB for what a server receives.
const maxMessageBytes = 32 << 20

// largeAnswer raises gRPC's limit of 4 MiB for what a client receives.
var largeAnswer = grpc.MaxCallRecvMsgSize(maxMessageBytes)

// streamWorkers are goroutines that serve calls one after the other, so that not each call grows
// a stack of its own to the depth of decoding. More calls at a time, watches among them, get
// goroutines of their own.
const streamWorkers = 4

// windowBytes is how much of a stream, and of a connection, one side takes before it was read.
// It is fixed, because gRPC would else send a ping with each message to learn how much the
// connection bears, and on an idle machine every ping and its answer wake a process in the middle
// of what the message is about.
const windowBytes = 256 << 10

// ServerOptions are what a grpc.Server needs to hold NewServer; Serve sets them by itself.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.StaticStreamWindowSize(windowBytes), grpc.StaticConnWindowSize(windowBytes),
		grpc.MaxRecvMsgSize(maxMessageBytes), grpc.NumStreamWorkers(streamWorkers),
		grpc.ChainUnaryInterceptor(traceUnary), grpc.ChainStreamInterceptor(traceStream),
	}
}

// DialOptions are what a host's connection to a plugin should have; pluginhost sets them by
// itself.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithStaticStreamWindowSize(windowBytes), grpc.WithStaticConnWindowSize(windowBytes),
	}
}

// Plugin is a backend as its author offers it.
type Plugin struct {
	// Name is what operators write as the backend's name; the plugin's file is called
	// prism-backend- and the name.
	Name string
	// Version is the implementation's.
	Version string
	// Capabilities and Limits are those of ports.Info, as far as they are known before Open.
	Capabilities ports.Capabilities
	Limits       ports.Limits
	// Options is the schema of what Open takes. "namespace" need not be listed: it is a string
	// with the default "prism", and every Open gets it.
	Options []ports.Option
	// Open connects to the store. The options have passed ValidateOptions and hold the defaults;
	// DecodeOptions reads them. Its errors are those of ports, as for every method of a backend.
	// The contexts of a backend's calls carry the host's span (OpenTelemetry's
	// trace.SpanContextFromContext) when the host traces.
	Open func(ctx context.Context, options json.RawMessage) (ports.Backend, error)
}

// PluginOf is the plugin of a backend whose options are a struct with json tags, which
// DecodeOptions reads; info is what its Info says before one is opened.
func PluginOf[O any, B ports.Backend](info ports.Info, options []ports.Option, open func(context.Context, O) (B, error)) Plugin {
	return Plugin{
		Name: info.Name, Version: info.Version, Capabilities: info.Capabilities, Limits: info.Limits, Options: options,
		Open: func(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
			var o O
			if err := DecodeOptions(options, &o); err != nil {
				return nil, err
			}
			b, err := open(ctx, o)
			if err != nil {
				return nil, err // not b: nil in an interface is none
			}
			return b, nil
		},
	}
}

// info is what the plugin says before it is opened.
func (p Plugin) info() ports.Info {
	return ports.Info{Name: p.Name, Version: p.Version, Capabilities: p.Capabilities, Limits: p.Limits}
}

// NewServer makes the plugin's half for a grpc.Server of one's own, made with ServerOptions.
// Serve is what a plugin's main calls. The server logs to slog.Default().
func NewServer(p Plugin) backendv1.RegistryBackendServer { return newServer(p, slog.Default()) }

func newServer(p Plugin, log *slog.Logger) *server {
	return &server{plugin: p, log: log}
}

type server struct {
	backendv1.UnimplementedRegistryBackendServer

	plugin Plugin
	log    *slog.Logger

	mu      sync.RWMutex
	busy    bool          // guarded by mu; from the start of an Open to the end of its Close
	current ports.Backend // guarded by mu
}

// backend returns the open backend, or a status.
func (s *server) backend() (ports.Backend, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.current == nil {
		return nil, rpcError(fmt.Errorf("no backend is open in this plugin: %w", ports.ErrClosed))
	}
	return s.current, nil
}

// recovered turns a panic into ErrUnavailable: what was done is not known. What the backend
// panicked with goes to the log only. It must be deferred directly.
func (s *server) recovered(method string, err *error) {
	if p := recover(); p != nil {
		s.log.Error("the backend panicked", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = rpcError(fmt.Errorf("%w: the backend panicked in %s; see the plugin's log", ports.ErrUnavailable, method))
	}
}

// call runs one call of the open backend.
func call[T any](s *server, method string, do func(ports.Backend) (T, error)) (resp T, err error) {
	defer s.recovered(method, &err)
	b, err := s.backend()
	if err != nil {
		return resp, err
	}
	resp, err = do(b)
	if err != nil {
		return resp, rpcError(err)
	}
	return resp, nil
}

// Describe implements backendv1.RegistryBackendServer.
func (s *server) Describe(context.Context, *backendv1.DescribeRequest) (*backendv1.DescribeResponse, error) {
	return &backendv1.DescribeResponse{
		Contract: ports.ContractVersion, Info: infoToWire(s.plugin.info()),
		Options: each(withNamespace(s.plugin.Options), optionToWire),
	}, nil
}

// Open implements backendv1.RegistryBackendServer.
func (s *server) Open(ctx context.Context, req *backendv1.OpenRequest) (resp *backendv1.OpenResponse, err error) {
	s.mu.Lock()
	busy := s.busy
	s.busy = true
	s.mu.Unlock()
	if busy {
		return nil, rpcError(fmt.Errorf("%w: a backend is open in this plugin already; close it first", ports.ErrConflict))
	}
	var b ports.Backend
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.current, s.busy = b, b != nil
	}()
	defer s.recovered("Open", &err)
	opened, err := s.plugin.open(ctx, req.GetOptions())
	if err != nil {
		return nil, rpcError(err)
	}
	if ctx.Err() != nil { // Nobody learns that it is open.
		_ = opened.Close()
		return nil, rpcError(ctx.Err())
	}
	info := opened.Info()
	b = opened
	return &backendv1.OpenResponse{Info: infoToWire(info)}, nil
}

// open validates the options, for hosts that did not, and opens the backend.
func (p Plugin) open(ctx context.Context, options json.RawMessage) (ports.Backend, error) {
	given, err := parseOptions(options)
	if err != nil {
		return nil, err
	}
	valid, err := ValidateOptions(p.Options, given)
	if err != nil {
		return nil, err
	}
	return p.Open(ctx, valid)
}

// OpenSession implements backendv1.RegistryBackendServer.
func (s *server) OpenSession(ctx context.Context, req *backendv1.OpenSessionRequest) (*backendv1.OpenSessionResponse, error) {
	return call(s, "OpenSession", func(b ports.Backend) (*backendv1.OpenSessionResponse, error) {
		got, err := b.OpenSession(ctx, ports.SessionSpec{
			ID: ports.SessionID(req.GetId()), TTL: req.GetTtl().AsDuration(), Host: req.GetHost(), Program: req.GetProgram(),
			OldestFormat: int(req.GetOldestFormat()), NewestFormat: int(req.GetNewestFormat()),
		})
		return &backendv1.OpenSessionResponse{Id: text(string(got.ID)), Ttl: durationToWire(got.TTL)}, err
	})
}

// RenewSessions implements backendv1.RegistryBackendServer.
func (s *server) RenewSessions(ctx context.Context, req *backendv1.RenewSessionsRequest) (*backendv1.RenewSessionsResponse, error) {
	return call(s, "RenewSessions", func(b ports.Backend) (*backendv1.RenewSessionsResponse, error) {
		if err := checkBatch("ids", len(req.GetIds())); err != nil {
			return nil, err
		}
		got, err := b.RenewSessions(ctx, each(req.GetIds(), func(id string) ports.SessionID { return ports.SessionID(id) }))
		return &backendv1.RenewSessionsResponse{Results: each(got, func(r ports.RenewResult) *backendv1.RenewResult {
			return &backendv1.RenewResult{Id: text(string(r.ID)), Gone: r.Gone, Ttl: durationToWire(r.TTL)}
		})}, err
	})
}

// CloseSession implements backendv1.RegistryBackendServer.
func (s *server) CloseSession(ctx context.Context, req *backendv1.CloseSessionRequest) (*backendv1.CloseSessionResponse, error) {
	return call(s, "CloseSession", func(b ports.Backend) (*backendv1.CloseSessionResponse, error) {
		return &backendv1.CloseSessionResponse{}, b.CloseSession(ctx, ports.SessionID(req.GetId()))
	})
}

// Apply implements backendv1.RegistryBackendServer.
func (s *server) Apply(ctx context.Context, req *backendv1.ApplyRequest) (*backendv1.ApplyResponse, error) {
	return call(s, "Apply", func(b ports.Backend) (*backendv1.ApplyResponse, error) {
		if err := checkMutations(req.GetMutations()); err != nil {
			return nil, err
		}
		got, err := b.Apply(ctx, each(req.GetMutations(), mutationFromWire))
		return &backendv1.ApplyResponse{Results: each(got, resultToWire)}, err
	})
}

// Get implements backendv1.RegistryBackendServer.
func (s *server) Get(ctx context.Context, req *backendv1.GetRequest) (*backendv1.GetResponse, error) {
	return call(s, "Get", func(b ports.Backend) (*backendv1.GetResponse, error) {
		if err := checkBatch("keys", len(req.GetKeys())); err != nil {
			return nil, err
		}
		got, err := b.Get(ctx, each(req.GetKeys(), keyFromWire))
		return &backendv1.GetResponse{Found: each(got, foundToWire)}, err
	})
}

// Health implements backendv1.RegistryBackendServer.
func (s *server) Health(ctx context.Context, _ *backendv1.HealthRequest) (*backendv1.HealthResponse, error) {
	return call(s, "Health", func(b ports.Backend) (*backendv1.HealthResponse, error) {
		return &backendv1.HealthResponse{}, b.Health(ctx)
	})
}

// Close implements backendv1.RegistryBackendServer.
func (s *server) Close(context.Context, *backendv1.CloseRequest) (resp *backendv1.CloseResponse, err error) {
	defer s.recovered("Close", &err)
	s.mu.Lock()
	b := s.current
	s.current = nil
	s.mu.Unlock()
	if b == nil {
		return &backendv1.CloseResponse{}, nil
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy = false
	}()
	if err := b.Close(); err != nil {
		return nil, rpcError(err)
	}
	return &backendv1.CloseResponse{}, nil
}

// checkBatch enforces MaxBatch.
func checkBatch(field string, n int) error {
	if n > ports.MaxBatch {
		return core.Invalid(field, n, fmt.Sprintf("use at most %d in one call", ports.MaxBatch))
	}
	return nil
}

// checkMutations enforces what makes Apply fail as a whole. Items that can never succeed are
// the backend's to refuse, one by one.
func checkMutations(muts []*backendv1.Mutation) error {
	if err := checkBatch("mutations", len(muts)); err != nil {
		return err
	}
	bodies := 0
	for _, m := range muts {
		bodies += len(m.GetPut().GetRecord().GetBody())
	}
	if bodies > ports.MaxBatchBytes {
		return core.TooLarge("mutations", fmt.Sprintf("%d bytes of bodies", bodies),
			fmt.Sprintf("use at most %d in one call", ports.MaxBatchBytes))
	}
	return nil
}
