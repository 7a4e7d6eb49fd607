package telemetry

// backend.go: a decorator over the backend port, with a span and a duration for each call.

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/prism/core"
	"github.com/marketprism/prism/ports"
)

// Wrap returns a backend that is measured and traced. Spans are named "prism.backend" and the
// method; they carry no keys, options or bodies. Close ends what m shows too, as it is the
// last that happens to a backend.
func Wrap(b ports.Backend, tracer trace.Tracer, m *Metrics) ports.Backend {
	return &backend{Backend: b, tracer: tracer, m: m, name: attribute.String("prism.backend", b.Info().Name)}
}

type backend struct {
	ports.Backend // Info needs no measuring

	tracer trace.Tracer
	m      *Metrics
	name   attribute.KeyValue
}

// begin starts a span; the returned function ends it and records the call.
func (b *backend) begin(ctx context.Context, method string, items int) (context.Context, func(error)) {
	started := time.Now()
	ctx, span := b.tracer.Start(ctx, "prism.backend "+method, trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(b.name, attribute.Int("prism.items", items))
	}
	return ctx, func(err error) {
		kind := outcome(err)
		if err != nil {
			span.SetStatus(codes.Error, kind)
		}
		span.End()
		b.m.calling.record(ctx, time.Since(started).Seconds(), method, kind)
	}
}

// Health implements ports.Backend.
func (b *backend) Health(ctx context.Context) error {
	ctx, end := b.begin(ctx, "health", 0)
	err := b.Backend.Health(ctx)
	end(err)
	return err
}

// Close implements ports.Backend.
func (b *backend) Close() error { return errors.Join(b.Backend.Close(), b.m.Close()) }

// OpenSession implements ports.Backend.
func (b *backend) OpenSession(ctx context.Context, spec ports.SessionSpec) (ports.Session, error) {
	ctx, end := b.begin(ctx, "open_session", 1)
	s, err := b.Backend.OpenSession(ctx, spec)
	end(err)
	return s, err
}

// RenewSessions implements ports.Backend.
func (b *backend) RenewSessions(ctx context.Context, ids []ports.SessionID) ([]ports.RenewResult, error) {
	ctx, end := b.begin(ctx, "renew_sessions", len(ids))
	res, err := b.Backend.RenewSessions(ctx, ids)
	end(err)
	return res, err
}

// CloseSession implements ports.Backend.
func (b *backend) CloseSession(ctx context.Context, id ports.SessionID) error {
	ctx, end := b.begin(ctx, "close_session", 1)
	err := b.Backend.CloseSession(ctx, id)
	end(err)
	return err
}

// Apply implements ports.Backend.
func (b *backend) Apply(ctx context.Context, muts []ports.Mutation) ([]ports.MutationResult, error) {
	ctx, end := b.begin(ctx, "apply", len(muts))
	res, err := b.Backend.Apply(ctx, muts)
	end(err)
	for i, mut := range muts {
		itemErr := err
		if err == nil && i < len(res) {
			itemErr = res[i].Err
		}
		b.m.mutations.add(1, kindOf(mut), outcome(itemErr))
	}
	return res, err
}

// Get implements ports.Backend.
func (b *backend) Get(ctx context.Context, keys []core.Key) ([]ports.Found, error) {
	ctx, end := b.begin(ctx, "get", len(keys))
	found, err := b.Backend.Get(ctx, keys)
	end(err)
	return found, err
}

// Watch implements ports.Backend. The span covers the request, not the stream.
func (b *backend) Watch(ctx context.Context, req ports.WatchRequest) (ports.Watcher, error) {
	inner, end := b.begin(ctx, "watch", len(req.Services))
	w, err := b.Backend.Watch(inner, req)
	end(err)
	if err != nil {
		return nil, err
	}
	return &watcher{Watcher: w, watched: b.m.watched}, nil
}

// watcher counts the messages of a stream.
type watcher struct {
	ports.Watcher

	watched *counters
}

// Next implements ports.Watcher.
func (w *watcher) Next(ctx context.Context) (ports.WatchEvent, error) {
	e, err := w.Watcher.Next(ctx)
	if err == nil {
		w.watched.add(1, e.Kind.String())
	}
	return e, err
}

func kindOf(m ports.Mutation) string {
	switch {
	case m.Put != nil:
		return "put"
	case m.SetState != nil:
		return "set_state"
	case m.Delete != nil:
		return "delete"
	}
	return "none"
}

// outcome names how a call of the backend ended: "ok", or the kind of error.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ports.ErrSessionGone):
		return "session_gone"
	case errors.Is(err, ports.ErrContention):
		return "contention"
	}
	if kind := core.Kind(err); kind != "unknown" {
		return kind
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline_exceeded"
	}
	return "unknown"
}
